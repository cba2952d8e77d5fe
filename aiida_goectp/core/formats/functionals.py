"""Names of exchange-correlation functionals that a user may state for labels without one."""

from __future__ import annotations

import re

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import unknown_value

__all__ = ('FUNCTIONALS', 'UNKNOWN', 'check_functional')

UNKNOWN = 'unknown'
"""functional of a row that states none"""

FUNCTIONALS = (
    *('PBEsol', 'PBE', 'LDA', 'RPBE', 'revPBE', 'PW91', 'AM05', 'BLYP', 'optB86b-vdW', 'optB88-vdW', 'vdW-DF'),
    *('vdW-DF2', 'TPSS', 'revTPSS', 'M06-L', 'SCAN', 'rSCAN', 'r2SCAN', 'HF', 'PBE0', 'B3LYP', 'HSE03', 'HSE06'),
    *('HSEsol', 'RPA', 'GW', 'experiment', UNKNOWN),
)
_ADDITIONS = ('U', 'D2', 'D3', 'D4', 'TS', 'MBD', 'rVV10', 'SOC', 'LRPA')


def check_functional(name: str) -> str:
    """Return the name of a functional: one of :data:`FUNCTIONALS`, with additions such as ``+U`` or ``+U(Fe 4.0)``.

    A misspelt name would give labels that never join those of the functional meant.

    :raises FormatError: an unknown name or addition
    """
    plain = re.sub(r'\([^()]*\)', '', name)
    base, *additions = plain.split('+')
    remedy = 'another functional can be stated in the rows of the file, key functional'
    if base not in FUNCTIONALS:
        raise FormatError(f'{unknown_value("functional", name, FUNCTIONALS)}; {remedy}')
    if wrong := [item for item in additions if item not in _ADDITIONS]:
        allowed = [f'{base}+{item}' for item in _ADDITIONS]
        raise FormatError(f'{unknown_value("functional", f"{base}+{wrong[0]}", allowed)}; {remedy}')
    return name

"""Names of exchange-correlation functionals that a user may state for labels without one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import unknown_value

__all__ = ('FUNCTIONALS', 'UNKNOWN', 'check_functional', 'is_named', 'is_unnamed', 'trained_as', 'unnamed')

UNKNOWN = 'unknown'
"""functional of a row that states none"""
_UNNAMED = 'unnamed'
"""beginning of the functional of a row whose settings of the functional have no name here"""

FUNCTIONALS = (
    *('PBEsol', 'PBE', 'LDA', 'RPBE', 'revPBE', 'PW91', 'AM05', 'BLYP', 'optB86b-vdW', 'optB88-vdW', 'vdW-DF'),
    *('vdW-DF2', 'TPSS', 'revTPSS', 'M06-L', 'SCAN', 'rSCAN', 'r2SCAN', 'HF', 'PBE0', 'B3LYP', 'HSE03', 'HSE06'),
    *('HSEsol', 'RPA', 'GW', 'experiment', UNKNOWN),
)
_VALUES_OF_U = re.compile(r'\+U\(([^()]*)\)')
_MAX_LENGTH = 60
_ADDITIONS = ('U', 'D2', 'D3', 'D4', 'TS', 'MBD', 'rVV10', 'SOC', 'LRPA')


def unnamed(settings: str) -> str:
    """Return the functional of a calculation with settings of the functional that have no name here.

    It is no name that can be stated, so that such labels never join those of a functional.

    :param settings: which settings, such as ``luse_vdw``
    """
    return f'{_UNNAMED} ({re.sub("[^A-Za-z0-9_, /]", "?", settings)[:_MAX_LENGTH]})'


def is_unnamed(functional: str) -> bool:
    """Return whether a functional is one of :func:`unnamed`."""
    return functional.startswith(f'{_UNNAMED} (')


def is_named(functional: str) -> bool:
    """Return whether labels of equal functional, such as this one, are of one functional."""
    return functional not in ('', UNKNOWN) and not is_unnamed(functional)


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


def trained_as(found: Iterable[str], functionals: Sequence[str]) -> dict[str, str]:
    """Return functional of a label → that of a training, of all labels that the training can take.

    Labels of one protocol with DFT+U have several names: ``X+U(Fe-d 5.3)``, ``X+U(Ni-d 6.2)``, and ``X`` for crystals
    without U. A training whose functionals contain ``X+U`` takes them all as ``X+U``; ``X`` only if it is not among its
    functionals itself.

    :param found: functionals of labels
    :param functionals: of the training
    :raises FormatError: labels with different values of U for one element, which are not of one protocol
    """
    without_u = {re.sub(r'\+U(?=\+|$)', '', name): name for name in functionals}
    taken: dict[str, str] = {}
    values: dict[str, str] = {}
    for name in sorted(set(found)):
        plain = _VALUES_OF_U.sub('+U', name)
        target = name if name in functionals else plain if plain in functionals else without_u.get(name)
        if target is None:
            continue
        taken[name] = target
        if name in functionals:
            continue
        for value in (item.strip() for text in _VALUES_OF_U.findall(name) for item in text.split(',')):
            element, _, number = value.rpartition(' ')
            first = values.setdefault(f'{target} of {element}', value)
            if _number(first.rpartition(' ')[2]) != _number(number):
                raise FormatError(
                    f'functionals: labels with {first} and {value} eV for U are not of one protocol; name each '
                    'functional, or train on one of them'
                )
    return taken


def _number(text: str) -> float | str:
    """Return a value of U, 5.3 for 5.30; the text if it is no number."""
    try:
        return float(text)
    except ValueError:
        return text

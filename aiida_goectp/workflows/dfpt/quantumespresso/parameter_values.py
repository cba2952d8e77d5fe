"""Check of the values of parameters of ``pw.x`` and ``ph.x``: their type, their sign, and the two cutoffs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

__all__ = ('cutoff_errors', 'newest_pw_description', 'value_error')

_POSITIVE = frozenset(
    """
    alpha_mix conv_thr degauss ecutfock ecutrho ecutwfc electron_maxstep etot_conv_thr forc_conv_thr max_seconds
    mixing_beta mixing_ndim nbnd niter_ph nmix_ph nstep press_conv_thr tr2_ph
    """.split()  # noqa: SIM905
)
_PH_TYPES = {
    **dict.fromkeys(('alpha_mix', 'tr2_ph', 'max_seconds', 'eth_rps', 'eth_ns', 'dek'), 'REAL'),
    **dict.fromkeys(('niter_ph', 'nmix_ph', 'nq1', 'nq2', 'nq3', 'nk1', 'nk2', 'nk3', 'modenum'), 'INTEGER'),
    **dict.fromkeys(('epsil', 'trans', 'zeu', 'zue', 'lrpa', 'lnoloc', 'fpol', 'lraman', 'elop', 'asr'), 'LOGICAL'),
    **dict.fromkeys(('ldisp', 'recover', 'reduce_io', 'search_sym', 'lqdir', 'q2d', 'ldiag', 'nogg'), 'LOGICAL'),
}
"""types of INPUT_PH in the documentation of Quantum ESPRESSO 7"""
_NAMES = {'REAL': 'a number', 'INTEGER': 'an integer', 'LOGICAL': 'true or false', 'CHARACTER': 'a text'}
_SMALLEST_DUAL = 4.0
"""ecutrho/ecutwfc below which the density of the wave functions does not fit, since its cutoff is twice theirs in k"""


@cache
def newest_pw_description() -> ElementTree.Element:
    """Return the newest description of the input of ``pw.x`` in aiida-quantumespresso."""
    from aiida_quantumespresso.calculations import helpers

    files = Path(helpers.__file__).parent.glob('INPUT_PW-*.xml')
    newest = max(files, key=lambda path: [int(part) for part in path.stem.partition('-')[2].split('.')])
    return ElementTree.parse(newest).getroot()


@cache
def _pw_types() -> dict[str, str]:
    """Return the types of the scalar variables of ``pw.x``, by their names in lower case."""
    items = [item for item in newest_pw_description().iter('var') if item.get('type')]
    return {str(item.get('name')).lower(): str(item.get('type')).upper() for item in items}


def value_error(place: str, name: str, value: Any) -> str | None:
    """Return the error in the value of a variable; None without one, also if the variable is unknown.

    :param place: of the variable, for messages
    :param name: of the variable, in lower case
    """
    kind = _PH_TYPES.get(name) or _pw_types().get(name)
    if kind is None or isinstance(value, Mapping | list):  # values by kind of atom
        return None
    if not _has_type(value, kind):
        hint = ', in YAML with a decimal point and without quotation marks (1.0e-8)' if isinstance(value, str) else ''
        return f'{place}: expected {_NAMES[kind]}, found {value!r}; give {_NAMES[kind]}{hint}'
    if name in _POSITIVE and value <= 0:
        return f'{place}: {value!r} is not positive; give a positive number'
    return None


def _has_type(value: Any, kind: str) -> bool:
    if kind == 'LOGICAL':
        return isinstance(value, bool)
    if kind == 'CHARACTER':
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return False
    return kind == 'REAL' or float(value).is_integer()


def cutoff_errors(place: str, system: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error if the cutoff of the density is too low for that of the wave functions.

    :param place: of the parameters, for messages
    :param system: SYSTEM namelist of ``pw.x`` with valid values, names in lower case
    """
    wave, density = (system.get(name) for name in ('ecutwfc', 'ecutrho'))
    if wave is not None and density is not None and density < _SMALLEST_DUAL * wave * (1 - 1e-9):
        yield (
            f'{place}.SYSTEM.ecutrho: {density:g} Ry is below four times ecutwfc ({wave:g} Ry), and the density would '
            f'be truncated; give at least {_SMALLEST_DUAL * wave:g}, or leave it out'
        )

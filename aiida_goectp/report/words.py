"""Text for codes and numbers: gate results, outcomes, durations, counts.

Nodes and files contain codes; tables and status lines take their text from here. The text of the reasons in rankings
and picks is that of :mod:`aiida_goectp.core.selection.reasons`, that of flags and parts of a tensor is in
:mod:`aiida_goectp.core.dielectric`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.selection.history import UNFINISHED

__all__ = (
    'FLAG_MEANINGS',
    'GATE_RESULTS',
    'OUTCOME_REASONS',
    'STABILITY',
    'counted',
    'duration',
    'percent',
    'probability',
    'spaced',
)

STABILITY = 'stable'
"""column of the predicted probability that a crystal has no unstable mode"""

GATE_RESULTS = {True: 'passed', False: 'FAILED', None: 'not evaluated'}
"""result of a gate"""

OUTCOME_REASONS: Mapping[str, str] = {
    VerdictLabel.ELECTRONIC_ONLY: 'the ionic part is missing or failed a gate',
    UNFINISHED: 'not computed yet',
}
"""reason of an outcome of a pick, where the history contains none"""

FLAG_MEANINGS: Mapping[str, str] = {
    'unseen_element': 'the crystal contains an element that is not in the training set of the model',
    'symmetry_unknown': 'no symmetry could be determined; the tensor is not symmetrised',
    'unlike_training': 'the crystal is unlike those of the training set; its standard deviations are unreliable',
    'soft_mode': 'more than a quarter of the ionic permittivity comes from soft modes, which the model cannot resolve',
    'unstable': 'a vibration is predicted to be unstable; the crystal has no static permittivity in this structure',
}
"""meaning of each flag of a prediction"""


def spaced(code: str) -> str:
    """Return a code such as ``unreadable_file`` with spaces."""
    return code.replace('_', ' ')


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is one."""
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    whole = int(seconds)
    return f'{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}'


def probability(value: float | None) -> str:
    """Return a probability with two digits; empty if it is missing or NaN."""
    return '' if value is None or isnan(value) else f'{value:.2f}'


def percent(fraction: float | None, sign: str = '') -> str:
    """Return a fraction in percent; empty if it is missing.

    :param sign: ``+`` to print the sign of positive values as well
    """
    return '' if fraction is None else f'{fraction:{sign}.0%}'

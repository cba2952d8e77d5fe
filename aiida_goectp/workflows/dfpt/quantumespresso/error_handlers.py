"""What is done when a run of ``pw.x`` or ``ph.x`` fails and the work chains of aiida-quantumespresso gave up.

Those cure much by themselves (mixing, diagonalisation, clean stops at the wall time); what stands here comes after.
Each remedy is tried once for one response, in the order of the table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ('ERROR_HANDLERS', 'ErrorHandler', 'select_handler')

_KILLED = (302, 303, 305, 312, 320, 321)
"""no output file, or one that was cut off: the job was killed"""


class ErrorHandler(NamedTuple):
    """One thing to try."""

    name: str
    stage: str
    """``scf`` or ``ph``: what failed"""
    statuses: tuple[int, ...]
    """exit codes of the last ``PwCalculation`` or ``PhCalculation``"""
    sees: str
    does: str
    parameters: dict[str, Any]
    """laid over the input parameters of the stage that is run next"""
    restart: str = 'fresh'
    """``fresh``: the same stage from the start; ``recover``: go on from what the failed run left; ``scf``: from the
    ground state on"""


ERROR_HANDLERS = (
    ErrorHandler(
        'scf_mixing',
        'scf',
        (410,),
        'the ground state does not converge, weaker mixing did not help',
        'starts again with local Thomas-Fermi screening, mixing 0.1, conjugate gradients and up to 500 steps',
        {
            'ELECTRONS': {
                'mixing_mode': 'local-TF',
                'mixing_beta': 0.1,
                'electron_maxstep': 500,
                'diagonalization': 'cg',
            }
        },
    ),
    ErrorHandler(
        'scf_again',
        'scf',
        (*_KILLED, 110, 120, 140, 340),
        'the run was killed, or its node died, or it met the wall time before it could stop',
        'starts again from scratch, once',
        {},
    ),
    ErrorHandler(
        'ph_mixing',
        'ph',
        (410,),
        'the response does not converge; or its output shows it unconverged where ph.x stopped without a word',
        'starts again with mixing 0.2 over 5 steps and up to 100 steps, the most that ph.x 6.7 admits of both',
        {'INPUTPH': {'alpha_mix(1)': 0.2, 'nmix_ph': 5, 'niter_ph': 100}},
    ),
    ErrorHandler(
        'ph_walltime',
        'ph',
        (400,),
        'the wall time was too short for as many restarts as are allowed in one go',
        'goes on from the representations that are done, with as many restarts again',
        {},
        'recover',
    ),
    ErrorHandler(
        'ph_recover',
        'ph',
        (*_KILLED, 110, 120, 140),
        'the run was killed, or its node died, or it met the wall time before it could stop',
        'goes on from what it left in its working folder',
        {},
        'recover',
    ),
    ErrorHandler(
        'ph_again',
        'ph',
        (*_KILLED, 110, 120, 140),
        'going on from a killed run did not work',
        'starts the response again from the ground state',
        {},
    ),
    ErrorHandler(
        'no_symmetry',
        'ph',
        (360, 361),
        'ph.x finds that FFT grid or representations do not fit the symmetry',
        'computes ground state and response again without symmetry, which costs more',
        {'SYSTEM': {'nosym': True}},
        'scf',
    ),
)


def select_handler(stage: str, status: int | None, tried: list[str]) -> ErrorHandler | None:
    """Return the first remedy that fits and was not tried, ``None`` if there is none left.

    :param stage: ``scf`` or ``ph``
    :param status: exit code of the job that failed
    :param tried: names of the remedies that were tried already
    """
    for remedy in ERROR_HANDLERS:
        if remedy.stage == stage and status in remedy.statuses and remedy.name not in tried:
            return remedy
    return None

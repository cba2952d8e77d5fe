"""Error handlers for ``pw.x`` and ``ph.x`` that run after those of aiida-quantumespresso.

The work chains of aiida-quantumespresso reduce the mixing, change the diagonalization and restart after a clean stop at
the wall time. The handlers here are tried when such a work chain has failed: in the order of the table, each once for
one response.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from aiida import orm

from aiida_goectp.core.dielectric.phonons import response_converged
from aiida_goectp.workflows.dfpt.retrieved import last_error_line, read_retrieved
from aiida_goectp.workflows.failures import failure_reason

__all__ = (
    'ERROR_HANDLERS',
    'INTERRUPTED',
    'OUT_OF_WALLTIME',
    'ErrorHandler',
    'has_tensors',
    'is_converged',
    'job_failure',
    'select_handler',
)

_ERROR_BOX = re.compile(r'(Error in routine .{1,500}?)\n\s*%%%', re.DOTALL)
"""between two lines of percent signs"""

INTERRUPTED = (110, 120, 140, 302, 303, 305, 312, 320, 321)
"""Scheduler limits (110 to 140), or output that is missing or incomplete: the job was killed."""
OUT_OF_WALLTIME = 400
"""The program stopped itself before the wall time."""

Stage = Literal['scf', 'ph']


class ErrorHandler(NamedTuple):
    """One change of the inputs after a failed run."""

    name: str
    """Named after the error; stored in the notes of the response."""
    stage: Stage
    """Stage that failed."""
    statuses: tuple[int, ...]
    """Exit codes of the last ``PwCalculation`` or ``PhCalculation``."""
    error: str
    action: str
    parameters: dict[str, Any]
    """Input parameters of the next run, merged over those of the failed run."""
    restart: Literal['scratch', 'recover', 'scf'] = 'scratch'
    """``scratch``: the same stage from its start; ``recover``: the same stage from the files of the failed run;
    ``scf``: from the ground state."""


ERROR_HANDLERS = (
    ErrorHandler(
        'scf_convergence_not_reached',
        'scf',
        (410,),
        'The ground state did not converge, weaker mixing included.',
        'Restart from scratch with mixing_mode = local-TF, mixing_beta = 0.1, diagonalization = cg and '
        'electron_maxstep = 500.',
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
        'scf_interrupted',
        'scf',
        (*INTERRUPTED, 340),
        'The run was killed by a signal, a node failure or the wall time.',
        'Restart from scratch.',
        {},
    ),
    ErrorHandler(
        'ph_convergence_not_reached',
        'ph',
        (410,),
        'The response did not converge, with or without an error message of ph.x.',
        'Restart from scratch with alpha_mix(1) = 0.2, nmix_ph = 5 and niter_ph = 100; ph.x 6.7 accepts no larger '
        'nmix_ph and niter_ph.',
        {'INPUTPH': {'alpha_mix(1)': 0.2, 'nmix_ph': 5, 'niter_ph': 100}},
    ),
    ErrorHandler(
        'ph_out_of_walltime',
        'ph',
        (OUT_OF_WALLTIME,),
        'The wall time ran out in each of max_iterations jobs.',
        'Continue from the finished representations, with max_iterations jobs again.',
        {},
        'recover',
    ),
    ErrorHandler(
        'ph_interrupted_recover',
        'ph',
        INTERRUPTED,
        'The run was killed by a signal, a node failure or the wall time.',
        'Continue from the files in its working folder.',
        {},
        'recover',
    ),
    ErrorHandler(
        'ph_interrupted_restart',
        'ph',
        INTERRUPTED,
        'The run was killed, and so was its continuation.',
        'Restart the response from the ground state.',
        {},
    ),
    ErrorHandler(
        'ph_incompatible_symmetry',
        'ph',
        (360, 361),
        'The FFT grid or the representations are incompatible with the symmetry.',
        'Restart ground state and response with nosym = .true., at a higher cost.',
        {'SYSTEM': {'nosym': True}},
        'scf',
    ),
)


def select_handler(stage: Stage, status: int | None, tried: list[str]) -> ErrorHandler | None:
    """Return the first handler for an error that was not tried yet, ``None`` if all were tried.

    :param stage: stage that failed
    :param status: exit code of the failed job
    :param tried: names of the handlers that were tried for this response
    """
    for handler in ERROR_HANDLERS:
        if handler.stage == stage and status in handler.statuses and handler.name not in tried:
            return handler
    return None


def job_failure(job: orm.CalcJobNode) -> str:
    """Return the reason of a failed job, with the error message of the program.

    aiida-quantumespresso takes a message that it does not recognise for an interrupted run. Without a message, the last
    line of the error stream of an interrupted run is given.
    """
    if box := _ERROR_BOX.search(_output(job)):
        return f'{failure_reason(job)} {" ".join(box[1].split())}'
    return failure_reason(job) + (last_error_line(job) if job.exit_status in INTERRUPTED else '')


def has_tensors(job: orm.CalcJobNode) -> bool:
    """Return whether the retrieved files of ph.x contain a dielectric tensor."""
    return '<DIELECTRIC_CONSTANT>' in read_retrieved(job, 'tensors.xml')


def is_converged(job: orm.CalcJobNode) -> bool:
    """Return whether the output shows a converged response; ph.x may end without an error message if it is not."""
    return response_converged(_output(job))


def _output(job: orm.CalcJobNode) -> str:
    return read_retrieved(job, str(job.get_option('output_filename')))

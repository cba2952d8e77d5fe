"""VASP output that the parser of aiida-vasp does not provide: convergence of each loop, tensors, modes, errors.

The functions take text. They are needed because vasprun.xml is unusable if it is truncated or larger than 500 MB, and
because the parser counts the iterations of the linear response as those of the ground state and does not detect some
error messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.dielectric.band_gap import band_gap
from aiida_goectp.core.formats.numbers import fortran_number

__all__ = (
    'Loop',
    'OutcarDielectric',
    'ground_state_steps',
    'read_loops',
    'read_outcar',
    'refusal',
    'resource_problem',
    'symmetry_problem',
)

_ITERATION = re.compile(r'Iteration +\d+\( *(\d{1,9})\)')
_FREQUENCY = re.compile(r'^ *\d+ (f  |f/i)= +(\S+) THz')
_LEVEL = re.compile(r'^ *\d+ +(-?\d+\.\d+) +(-?\d+\.\d+) *$')
_POINT = re.compile(r'^ *k-point +(\d{1,9}) *:')
_ENMAX = re.compile(r'ENMAX *= *([0-9.]+)')
_ENCUT = re.compile(r'ENCUT *= *([0-9.]+) +eV')
_LEXCH = re.compile(r'^ *LEXCH *= *(\w+) *$')
_POMASS = re.compile(r'^ *POMASS *= *([0-9. ]+)(; *ZVAL)?')
_COUNTS = re.compile(r'^ *ions per type *=((?: +\d{1,9})+) *$')
_ROUNDING = 0.006  # u
_MAX_ATOMS = 1_000_000
_IBRION = re.compile(r'^ *IBRION *= *(-?\d{1,6})\b')
_FINITE_DIFFERENCES = ('5', '6')
_NELM = re.compile(rb'name="NELM"> *(\d{1,9})')

_SYMMETRY_MESSAGES = (
    'POSMAP internal error',
    'symmetry equivalent atom not found',
    'internal error in subroutine PRICEL',
    'internal error in subroutine SGRCON',
    'internal error in subroutineSGRCON',
    'internal error in subroutine INVGRP',
    'internal error in subroutine IBZKPT',
    'IBZKPT: not all point group operations',
    'RHOSYG: internal error',
    'RHOSYG internal error',
    'Inconsistent Bravais lattice types found for crystalline and',
    'Found some non-integer element in rotation matrix',
    'inverse of rotation matrix was not found',
    'group operation missing',
    'internal error in GENERATE_KPOINTS_TRANS',
    'VASP internal routines have requested a change of the k-point set',
    'Could not get correct shifts',
)
"""messages of VASP about inconsistent symmetry, including changes of the k points by the linear response"""

_RESOURCES = {
    'time': re.compile(
        r'due to time limit|walltime \S+ exceeded|exceeded (hard )?wall ?time|TERM_RUNLIMIT', re.IGNORECASE
    ),
    'memory': re.compile(
        r'oom[-_ ]?kill|out of memory|exceeded (job )?memory limit|TERM_MEMLIMIT|insufficient virtual memory'
        r'|cannot allocate memory',
        re.IGNORECASE,
    ),
}
_REFUSAL = 'I REFUSE TO CONTINUE WITH THIS SICK JOB'


class Loop(NamedTuple):
    """One self-consistency loop: the ground state, or the response to one field or displacement."""

    steps: int
    converged: bool
    """whether EDIFF was reached"""


class OutcarDielectric(NamedTuple):
    """Dielectric response in an OUTCAR; ``None`` for what it does not contain."""

    electronic: np.ndarray | None
    """(3, 3)"""
    ionic: np.ndarray | None
    """(3, 3)"""
    born_charges: np.ndarray | None
    """(n, 3, 3) e: atom, field, displacement"""
    frequencies: np.ndarray | None
    """(3n,) THz; imaginary ones are negative, acoustic ones as computed"""
    cutoff: float | None
    """eV"""
    recommended_cutoff: float | None
    """eV, the largest ENMAX of the potentials"""
    loops: tuple[Loop, ...]
    band_gap: float | None
    """eV, 0 for a metal; of the undisplaced structure if there are displaced ones (IBRION = 5, 6)"""
    potential_functionals: tuple[str, ...]
    """LEXCH of each potential, such as PE"""
    masses: np.ndarray | None
    """(n,) u, POMASS of each atom"""
    structure: tuple[np.ndarray, np.ndarray] | None
    """lattice (3, 3) Å, rows, and fractional positions (n, 3) before the first step"""


def read_loops(lines: Iterable[str]) -> Iterator[Loop]:
    """Yield all self-consistency loops of an OUTCAR in order.

    A loop begins where the iteration number returns to 1. VASP 6 reports if EDIFF was not reached; VASP 5 reports
    nothing, so a loop without a message did not converge.
    """
    steps, converged = 0, False
    for line in lines:
        if 'Iteration' in line and (match := _ITERATION.search(line)):
            number = int(match.group(1))
            if number == 1 and steps:
                yield Loop(steps, converged)
                converged = False
            steps = number
        elif 'EDIFF is reached' in line:
            converged = True
    if steps:
        yield Loop(steps, converged)


def read_outcar(text: str) -> OutcarDielectric:
    """Return the dielectric response in an OUTCAR; the last complete one of a repeated tensor.

    Any text is accepted: what is damaged or truncated is missing in the result. ε_∞ and Born charges are those that
    include local fields; VASP may print others before.
    """
    lines = text.splitlines()
    electronic = ionic = born = None
    frequencies: list[float] = []
    cutoff, enmax, functionals = None, [], []
    for row, line in enumerate(lines):
        if 'MACROSCOPIC STATIC DIELECTRIC TENSOR' in line:
            tensor = _tensor(lines[row + 1 : row + 6])
            if 'IONIC CONTRIBUTION' in line:
                ionic = tensor if tensor is not None else ionic
            elif 'including local field' in line:
                electronic = tensor if tensor is not None else electronic
        elif 'BORN EFFECTIVE CHARGES (' in line and 'excluding local field' not in line:
            charges = _born_charges(lines, row + 2)
            born = charges if charges is not None else born
        elif 'Eigenvectors and eigenvalues of the dynamical matrix' in line:
            frequencies = []
        elif 'THz' in line and (match := _FREQUENCY.match(line)):
            frequencies.append(fortran_number(match.group(2)) * (-1 if match.group(1) == 'f/i' else 1))
        elif 'ENMAX' in line and (match := _ENMAX.search(line)):
            enmax.append(fortran_number(match.group(1)))
        elif 'LEXCH' in line and (match := _LEXCH.match(line)):
            functionals.append(match.group(1))
        elif 'ENCUT' in line and (match := _ENCUT.search(line)):
            cutoff = fortran_number(match.group(1))
    return OutcarDielectric(
        electronic,
        ionic,
        born,
        np.array(frequencies) if frequencies and np.isfinite(frequencies).all() else None,
        cutoff if cutoff is not None and np.isfinite(cutoff) else None,
        max(enmax) if enmax and np.isfinite(enmax).all() else None,
        tuple(read_loops(lines)),
        _band_gap(lines),
        tuple(functionals),
        _masses(lines),
        _structure(lines),
    )


def ground_state_steps(vasprun: bytes) -> tuple[int, int] | None:
    """Return the number of steps of the last ground state of a vasprun.xml and NELM; ``None`` if it has neither.

    The steps of the linear response are in the same element, after the structure; only steps before it count.
    """
    parameters = vasprun.find(b'<separator name="electronic convergence"')
    match = _NELM.search(vasprun, parameters) if parameters >= 0 else None
    start = vasprun.rfind(b'<calculation>')
    if match is None or start < 0:
        return None
    end = vasprun.find(b'<structure', start)
    return vasprun[start : end if end > 0 else None].count(b'<scstep>'), int(match.group(1))


def symmetry_problem(text: str) -> str | None:
    """Return the first message about inconsistent symmetry in the standard output of VASP, None without one."""
    for line in text.splitlines():
        for message in _SYMMETRY_MESSAGES:
            if message in line:
                return message
    return None


def resource_problem(text: str) -> str | None:
    """Return ``time`` or ``memory`` if the output of a scheduler states that a job exceeded it, else None."""
    return next((name for name, pattern in _RESOURCES.items() if pattern.search(text)), None)


def refusal(text: str) -> str | None:
    """Return the message of the error box of VASP; ``None`` without one."""
    if _REFUSAL not in text:
        return None
    before = text[: text.index(_REFUSAL)].splitlines()
    box = [line.strip(' |') for line in before[-14:] if line.strip().startswith('|')]
    return ' '.join(line for line in box if re.search('[a-z]', line)) or 'no reason given'


def _tensor(lines: list[str]) -> np.ndarray | None:
    """Return a (3, 3) table between two rules; ``None`` if it is damaged."""
    if len(lines) != 5 or not all(line.strip().startswith('---') for line in (lines[0], lines[4])):
        return None
    return _block(lines[1:4], 0)


def _block(lines: list[str], skip: int) -> np.ndarray | None:
    """Return a (3, 3) table after ``skip`` words in each line; ``None`` if it is truncated or overflowed."""
    rows = [[fortran_number(word) for word in line.split()[skip:]] for line in lines]
    if [len(row) for row in rows] != [3, 3, 3] or not np.isfinite(rows).all():
        return None
    return np.array(rows)


def _band_gap(lines: list[str]) -> float | None:
    """Return the band gap of the last ground state in eV; ``None`` without an empty level, or if levels are damaged.

    The first ground state of finite differences counts, because the others are those of displaced structures.
    """
    starts = [row for row, line in enumerate(lines) if line.startswith(' E-fermi')]
    if not starts:
        return None
    ibrion = next((match.group(1) for line in lines if 'IBRION' in line and (match := _IBRION.match(line))), '')
    start = starts[0 if ibrion in _FINITE_DIFFERENCES else -1]
    spins: list[list[list[tuple[float, float]]]] = []
    last = 0
    for line in lines[start:]:
        if line.lstrip().startswith('-----'):
            break
        if match := _POINT.match(line):
            if (number := int(match.group(1))) <= last or not spins:  # the points of the other spin follow
                spins.append([])
            spins[-1].append([])
            last = number
        elif spins and (match := _LEVEL.match(line)):
            spins[-1][-1].append((fortran_number(match.group(1)), fortran_number(match.group(2))))
    try:
        levels = np.array(spins, dtype=np.float64)  # (spins, k, bands, 2); lists of different lengths are an error
        return band_gap(levels[..., 0], levels[..., 1])
    except (IndexError, ValueError):
        return None


def _masses(lines: list[str]) -> np.ndarray | None:
    """Return the mass of each atom (n,) in u; ``None`` if a number is missing.

    Those of the potentials have three decimals, those in effect have two: POMASS of INCAR may be another mass.
    """
    counts: list[int] = []
    potentials: list[float] = []
    effective: list[float] = []
    for line in lines:
        if 'POMASS' in line and (match := _POMASS.match(line)):
            (potentials if match.group(2) else effective).extend(map(fortran_number, match.group(1).split()))
        elif 'ions per type' in line and (match := _COUNTS.match(line)):
            counts = [int(word) for word in match.group(1).split()]
    masses = np.array(potentials)
    if not counts or not len(counts) == len(masses) == len(effective) or sum(counts) > _MAX_ATOMS:
        return None
    masses = np.where(np.abs(masses - effective) > _ROUNDING, effective, masses)
    return np.repeat(masses, counts) if (masses > 0).all() and np.isfinite(masses).all() else None


def _structure(lines: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the first lattice and fractional positions; ``None`` if one is missing or damaged."""
    titles = ('direct lattice vectors', 'position of ions in fractional coordinates (direct lattice)')
    starts = [next((row for row, line in enumerate(lines) if title in line), None) for title in titles]
    if starts[0] is None or starts[1] is None:
        return None
    lattice = [line.split() for line in lines[starts[0] + 1 : starts[0] + 4]]
    end = next((row for row in range(starts[1] + 1, len(lines)) if not lines[row].strip()), len(lines))
    positions = [line.split() for line in lines[starts[1] + 1 : end]]
    if [len(row) for row in lattice] != [6, 6, 6] or {len(row) for row in positions} != {3}:
        return None
    numbers = np.array([[fortran_number(word) for word in row[:3]] for row in [*lattice, *positions]])
    return (numbers[:3], numbers[3:]) if np.isfinite(numbers).all() else None


def _born_charges(lines: list[str], row: int) -> np.ndarray | None:
    """Return the tensors of consecutive ions, beginning with ion 1; ``None`` if one is damaged."""
    charges: list[np.ndarray] = []
    while lines[row : row + 1] and lines[row].split() == ['ion', str(len(charges) + 1)]:
        block = lines[row + 1 : row + 4]
        tensor = _block(block, 1)
        if tensor is None or [line.split()[0] for line in block] != ['1', '2', '3']:
            return None
        charges.append(tensor)
        row += 4
    return np.array(charges) if charges else None

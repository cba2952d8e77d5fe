"""Checks of a generated pseudopotential: header, norms, transferability, ghost states."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from aiida_goectp.core.formats.numbers import fortran_number
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.ld1 import Comparison
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.recipes import FUNCTIONAL, Recipe

__all__ = (
    'MAX_EXCITATION_ERROR',
    'MAX_LEVEL_ERROR',
    'MAX_PHASE_ERROR',
    'comparison_problems',
    'file_problems',
    'phase_error',
)

MAX_LEVEL_ERROR = 0.040
"""Largest error of a level in a tested configuration, Ry; the largest found is 0.030, of 2s of Mg."""
MAX_EXCITATION_ERROR = 0.020
"""Largest error of an excitation or ionisation energy, Ry."""
MAX_PHASE_ERROR = 0.15
"""Largest difference of the arctan of the logarithmic derivatives at 2.2 bohr from −2 to 1 Ry, rad."""

_NORM_TOLERANCE = 2e-3
_GHOST_TOLERANCE = 0.1  # Ry; the confinement of the Bessel functions raises outer levels by some hundredths


def _numbers(element: ElementTree.Element | None) -> np.ndarray:
    words = [] if element is None else (element.text or '').split()
    return np.array([fortran_number(word) for word in words])


def file_problems(path: Path, recipe: Recipe) -> list[str]:
    """Return the failed checks of a UPF file: header, valence charge, norms of the pseudo-wave functions."""
    try:
        # ld1.x copies its input, with unescaped ampersands, into PP_INPUTFILE
        text = re.sub(r'<PP_INFO>.*?</PP_INFO>', '', path.read_text(encoding='utf-8', errors='replace'), flags=re.S)
        root = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError) as error:
        return [f'the file cannot be read: {error}']
    header = root.find('PP_HEADER')
    if header is None:
        return ['the file has no header']
    wanted = {'element': recipe.symbol, 'pseudo_type': 'NC', 'functional': FUNCTIONAL.upper(), 'relativistic': 'scalar'}
    found = {key: header.get(key, '').strip() for key in wanted}
    problems = [f'{key} is {found[key]!r}, not {value!r}' for key, value in wanted.items() if found[key] != value]
    if not math.isclose(fortran_number(header.get('z_valence', 'nan')), recipe.valence, abs_tol=1e-6):
        problems.append(f'valence charge is {header.get("z_valence")}, not {recipe.valence}')
    weights = _numbers(root.find('PP_MESH/PP_RAB'))
    for wave in root.iterfind('PP_PSWFC/*'):
        values = _numbers(wave)
        norm = float(np.sum(values**2 * weights[: len(values)])) if len(values) <= len(weights) else np.nan
        if not abs(norm - 1) <= _NORM_TOLERANCE:
            problems.append(f'{wave.get("label", wave.tag)} has the norm {norm:.4f}')
    return problems


def comparison_problems(tested: list[Comparison], recipe: Recipe) -> list[str]:
    """Return the failed checks of the test run: levels, excitation energies, ghost states."""
    if len(tested) != len(recipe.tests):
        return [f'only {len(tested)} of {len(recipe.tests)} configurations in the output']
    problems = []
    for index, (name, configuration) in enumerate(zip(recipe.tests, tested, strict=True)):
        if not configuration.levels or not configuration.bessel:
            problems.append(f'{name}: no levels reported')
        for level in configuration.levels:
            if not abs(level.error) <= MAX_LEVEL_ERROR:
                problems.append(f'{name}: {level.label} is off by {level.error:.4f} Ry')
        if not abs(configuration.excitation_error) <= MAX_EXCITATION_ERROR:
            problems.append(f'{name}: the excitation energy is off by {configuration.excitation_error:.4f} Ry')
        problems += [f'{name}: {ghost}' for ghost in _ghosts(configuration, neutral=index == 0)]
    return problems


def _ghosts(configuration: Comparison, neutral: bool) -> list[str]:
    """Return the eigenvalues of the separable Hamiltonian that are below the expected levels."""
    ghosts = []
    for momentum, eigenvalues in configuration.bessel.items():
        expected = sorted(level.pseudo for level in configuration.levels if level.angular_momentum == momentum)
        # above its last level a neutral atom has weakly bound states only, an ion has a Rydberg series
        expected += [-_GHOST_TOLERANCE if neutral else -np.inf] * max(len(eigenvalues) - len(expected), 0)
        for level, eigenvalue in zip(expected, eigenvalues, strict=False):
            if eigenvalue < level - _GHOST_TOLERANCE:
                ghosts.append(f'ghost state at {eigenvalue:.3f} Ry with l = {momentum}')
                break
    return ghosts


def phase_error(all_electron: Path, pseudo: Path) -> float:
    """Return the largest difference in rad of the arctan of the logarithmic derivatives in two files of ``ld1.x``.

    NaN if a file is missing or damaged.
    """
    try:
        exact, approximate = (np.arctan(np.loadtxt(path, ndmin=2)[:, 1:]) for path in (all_electron, pseudo))
    except (OSError, ValueError):
        return math.nan
    if exact.shape != approximate.shape or not exact.size:
        return math.nan
    difference = exact - approximate
    return float(np.abs((difference + math.pi / 2) % math.pi - math.pi / 2).max())

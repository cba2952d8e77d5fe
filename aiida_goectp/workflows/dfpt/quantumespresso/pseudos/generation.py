"""Execution of ``ld1.x``: UPF files from recipes, returned only if they pass the checks."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.checks import (
    MAX_PHASE_ERROR,
    comparison_problems,
    file_problems,
    phase_error,
)
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.ld1 import comparison_input, generation_input, read_comparisons
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.recipes import RECIPES, Recipe

__all__ = ('PseudoError', 'generate', 'run_ld1')

_TIMEOUT = 300  # seconds; the usual time is one second
# ld1.x of Debian is linked with Open MPI, which does not start as root without these variables
_ENVIRONMENT = {'OMP_NUM_THREADS': '1', 'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}


class PseudoError(ValueError):
    """A pseudopotential cannot be generated, or it fails a check."""


def _command(ld1: str) -> list[str]:
    """Return the arguments of a command: a path, spaces allowed, or a command such as 'mpirun -n 1 ld1.x'."""
    if path := shutil.which(ld1):
        return [str(Path(path).absolute())]
    words = shlex.split(ld1)
    if not words or shutil.which(words[0]) is None:
        raise PseudoError(
            f'ld1: {ld1!r} is not executable; install Quantum ESPRESSO (Debian: quantum-espresso) or give another path'
        )
    return words


def run_ld1(command: list[str], name: str, content: str, folder: Path) -> str:
    """Run ``ld1.x`` with one input in a folder and return its standard output.

    :param name: stem of the input and output files
    :raises PseudoError: ld1.x cannot be started, exceeds the time limit or reports an error
    """
    (folder / f'{name}.in').write_text(content, encoding='utf-8')
    try:
        result = subprocess.run(
            [*command, '-i', f'{name}.in'],
            cwd=folder,
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PseudoError(f'{shlex.join(command)} failed on {name}.in: {error}') from error
    output = result.stdout.decode(errors='replace')
    (folder / f'{name}.out').write_text(output, encoding='utf-8')
    if result.returncode or 'Error in routine' in output:
        lines = output.splitlines()
        at = next((i for i, line in enumerate(lines) if 'Error in routine' in line), max(len(lines) - 3, 0))
        raise PseudoError(f'ld1.x failed on {name}.in: ' + ' '.join(line.strip() for line in lines[at : at + 2]))
    return output


def _generate_one(recipe: Recipe, command: list[str], folder: Path) -> Path:
    """Generate, test and check one file in a folder, and return its path."""
    run_ld1(command, 'generate', generation_input(recipe), folder)
    path = folder / f'{recipe.symbol}.UPF'
    if not path.is_file():
        raise PseudoError(f'{recipe.symbol}: ld1.x ended without an error, but {path.name} is missing')
    problems = file_problems(path, recipe)
    tested = read_comparisons(run_ld1(command, 'test', comparison_input(recipe), folder))
    problems += comparison_problems(tested, recipe)
    phase = phase_error(folder / 'ld11.dlog', folder / 'ld11ps.dlog')
    if not phase <= MAX_PHASE_ERROR:
        problems.append(f'logarithmic derivatives differ by {phase:.2f} rad')
    if problems:
        raise PseudoError(f'{recipe.symbol}: the pseudopotential fails the checks: ' + '; '.join(problems))
    return path


def generate(symbols: Iterable[str], folder: str | Path, ld1: str = 'ld1.x') -> list[Path]:
    """Generate norm-conserving PBEsol pseudopotentials, within one or two seconds per element.

    ``ld1.x`` compares each with all-electron atoms: levels and excitation energies of three configurations, logarithmic
    derivatives, and eigenvalues in a basis of Bessel functions, which reveal ghost states.

    :param symbols: chemical symbols, all in ``RECIPES``
    :param folder: folder of ``<symbol>.UPF`` and the log ``<symbol>.log``; created if it does not exist
    :param ld1: path or command of ``ld1.x``
    :return: UPF files, in the order of the symbols
    :raises PseudoError: no recipe for an element, no ``ld1.x``, or a failed check, in which case no file is written
    """
    wanted = list(dict.fromkeys(symbols))
    if unknown := [symbol for symbol in wanted if symbol not in RECIPES]:
        raise PseudoError(f'symbols: no recipe for {", ".join(unknown)}; available: {", ".join(RECIPES)}')
    command = _command(ld1)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for symbol in wanted:
        with tempfile.TemporaryDirectory(prefix=f'ld1-{symbol}-') as scratch:
            made = _generate_one(RECIPES[symbol], command, Path(scratch))
            log = Path(scratch, 'generate.out').read_text(encoding='utf-8')
            log += Path(scratch, 'test.out').read_text(encoding='utf-8')
            (target / f'{symbol}.log').write_text(log, encoding='utf-8')
            paths.append(Path(shutil.copy(made, target / made.name)))
    return paths

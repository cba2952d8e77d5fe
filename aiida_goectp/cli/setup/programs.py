"""Find ``pw.x``, ``ph.x`` and ``ld1.x``, or install them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from aiida.cmdline.utils import echo

__all__ = (
    'PROGRAMS',
    'InstallError',
    'environment_lines',
    'find_programs',
    'install_with_apt',
    'install_with_qepy',
    'may_use_apt',
)

PROGRAMS = ('pw.x', 'ph.x', 'ld1.x')

_WRAPPER = """#!/bin/sh
exec '{python}' -m qepy --{program} "$@"
"""


class InstallError(RuntimeError):
    """An installation failed; the message says what was run and what it answered."""


def find_programs(folder: Path, given: dict[str, Path | None] | None = None) -> dict[str, Path]:
    """Return those programs that are there: given ones first, then those in PATH, then those installed by us.

    :param folder: where :func:`install_with_qepy` puts its wrappers
    :param given: program → path or ``None``
    """
    found = {}
    for program in PROGRAMS:
        wrapper = folder / 'bin' / program
        path = (given or {}).get(program) or shutil.which(program) or (wrapper if wrapper.is_file() else None)
        if path:
            found[program] = Path(path).absolute()
    return found


def may_use_apt() -> list[str] | None:
    """Return what must stand before ``apt-get``: nothing for root, ``sudo -n`` if that asks no password; else None."""
    if shutil.which('apt-get') is None:
        return None
    if os.geteuid() == 0:
        return []
    if (
        shutil.which('sudo')
        and subprocess.run(['sudo', '-n', 'true'], capture_output=True, check=False).returncode == 0
    ):
        return ['sudo', '-n']
    return None


def install_with_apt(before: Sequence[str]) -> None:
    """Install the system's package ``quantum-espresso``.

    :param before: what :func:`may_use_apt` returned
    :raises InstallError: apt-get failed
    """
    _run([*before, 'apt-get', 'update', '-qq'])
    options = ['-o', 'DPkg::Lock::Timeout=300', '--yes', '-qq', '--no-install-recommends']
    _run([*before, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', *options, 'quantum-espresso'])


def install_with_qepy(folder: Path) -> None:
    """Install the PyPI package qepy, which holds Quantum ESPRESSO, in an environment of its own, with wrappers.

    It needs numpy < 2, which this environment need not have: hence one of its own. No root is needed.

    :param folder: gets ``env`` and ``bin``
    :raises InstallError: venv or pip failed, or the programs do not start
    """
    python = folder / 'env' / 'bin' / 'python'
    if not python.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, '-m', 'venv', str(folder / 'env')])
    _run([str(python), '-m', 'pip', 'install', '--quiet', 'qepy>=7.2', 'numpy<2'])
    (folder / 'bin').mkdir(exist_ok=True)
    for program in PROGRAMS:
        wrapper = folder / 'bin' / program
        wrapper.write_text(_WRAPPER.format(python=python, program=program))
        wrapper.chmod(0o755)
    _run([str(python), '-c', 'import qepy'])


def environment_lines() -> str:
    """Return what a job script sets before a program: one thread, and leave for root to use Open MPI."""
    lines = ['export OMP_NUM_THREADS=1']
    if os.geteuid() == 0:
        lines += ['export OMPI_ALLOW_RUN_AS_ROOT=1', 'export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1']
    return '\n'.join(lines)


def _run(command: list[str]) -> None:
    echo.echo_report(f'running: {" ".join(command)}')
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise InstallError(f'`{" ".join(command)}` ended with status {done.returncode}: {said}')

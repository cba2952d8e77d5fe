"""Finding and installing the programs ``pw.x``, ``ph.x`` and ``ld1.x`` of Quantum ESPRESSO."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from aiida_goectp.cli import echo

__all__ = (
    'PROGRAMS',
    'InstallError',
    'apt_prefix',
    'environment_lines',
    'find_programs',
    'install_with_apt',
    'install_with_qepy',
)

PROGRAMS = ('pw.x', 'ph.x', 'ld1.x')

_WRAPPER = """#!/bin/sh
exec '{python}' -m qepy --{program} "$@"
"""


class InstallError(RuntimeError):
    """An installation failed; the message contains the command and its output."""


def find_programs(folder: Path, given: dict[str, Path | None] | None = None) -> dict[str, Path]:
    """Return the path of each program that exists: the given one, that in PATH, or that of :func:`install_with_qepy`.

    :param folder: folder of :func:`install_with_qepy`
    :param given: program → path or None
    """
    found = {}
    for program in PROGRAMS:
        wrapper = folder / 'bin' / program
        path = (given or {}).get(program) or shutil.which(program) or (wrapper if wrapper.is_file() else None)
        if path:
            found[program] = Path(path).absolute()
    return found


def apt_prefix() -> list[str] | None:
    """Return the command before ``apt-get``: empty for root, or ``sudo -n``; None if apt-get cannot be used."""
    if shutil.which('apt-get') is None:
        return None
    if os.geteuid() == 0:
        return []
    if not shutil.which('sudo'):
        return None
    sudo = subprocess.run(['sudo', '-n', 'true'], capture_output=True, check=False)
    return ['sudo', '-n'] if sudo.returncode == 0 else None


def install_with_apt(prefix: Sequence[str]) -> None:
    """Install the system package ``quantum-espresso``.

    :param prefix: of :func:`apt_prefix`
    :raises InstallError: apt-get failed
    """
    _run([*prefix, 'apt-get', 'update', '-qq'])
    options = ['-o', 'DPkg::Lock::Timeout=300', '--yes', '-qq', '--no-install-recommends']
    _run([*prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', *options, 'quantum-espresso'])


def install_with_qepy(folder: Path) -> None:
    """Install the PyPI package qepy, which contains Quantum ESPRESSO, in a separate environment, with wrapper scripts.

    The environment is separate because qepy requires numpy < 2. Root is not required.

    :param folder: folder for the environment ``env`` and the wrappers ``bin``
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
    """Return shell lines before a program in a job script: one thread; for root, permission to run Open MPI."""
    lines = ['export OMP_NUM_THREADS=1']
    if os.geteuid() == 0:
        lines += ['export OMPI_ALLOW_RUN_AS_ROOT=1', 'export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1']
    return '\n'.join(lines)


def _run(command: list[str]) -> None:
    echo.echo_report(f'running: {" ".join(command)}')
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        output = (done.stderr or done.stdout).strip()[-2000:]
        raise InstallError(f'`{" ".join(command)}` failed with exit status {done.returncode}: {output}')

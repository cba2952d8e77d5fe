"""Common parts of the benchmarks: one thread, crystals, CPU time, tables."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.readers import read_structures

__all__ = ('Clock', 'arguments', 'clock', 'finish', 'load', 'machine', 'one_thread', 'table')

_THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS')


def one_thread() -> None:
    """Restart this program with one thread; libraries read the number from the environment when they are imported."""
    if any(os.environ.get(name) != '1' for name in _THREADS):
        os.environ.update(dict.fromkeys(_THREADS, '1'))
        os.execv(sys.executable, [sys.executable, *sys.argv])


def arguments(description: str, limit: int) -> ArgumentParser:
    """Return a parser with the arguments of every benchmark."""
    parser = ArgumentParser(description=description)
    parser.add_argument('file', type=Path, help='structures: JSON lines, crystals.npz, CIF …, or a folder')
    parser.add_argument('--limit', type=int, default=limit, help=f'crystals to use, evenly spaced ({limit})')
    parser.add_argument('--json', type=Path, help='file to which the results are written')
    return parser


def load(options: Namespace) -> CrystalSet:
    """Read the file and return evenly spaced crystals."""
    crystals = read_structures([options.file])
    rows = np.unique(np.linspace(0, len(crystals) - 1, min(options.limit, len(crystals))).astype(int))
    return crystals.take(rows)


class Clock:
    """CPU time of all threads of this process, and elapsed time, in seconds."""

    cpu = wall = 0.0


@contextmanager
def clock() -> Iterator[Clock]:
    """Measure the time of a block."""
    measured = Clock()
    cpu, wall = time.process_time(), time.perf_counter()
    yield measured
    measured.cpu, measured.wall = time.process_time() - cpu, time.perf_counter() - wall


def machine() -> dict[str, Any]:
    """Return processor and versions."""
    model = platform.processor() or platform.machine()
    information = Path('/proc/cpuinfo')
    if information.is_file():
        names = [
            line.partition(':')[2].strip() for line in information.read_text().splitlines() if 'model name' in line
        ]
        model = names[0] if names else model
    return {'processor': model, 'cores': os.cpu_count(), 'python': platform.python_version(), 'numpy': np.__version__}


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows with the same keys."""
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    print(f'\n{title}')
    for line in cells:
        print('  ' + '  '.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    if isinstance(value, float):
        return f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'
    return '–' if value is None else str(value)


def finish(options: Namespace, results: dict[str, Any]) -> None:
    """Print the results as JSON, and write them to the file of ``--json``."""
    text = json.dumps({'machine': machine(), 'file': options.file.name, **results}, indent=1)
    print(f'\n{text}')
    if options.json:
        options.json.write_text(text + '\n')

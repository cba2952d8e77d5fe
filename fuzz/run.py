"""Coverage-guided run of all readers (atheris): ``make fuzz SECONDS=600``.

Each reader runs in a process of its own, with a limit of its memory and of the time for one input. The run fails if a
reader raises anything but ``FormatError``, exceeds a limit, or hangs; the input is kept in ``fuzz/crashes``. Inputs
that reach new code are kept in ``fuzz/found`` for the next run; the seeds are in ``fuzz/corpus``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

# numba cannot compile the calls by which coverage is counted
COMPILED = [
    '.'.join(path.relative_to(HERE.parent).with_suffix('').parts)
    for path in (HERE.parent / 'aiida_goectp').rglob('*.py')
    if '.cache import compiled\n' in path.read_text(encoding='utf-8')
]

with (
    contextlib.redirect_stderr(io.StringIO()),  # a line for each module
    atheris.instrument_imports(
        include=['aiida_goectp', 'ase.io.extxyz', 'ase.io.vasp', 'ase.io.espresso', 'ase.io.aims'],
        exclude=COMPILED,
        enable_loader_override=False,
    ),
):
    from aiida_goectp.core.formats.errors import FormatError
    from tests.readers import READERS

    for module in (
        'ase.io.extxyz',
        'ase.io.vasp',
        'ase.io.espresso',
        'ase.io.aims',
        'ase.geometry',
        'gemmi',
        'scipy.spatial',
    ):
        import_module(module)

LIMIT_MB = 1024
"""of a process, of which about 100 are libraries; inputs have at most 64 KiB, and no reader may take more for these"""
TIMEOUT = 20
"""seconds for one input"""
MAX_LENGTH = 65_536


def guarded(reader: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """Return a function that accepts ``FormatError``."""

    def read(data: bytes) -> None:
        with contextlib.suppress(FormatError):
            reader(data)

    return read


def fuzz(name: str, seconds: int, seed: int) -> int:
    """Run one reader in a child process, and return its process number."""
    found, crashes = HERE / 'found' / name, HERE / 'crashes'
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return child
    log = os.open(HERE / 'found' / f'{name}.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    options = {
        'max_total_time': seconds,
        'timeout': TIMEOUT,
        'rss_limit_mb': LIMIT_MB,
        'max_len': MAX_LENGTH,
        'seed': seed,
        'artifact_prefix': f'{crashes}/{name}-',
        'print_final_stats': 1,
        'verbosity': 1,
    }
    arguments = [f'-{key}={value}' for key, value in options.items()]
    atheris.Setup([sys.argv[0], str(found), str(HERE / 'corpus' / name), *arguments], guarded(READERS[name]))
    atheris.Fuzz()
    raise AssertionError('the fuzzer ends the process')


def result(name: str, status: int) -> dict[str, object]:
    """Return number of inputs, coverage and result of a finished run."""
    log = (HERE / 'found' / f'{name}.log').read_text(errors='replace')
    numbers = {
        'inputs': re.findall(r'stat::number_of_executed_units:\s*(\d+)', log) or re.findall(r'Done (\d+) runs', log),
        'covered': re.findall(r'cov: (\d+)', log),
        'memory_mb': re.findall(r'stat::peak_rss_mb:\s*(\d+)', log) or re.findall(r'rss: (\d+)Mb', log),
    }
    reason = re.search(r'=== Uncaught Python exception: ===\n(.*)|(ERROR: .*)', log)
    text = 'passed' if status == 0 else (next(filter(None, reason.groups())) if reason else f'ended with {status}')
    return {'reader': name, **{key: int(found[-1]) if found else 0 for key, found in numbers.items()}, 'result': text}


def main(names: Iterable[str], seconds: int, processes: int, seed: int) -> int:
    """Run readers, several at a time, and print a table; return the number of failures."""
    waiting, running, results = list(names), dict[int, str](), []
    each = max(1, seconds * processes // len(waiting))
    begun = time.monotonic()
    while waiting or running:
        while waiting and len(running) < processes:
            name = waiting.pop(0)
            running[fuzz(name, each, seed)] = name
        child, status = os.wait()
        results.append(result(running.pop(child), os.waitstatus_to_exitcode(status)))
        print('{reader:18} {inputs:8} inputs  coverage {covered:5}  {memory_mb:5} MB  {result}'.format(**results[-1]))
    failures = sum(item['result'] != 'passed' for item in results)
    total = sum(int(str(item['inputs'])) for item in results)
    print(f'{total} inputs, {failures} of {len(results)} readers failed, {time.monotonic() - begun:.0f} s')
    (HERE / 'found' / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
    return failures


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=int, default=600, help='of all readers together')
    parser.add_argument('--processes', type=int, default=1, help='readers at a time')
    parser.add_argument('--seed', type=int, default=0, help='of the random changes; default: another in each run')
    parser.add_argument('readers', nargs='*', help=f'default: all of {", ".join(READERS)}')
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(1 if main(given.readers or READERS, given.seconds, given.processes, given.seed) else 0)

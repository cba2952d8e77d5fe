"""Faults of ``goectp predict`` and ``goectp train`` at random moments: killed, disk full, clock changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.executable.status import EXIT_STATUS
from tests import tiny
from tests.faults.outcome import Kind, Outcome
from tests.fork_server import ForkServer

__all__ = ('KINDS', 'Bench')

ROWS, EPOCHS = 24, 6
PREDICT = ['predict', 'crystals.npz', '--model', 'model.safetensors', '--output', 'out.npz', '--batch-atoms', '8']
TRAIN = ['train', 'data.npz', '--output', 'out.safetensors', '--width', '16', '--layers', '1', '--batch-size', '8']
TRAIN += ['--epochs', str(EPOCHS), '--threads', '1']
COMMON = ['--device', 'cpu', '--quiet']
COMMANDS = {'predict': [*PREDICT, *COMMON], 'train': [*TRAIN, *COMMON]}
OUTPUTS = {'predict': 'out.npz', 'train': 'out.safetensors'}
LARGE_DISK = 2**27
"""bytes, more than any run needs"""
PAGE = 4096
"""bytes, unit of the space on a tmpfs"""
MAX_RUNS = 6
"""runs of the same command after which it should have finished"""


class Bench:
    """Inputs, results without faults, and the executable by fork, in a folder.

    :param folder: of its own
    :param commands: that will be run
    """

    PACKAGES = ('libfaketime',)

    def __init__(self, folder: Path, commands: Iterable[str] = tuple(COMMANDS)) -> None:
        self.folder = folder
        tiny.one_thread()
        self.clock = folder / 'clock'
        self.clock.write_text('+0')
        self.servers: dict[str, ForkServer] = {}
        self.inputs = folder / 'inputs'
        self.inputs.mkdir()
        tiny.some_crystals(ROWS).save(self.inputs / 'crystals.npz')
        tiny.some_dataset(24).save(self.inputs / 'data.npz')
        tiny.write_model(self.inputs / 'model.safetensors')
        self.expected: dict[str, bytes] = {}
        self.seconds: dict[str, float] = {}
        self.space: dict[str, int] = {}
        """bytes that a run needs besides its inputs"""
        for command in commands:
            output = OUTPUTS[command]
            with self.folder_of_run() as place:
                self.start(command, place).wait()  # loads what is compiled
            with self.small_disk(LARGE_DISK) as place:
                before, least, begin = free(place), LARGE_DISK, time.monotonic()
                process = self.start(command, place)
                while process.poll() is None:
                    least = min(least, free(place))
                    time.sleep(0.001)
                assert process.returncode == 0, (folder / 'err').read_text()
                self.seconds[command], self.space[command] = time.monotonic() - begin, before - least
                self.expected[command] = (place / output).read_bytes()

    @contextmanager
    def folder_of_run(self) -> Iterator[Path]:
        """Give a folder with the inputs."""
        place = self.folder / 'run'
        shutil.copytree(self.inputs, place)
        try:
            yield place
        finally:
            shutil.rmtree(place)

    @contextmanager
    def small_disk(self, size: int) -> Iterator[Path]:
        """Give a file system of this size in bytes, with the inputs."""
        place = self.folder / 'disk'
        place.mkdir()
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(place)], check=True)
        try:
            shutil.copytree(self.inputs, place, dirs_exist_ok=True)
            yield place
        finally:
            subprocess.run(['umount', '--lazy', str(place)], check=True)
            place.rmdir()

    def server(self, clock: bool) -> ForkServer:
        """Return the running server; with ``clock`` the one whose clock is set by the file of this name."""
        name = 'faked' if clock else 'plain'
        if name not in self.servers:
            (self.folder / name).mkdir()
            variables = {
                'LD_PRELOAD': str(_faketime_library()),
                'FAKETIME_TIMESTAMP_FILE': str(self.clock),
                'FAKETIME_NO_CACHE': '1',
                'FAKETIME_DONT_FAKE_MONOTONIC': '1',
            }
            self.servers[name] = server = ForkServer(self.folder / name, variables if clock else None)
            # it imports what jobs need when the first one starts: one whose client is killed meanwhile would start late
            subprocess.run([server.executable, '--version'], stdout=subprocess.DEVNULL, check=True)
        return self.servers[name]

    def start(self, command: str, place: Path, clock: bool = False) -> subprocess.Popen[bytes]:
        """Start a command in a folder, with its output beside it, on the same disk."""
        with (self.folder / 'out').open('wb') as out, (self.folder / 'err').open('wb') as err:
            words = [str(self.server(clock).executable), *COMMANDS[command]]
            variables = {**os.environ, 'OMP_NUM_THREADS': '1'}
            return subprocess.Popen(words, cwd=place, env=variables, stdout=out, stderr=err)

    def moment(self, command: str, dice: random.Random) -> float:
        """Return a random time within a run, s."""
        return dice.uniform(0.0, 1.1) * self.seconds[command]

    def result(self, command: str, place: Path, runs: int) -> Outcome:
        """Run the command until it finishes, and compare with the run without faults.

        :param runs: how many were interrupted
        """
        before = finished(command, place)
        code = self.start(command, place).wait()
        if code != 0:
            return Outcome(lost=1, note=f'status {code}: {(self.folder / "err").read_text()[-500:]}')
        return self.compare(command, place, runs, before)

    def compare(self, command: str, place: Path, runs: int, before: int) -> Outcome:
        """Compare a finished run with the one without faults.

        :param runs: how many were interrupted
        :param before: number of finished rows or epochs before the last one
        """
        output = place / OUTPUTS[command]
        if not output.exists():
            return Outcome(lost=1, note='finished without an output')
        notes, wrong = [], int(output.read_bytes() != self.expected[command])
        lost, twice = count_units(command, place, runs)
        if (after := finished(command, place)) < before:
            notes.append(f'{before} finished before, {after} after')
            lost += 1
        if left := sorted(path.name for path in place.glob('*.writing')):
            notes.append(f'left behind: {left}')
            wrong += 1
        return Outcome(lost, twice, wrong, note='; '.join(notes))

    def close(self) -> None:
        """End the servers."""
        for server in self.servers.values():
            server.close()


def _faketime_library() -> Path | None:
    """Return the library of libfaketime, as the Debian package installs it."""
    return next(Path('/usr/lib').glob('*/faketime/libfaketime.so.1'), None)


def finished(command: str, place: Path) -> int:
    """Return the number of finished rows or epochs that the status file states."""
    try:
        status = json.loads((place / f'{OUTPUTS[command]}.status.json').read_bytes())
    except (FileNotFoundError, ValueError):  # not begun, or an empty one on a full disk
        return 0
    return int(status.get('rows_done' if command == 'predict' else 'epochs_done', 0))


def count_units(command: str, place: Path, runs: int) -> tuple[int, int]:
    """Return the numbers of lost and of repeated rows or epochs of a finished run."""
    if command == 'predict':
        counts = Counter(Predictions.load(place / 'out.npz').ids.tolist())
        return ROWS - len(counts), sum(counts.values()) - len(counts)
    lines = (place / 'out.safetensors.log.jsonl').read_text().splitlines()
    counts = Counter((entry['member'], entry['epoch']) for entry in map(json.loads, filter(_complete, lines)))
    # a training that was killed between log and state repeats that epoch
    return EPOCHS - len(counts), max(0, sum(counts.values()) - len(counts) - runs)


def _complete(line: str) -> bool:
    return line.startswith('{') and line.endswith('}')


def kill(bench: Bench, command: str, dice: random.Random) -> Outcome:
    """Kill one to three runs by SIGKILL, then let one finish."""
    with bench.folder_of_run() as place:
        met = runs = 0
        for _ in range(dice.randint(1, 3)):
            process = bench.start(command, place)
            time.sleep(bench.moment(command, dice))
            met += process.poll() is None
            process.kill()
            process.wait()
            runs += 1
            _wait_for_lock(place / f'{OUTPUTS[command]}.lock')
        outcome = bench.result(command, place, runs)
        return replace(outcome, met=bool(met))


def _wait_for_lock(path: Path) -> None:
    """Wait until the process whose client was killed has ended: the kernel drops its lock."""
    import fcntl

    if path.exists():
        with path.open('r+b') as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)


def free(place: Path) -> int:
    """Return the free space of a disk, bytes."""
    disk = os.statvfs(place)
    return disk.f_bfree * disk.f_frsize


def disk_full(bench: Bench, command: str, dice: random.Random) -> Outcome:
    """Run on a disk with less free space than needed, enlarge it step by step, and let the run finish."""
    pages = [-(-path.stat().st_size // PAGE) for path in bench.inputs.iterdir()]
    need = bench.space[command]
    size = sum(pages) * PAGE + dice.randrange(need)
    with bench.small_disk(size) as place:
        for runs in range(MAX_RUNS):
            before = finished(command, place)
            code = bench.start(command, place).wait()
            if code == 0:
                outcome = bench.compare(command, place, runs, before)
                return replace(outcome, met=runs > 0)
            if code != EXIT_STATUS['cannot_write']:
                return Outcome(wrong=1, note=f'status {code}: {(bench.folder / "err").read_text()[-500:]}')
            if (place / OUTPUTS[command]).exists():
                return Outcome(wrong=1, note='an output of a failed run')
            # what a failed run leaves, such as temporary files, comes on top at the end
            size += 4 * need if runs == MAX_RUNS - 3 else dice.randrange(need)
            subprocess.run(['mount', '-o', f'remount,size={size}', str(place)], check=True)
        return Outcome(lost=1, note=f'not finished after {MAX_RUNS} runs')


def clock_changed(bench: Bench, command: str, dice: random.Random) -> Outcome:
    """Set the clock forward and back, by a minute to a year, while the command runs; one run in two is killed too."""
    with bench.folder_of_run() as place:
        killed = dice.random() < 0.5
        process = bench.start(command, place, clock=True)
        met = False
        for _ in range(2):
            time.sleep(bench.moment(command, dice) / 2)
            bench.clock.write_text(f'{dice.choice("+-")}{int(60 * 10 ** dice.uniform(0, 5.7))}s')
            met |= process.poll() is None
        if killed:
            process.kill()
        code = process.wait()
        _wait_for_lock(place / f'{OUTPUTS[command]}.lock')
        if not killed and code != 0:
            return Outcome(wrong=1, note=f'status {code}: {(bench.folder / "err").read_text()[-500:]}')
        outcome = bench.result(command, place, int(killed))
        bench.clock.write_text('+0')
        return replace(outcome, met=met)


KINDS = {
    'goectp predict killed': Kind(Bench, kill, 'predict', 4),
    'goectp train killed': Kind(Bench, kill, 'train', 4),
    'disk full, goectp predict': Kind(Bench, disk_full, 'predict', 4),
    'disk full, goectp train': Kind(Bench, disk_full, 'train', 4),
    'clock changed, goectp predict': Kind(Bench, clock_changed, 'predict', 2),
    'clock changed, goectp train': Kind(Bench, clock_changed, 'train', 2),
}

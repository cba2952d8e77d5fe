"""Faults of AiiDA processes at random moments: a worker, the broker or a job is killed."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tests import tiny
from tests.faults.forked import Client, ForkedDaemon, run_verdi
from tests.faults.outcome import Kind, Outcome, equal
from tests.fork_server import ForkServer

__all__ = ('KINDS', 'ProfileBench', 'compare', 'finish', 'killed', 'worker_killed')

EXECUTABLE = 'GOECTP_TEST_EXECUTABLE'
"""variable with the path of the executable of a running server of jobs, see :mod:`tests.fork_server`"""
ROWS = 24
SLOW = 0.15
"""pause of the jobs after each batch, s"""
LAUNCHER = """#!/bin/sh
'{executable}' "$@"
status=$?
found=$status
grep -qs 'already written by the same command' goectp.out && found=waited
echo "$found $PWD" >> '{launches}'
exit $status
"""
"""the executable, which records its runs; ``waited``: the job was submitted twice, and another run had computed all"""


class ProfileBench:
    """A profile with its daemon, the executable by fork, and results without faults.

    :param folder: of its own
    """

    PROFILE = 'presto'
    OPTIONS: tuple[tuple[str, str], ...] = (('runner.poll.interval', '1'),)
    """options of the configuration of AiiDA"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.environ['AIIDA_PATH'] = str(folder.parent)  # before the import of aiida; of all profiles of this run
        os.environ['OMP_NUM_THREADS'] = '1'
        # one that runs already is used for several benches
        self.server = None if EXECUTABLE in os.environ else ForkServer(self._folder('server'))
        executable = os.environ[EXECUTABLE] if self.server is None else self.server.executable
        self.launches = folder / 'launches'
        self.launches.touch()
        self.executable = folder / 'goectp'
        self.executable.write_text(LAUNCHER.format(executable=executable, launches=self.launches))
        self.executable.chmod(0o755)
        self.model = tiny.write_model(folder / 'model.safetensors')
        tiny.some_crystals(ROWS).save(folder / 'crystals.npz')
        broker = self.create()
        for name, value in self.OPTIONS:
            self.verdi('config', 'set', name, value)
        from tests.fast_aiida import speed_up
        from tests.faults import nodes

        speed_up()
        self.nodes = nodes
        self.client = Client(self.PROFILE, folder / 'client.log')
        self.add_computer()
        self.daemon = ForkedDaemon(self.PROFILE, folder, 2, broker)
        self.daemon.start()
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, Any] = {}
        self.labels: dict[str, int] = {}
        """number of rows of the dataset of a campaign"""
        self.submitted = 0

    def _folder(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir()
        return made

    def verdi(self, *words: str, profile: bool = True) -> None:
        """Run a command of AiiDA in a forked process, and read the configuration again."""
        from aiida.manage.configuration import reset_config

        run_verdi([*(['-p', self.PROFILE] if profile else []), *words], self.folder / 'verdi.log')
        reset_config()

    def create(self) -> Path | None:
        """Create the profile, and return the folder of its broker if AiiDA has to start that."""
        self.verdi('presto', '--use-zeromq', '--profile-name', self.PROFILE, '--non-interactive', profile=False)
        return Path(self.write_daemon_pid()['broker_service']['dir'])

    def write_daemon_pid(self) -> Any:
        """Write the file by which aiida-core recognizes a running daemon, and return the paths of the profile."""
        from aiida.manage import get_config

        files = get_config().filepaths(get_config().get_profile(self.PROFILE))
        Path(files['circus']['pid']).write_text(str(os.getpid()))
        return files

    def add_computer(self, **configuration: Any) -> None:
        """Add a computer with the executable."""
        words = (str(self.executable), str(self._folder('work')), 'faults', configuration)
        self.client.call(self.nodes.add_code, *words)

    def prepare(self, name: str) -> None:
        """Run a process without faults, unless that was done: the result and the time that it takes."""
        if name in self.expected:
            return
        found = []
        for _ in range(2):  # the first run imports and compiles
            begin = time.monotonic()
            pk = self.submit(name)
            self.wait(pk, 1800)
            self.seconds[name] = time.monotonic() - begin
            found.append(self.client.call(self.nodes.fingerprint, pk))
        assert found[1]['exit_status'] == 0, found[1]
        assert equal(*found), f'{name}: two runs without faults differ: {found}'
        self.expected[name] = found[1]
        self.labels[name] = self.client.call(self.nodes.labels, pk)

    def submit(self, name: str, seconds: float | None = None) -> int:
        """Submit a process, and return its PK.

        :param seconds: duration of a DFPT calculation; one that no other process has if not given
        """
        self.submitted += 1
        seconds = 1 + self.submitted / 1000 if seconds is None else seconds
        files = (str(self.model), str(self.folder / 'crystals.npz'))
        return self.client.call(self.nodes.submit, name, 'faults', *files, SLOW, seconds)

    def progress(self, pk: int) -> dict[str, Any]:
        """Return the state of a process, see :func:`.nodes.progress`."""
        return self.client.call(self.nodes.progress, pk)

    def wait(self, pk: int, seconds: float) -> bool:
        """Return whether a process ends in time; also False as soon as a process below it is paused."""
        deadline = time.monotonic() + seconds
        while not (progress := self.progress(pk))['ended'] and not progress['paused']:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return bool(progress['ended'])

    def restart(self) -> None:
        """Restart the daemon, as ``verdi daemon restart`` does."""
        self.daemon.stop()
        self.client.close()  # is connected to the broker
        self.daemon.start()

    def jobs(self) -> list[psutil.Process]:
        """Return the running processes of the executable."""
        work, found = str(self.folder / 'work'), []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # ended, or of another user
                if process.name() not in ('bash', 'sh') and process.cwd().startswith(work):
                    found.append(process)
        return found

    def runs(self, folders: Iterable[str]) -> Counter[tuple[str, str]]:
        """Return how often the executable ran, by folder and exit status, in these folders."""
        lines = [line.split(' ', 1) for line in self.launches.read_text().splitlines()]
        return Counter((os.path.realpath(folder), status) for status, folder in lines if folder in set(folders))

    def close(self) -> None:
        """End daemon, client and server."""
        self.daemon.stop()
        self.client.close()
        if self.server is not None:
            self.server.close()


def finish(bench: ProfileBench, name: str, pk: int) -> Outcome:
    """Wait for a process, do what a user does if it hangs, and compare it with the run without faults."""
    remedies, patience = [], max(60.0, 5 * bench.seconds[name])
    while not bench.wait(pk, patience):
        progress = bench.progress(pk)
        if len(remedies) == 4:
            return Outcome(lost=1, remedies=len(remedies), note=json.dumps([remedies, progress]))
        if progress['paused']:
            bench.client.call(bench.nodes.play, progress['paused'])
            remedies.append(f'play {progress["paused"]}')
            time.sleep(2)
        else:
            bench.daemon.stop()
            bench.client.close()
            bench.daemon.start_broker()
            lost = bench.client.call(bench.nodes.repair)
            remedies.append(f'repair {lost}; {progress["states"]}')
            bench.client.close()
            bench.daemon.start()
    return replace(compare(bench, name, pk), remedies=len(remedies)).with_notes(remedies)


def compare(bench: ProfileBench, name: str, pk: int) -> Outcome:
    """Compare a process that has ended with the run without faults, and count its calls and jobs."""
    found = bench.client.call(bench.nodes.fingerprint, pk)
    repeated = bench.client.call(bench.nodes.repeated_calls, pk)
    runs = bench.runs(bench.client.call(bench.nodes.work_folders, pk))
    notes = [f'called twice: {item}' for item in repeated]
    notes += [f'{count} runs with status {status} in one folder' for (_, status), count in runs.items() if count > 1]
    lost = max(0, bench.labels[name] - bench.client.call(bench.nodes.labels, pk))
    notes += [f'{lost} labels lost'] * bool(lost)
    twice = len(repeated) + sum(count - 1 for (_, status), count in runs.items() if status == '0')
    if found['exit_status'] != 0:
        return Outcome(max(1, lost), twice, 0).with_notes([f'ended with {found}', *notes])
    differ = [key for key in found if not equal(found[key], bench.expected[name].get(key))]
    wrong = len(differ) + len(bench.expected[name].keys() - found.keys())
    return Outcome(lost, twice, wrong).with_notes([*notes, *(f'{key} differs' for key in differ)])


def killed(bench: ProfileBench, name: str, dice: random.Random, kill: Callable[[], None]) -> Outcome:
    """Kill what a process needs while it runs, start the daemon where it does not run, and let the process finish."""
    bench.prepare(name)
    pk = bench.submit(name)
    time.sleep(dice.uniform(0, bench.seconds[name]))
    met = not bench.progress(pk)['ended']
    kill()
    time.sleep(dice.uniform(0, 1))
    bench.daemon.start()
    bench.restart()
    return replace(finish(bench, name, pk), met=met)


def worker_killed(bench: ProfileBench, name: str, dice: random.Random) -> Outcome:
    """Kill one of two workers."""
    return killed(bench, name, dice, lambda: bench.daemon.kill_worker(dice))


def broker_killed(bench: ProfileBench, name: str, dice: random.Random) -> Outcome:
    """Kill the broker of aiida-core."""
    return killed(bench, name, dice, bench.daemon.kill_broker)


def job_killed(bench: ProfileBench, name: str, dice: random.Random) -> Outcome:
    """Kill a running job."""
    bench.prepare(name)
    pk = bench.submit(name)
    time.sleep(dice.uniform(0, bench.seconds[name]))
    met = False
    while not met and not bench.progress(pk)['ended']:
        for job in bench.jobs():
            with suppress(psutil.NoSuchProcess):
                time.sleep(dice.uniform(0, 3 * SLOW))
                job.kill()
                met = True
    return replace(finish(bench, name, pk), met=met)


def worker_of_two_killed(bench: ProfileBench, name: str, dice: random.Random) -> Outcome:
    """Kill one of two workers while two campaigns run on one pool, of which each may reuse results of the other."""
    bench.prepare(name)
    bench.submitted += 1
    seconds = 1 + bench.submitted / 1000
    pks = [bench.submit(name, seconds)]
    time.sleep(dice.uniform(0, bench.seconds[name] / 2))
    pks.append(bench.submit(name, seconds))
    time.sleep(dice.uniform(0, 1.5 * bench.seconds[name]))
    met = not all(bench.progress(pk)['ended'] for pk in pks)
    bench.daemon.kill_worker(dice)
    time.sleep(dice.uniform(0, 1))
    bench.daemon.start()
    bench.restart()
    one, other = (finish(bench, name, pk) for pk in pks)
    counts = (one.lost + other.lost, one.twice + other.twice, one.wrong + other.wrong)
    return Outcome(*counts, met, one.remedies + other.remedies).with_notes(filter(None, [one.note, other.note]))


KINDS = {
    f'{what} killed, {name}': Kind(ProfileBench, fault, command, weight)
    for name, command, weight in (('prediction', 'predict', 4), ('screen', 'screen', 2))
    for what, fault in (('worker', worker_killed), ('broker', broker_killed), ('job', job_killed))
}
KINDS['worker killed, two campaigns on one pool'] = Kind(ProfileBench, worker_of_two_killed, 'campaign', 2)

"""A separate profile with a daemon that can be killed by SIGKILL, and reports on a process in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent
REPORTER = """
import runpy, sys
from aiida.manage import get_manager

session = get_manager().get_profile_storage().get_session()
for _ in sys.stdin:
    session.rollback()  # ends the transaction, in which SQLite shows the past
    session.expire_all()
    runpy.run_path('report.py')
    sys.stdout.flush()
"""
"""runs the script of a report for each line of its input, since the start of ``verdi`` takes seconds"""


class Daemon:
    """The daemon of a profile in a folder.

    :param folder: folder of the profile, and working directory of commands
    :param workers: number of workers
    """

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder, self.workers = folder, workers
        path = f'{COMMANDS}{os.pathsep}{os.environ["PATH"]}'  # where the daemon looks for verdi
        self.environment = {**os.environ, 'AIIDA_PATH': str(folder), 'PYTHONPATH': str(ROOT), 'PATH': path}
        self.environment.pop('AIIDA_PROFILE', None)
        self.pk = ''
        """of the process on which is reported"""
        self.reporter: subprocess.Popen | None = None

    def run(self, *command: str) -> str:
        """Run a command of the environment and return what it prints."""
        result = subprocess.run(
            [COMMANDS / command[0], *command[1:]],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def submit(self, submit: str, report: str) -> None:
        """Submit a process.

        :param submit: a script that submits it and prints its pk
        :param report: a script that prints a report on the process with the given pk as JSON
        """
        (self.folder / 'submit.py').write_text(submit)
        self.watch(self.run('verdi', 'run', 'submit.py').split()[-1], report)

    def watch(self, pk: str, report: str) -> None:
        """Report on a process from now on; parameters as for :meth:`submit`."""
        if self.reporter is not None:
            self.reporter.communicate()
        (self.folder / 'report.py').write_text(report)
        (self.folder / 'reporter.py').write_text(REPORTER)
        self.pk = pk
        self._start_reporter()

    def _start_reporter(self) -> None:
        self.reporter = subprocess.Popen(
            [COMMANDS / 'verdi', 'run', 'reporter.py', self.pk],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )

    def report_when(self, condition: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """Return the first report that meets the condition."""
        deadline = time.monotonic() + seconds
        while not condition(report := self._report()):
            assert time.monotonic() < deadline, report
            time.sleep(3)  # a report takes a third of a second
        return report

    def _report(self) -> dict[str, Any]:
        for _ in range(3):  # the script may meet a locked database, or a node that is being stored
            assert self.reporter is not None
            assert self.reporter.stdin is not None
            assert self.reporter.stdout is not None
            self.reporter.stdin.write('report\n')
            self.reporter.stdin.flush()
            if line := self.reporter.stdout.readline():
                return json.loads(line)
            self.reporter.communicate()
            self._start_reporter()
        raise AssertionError('the script of the report failed three times')

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the daemon, the supervisor first."""
        (pid_file,) = (self.folder / '.aiida' / 'daemon').glob('circus-*.pid')
        supervisor = psutil.Process(int(pid_file.read_text()))
        # jobs keep running when the daemon dies, as on a cluster; the statistics process of circus must be killed too
        return [supervisor, *filter(_is_daemon, supervisor.children(recursive=True))]

    def kill_and_restart(self) -> None:
        """Kill the daemon by SIGKILL, and start it again."""
        processes = self.processes()
        assert len(processes) >= 3  # the supervisor, its workers, the broker
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 30)
        # if the new broker is slow to write its sockets, workers connect to those of the dead one and wait forever;
        # after a crash of a machine `verdi daemon restart` solves this
        for stale in (self.folder / '.aiida' / 'broker').rglob('broker.sockets'):
            stale.unlink()
        self.start()

    def start(self) -> None:
        """Start the daemon."""
        self.run('verdi', 'daemon', 'start', str(self.workers))
        self.wait_for_broker()

    def wait_for_broker(self) -> None:
        """Wait for the broker that the daemon starts: on a busy machine it takes longer than clients wait."""
        deadline = time.monotonic() + 120
        while not any((self.folder / '.aiida' / 'broker').rglob('broker.sockets')):
            assert time.monotonic() < deadline, 'the broker of the daemon has not started'
            time.sleep(0.2)

    def end(self) -> None:
        """Stop the daemon, and end the reports."""
        if self.reporter is not None:
            self.reporter.communicate()
        self.run('verdi', 'daemon', 'stop')


def _is_daemon(process: psutil.Process) -> bool:
    try:
        return bool({'daemon', 'from circus import stats; stats.main()'} & {*process.cmdline()})
    except (psutil.NoSuchProcess, psutil.ZombieProcess):  # a job or a command of the scheduler that has ended
        return False


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Return the running daemon of a new profile."""
    one = Daemon(tmp_path)
    one.run('verdi', 'presto')
    one.run('verdi', 'config', 'set', 'daemon.timeout', '30')
    one.start()
    yield one
    one.end()

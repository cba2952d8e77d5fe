"""A service that runs as a child of nobody in a folder of its own, on a port of its own, so that it can be killed."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

__all__ = ('Service', 'as_user', 'free_port')


def free_port() -> int:
    """Return a port of the loopback interface that is free."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


def as_user(name: str) -> list[str]:
    """Return the words in front of a command that let it run as a user of the system."""
    return ['setpriv', f'--reuid={name}', f'--regid={name}', '--init-groups']


class Service:
    """One server.

    :param folder: of all services; readable by each user
    """

    NAME: ClassVar[str]
    PACKAGES: ClassVar[tuple[str, ...]]
    """Debian packages"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.NAME
        self.folder.mkdir(exist_ok=True)
        self.environment: dict[str, str] = {}

    @property
    def port(self) -> int:
        """Port on 127.0.0.1; the same after each start."""
        return self._kept_port('port')

    def _kept_port(self, name: str) -> int:
        kept = self.folder / name
        if not kept.exists():
            kept.write_text(str(free_port()))
        return int(kept.read_text())

    def prepare(self) -> None:
        """Write configuration and data before the first start."""

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the commands, by their name, that run until they are ended."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether the service can be used."""
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex(('127.0.0.1', self.port)) == 0

    def start(self, seconds: float = 120) -> None:
        """Start the service, unless it runs, and wait until it answers.

        :raises RuntimeError: it did not answer in time
        """
        self.prepare()
        for name, command in self.commands().items():
            if self._process(name) is None:
                with (self.folder / f'{name}.log').open('ab') as log:
                    streams = {'stdin': subprocess.DEVNULL, 'stdout': log, 'stderr': log}
                    started = subprocess.Popen(
                        list(command),
                        cwd=self.folder,
                        env={**os.environ, **self.environment},
                        start_new_session=True,
                        **streams,
                    )
                process = psutil.Process(started.pid)
                (self.folder / f'{name}.pid').write_text(f'{started.pid} {process.create_time()}')
        deadline = time.monotonic() + seconds
        while not self.answers():
            if time.monotonic() > deadline:
                tails = [path.read_text(errors='replace')[-1500:] for path in self.folder.glob('*.log')]
                raise RuntimeError(f'{self.NAME} does not answer after {seconds:.0f} s:\n' + '\n'.join(tails))
            time.sleep(0.2)

    def _process(self, name: str) -> psutil.Process | None:
        kept = self.folder / f'{name}.pid'
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            pid, created = kept.read_text().split()
            process = psutil.Process(int(pid))
            if process.create_time() == float(created) and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def processes(self) -> list[psutil.Process]:
        """Return the running processes of the service."""
        found = []
        for name in self.commands():
            if (process := self._process(name)) is not None:
                with suppress(psutil.NoSuchProcess):
                    found += [process, *process.children(recursive=True)]
        return found

    def kill(self) -> None:
        """Kill all its processes by SIGKILL."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, 30)

    def stop(self) -> None:
        """Let the service end by itself; kill what is left after some time."""
        processes = self.processes()
        for name in self.commands():
            if (process := self._process(name)) is not None:
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
        _, left = psutil.wait_procs(processes, 20)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

"""The daemon of a profile, and a client of it: processes forked from this one, which has imported AiiDA for all.

Workers and broker are those of aiida-core. ``verdi daemon`` starts them by circus, which takes seconds of CPU time for
the imports of each; here they are forked, and started again if they are killed, as circus does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

__all__ = ('Client', 'ClientError', 'ForkedDaemon', 'run_verdi')

_FORK = multiprocessing.get_context('fork')
_T = TypeVar('_T')


class ClientError(RuntimeError):
    """An exception in a client, with its traceback."""


class Client:
    """A process with the loaded profile that calls functions.

    :param profile: name of the profile
    :param log: file of its output
    """

    def __init__(self, profile: str, log: Path) -> None:
        self.profile, self.log = profile, log
        self._process: BaseProcess | None = None

    def call(self, function: Callable[..., _T], *arguments: Any, seconds: float = 300) -> _T:
        """Return what a function of a module returns in the client.

        :raises ClientError: the function raised an exception, or did not end in time; the next call has a new client
        """
        if self._process is None or not self._process.is_alive():
            self._pipe, other = _FORK.Pipe()
            self._process = _FORK.Process(target=_serve, args=(self.profile, self.log, other))
            self._process.start()
            other.close()
        self._pipe.send((function, arguments))
        error: str = f'no answer in {seconds} s'
        with contextlib.suppress(EOFError):
            if self._pipe.poll(seconds):
                good, value = self._pipe.recv()
                if good:
                    return value
                error = value
        self.close()
        raise ClientError(error)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(profile: str, log: Path, pipe: Any) -> None:
    from aiida import load_profile
    from aiida.manage import get_manager

    _write_to(log)
    load_profile(profile)
    while True:
        function, arguments = pipe.recv()
        session = get_manager().get_profile_storage().get_session()
        try:
            session.rollback()  # ends the transaction, in which SQLite shows the past
            session.expire_all()
            pipe.send((True, function(*arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


def _write_to(log: Path) -> None:
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the handler of the suite


def run_verdi(words: list[str], log: Path) -> None:
    """Run a command of ``verdi`` in a process of its own.

    :raises RuntimeError: it failed
    """
    process = _started(_call_verdi, words, log)
    process.join()
    if process.exitcode:
        raise RuntimeError(f'verdi {" ".join(words)}: {log.read_text()}')


def _call_verdi(words: list[str], log: Path) -> None:
    from aiida.cmdline.commands.cmd_verdi import verdi

    _write_to(log)
    verdi(args=words, prog_name='verdi')


def _work(profile: str, log: Path) -> None:
    from aiida.engine.daemon.worker import start_daemon_worker

    _write_to(log)
    start_daemon_worker(foreground=True, profile_name=profile)


def _serve_tasks(folder: Path, log: Path) -> None:
    from aiida.brokers.zeromq.service import run_broker_service

    _write_to(log)
    run_broker_service(folder, log)


class ForkedDaemon:
    """Workers and broker of a profile.

    :param profile: name of the profile
    :param folder: of the logs
    :param workers: number of workers
    :param broker: folder of the ZeroMQ broker of aiida-core; None for a broker that is a service
    """

    def __init__(self, profile: str, folder: Path, workers: int, broker: Path | None) -> None:
        self.profile, self.folder, self.broker_folder = profile, folder, broker
        self.workers: list[BaseProcess | None] = [None] * workers
        self.broker: BaseProcess | None = None

    def start(self) -> None:
        """Start what does not run, the broker first."""
        self.start_broker()
        for place, worker in enumerate(self.workers):
            if not _runs(worker):
                self.workers[place] = _started(_work, self.profile, self.folder / 'daemon.log')

    def start_broker(self) -> None:
        """Start the broker alone, unless it runs or is a service."""
        if self.broker_folder is not None and not _runs(self.broker):
            sockets = self.broker_folder / 'broker.sockets'
            # workers must not connect to the sockets of the dead one
            sockets.unlink(missing_ok=True)
            self.broker = _started(_serve_tasks, self.broker_folder, self.folder / 'broker.log')
            deadline = time.monotonic() + 60
            while not sockets.exists() or not list(Path(sockets.read_text() or '/nowhere').glob('router.sock')):
                if time.monotonic() > deadline:
                    raise RuntimeError(f'the broker does not start: {self.folder / "broker.log"}')
                time.sleep(0.05)

    def stop(self) -> None:
        """End all by SIGTERM, as ``verdi daemon stop`` does; those that have not ended after 15 s by SIGKILL."""
        for group in (self.workers, [self.broker]):
            processes = [process for process in group if process is not None and process.is_alive()]
            for process in processes:
                process.terminate()
            deadline = time.monotonic() + 15
            for process in processes:
                process.join(max(0.1, deadline - time.monotonic()))
                if process.is_alive():
                    process.kill()
                    process.join()

    def kill_worker(self, dice: random.Random) -> None:
        """Kill a random worker by SIGKILL."""
        _kill(dice.choice(self.workers))

    def kill_broker(self) -> None:
        """Kill the broker by SIGKILL."""
        _kill(self.broker)


def _started(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = _FORK.Process(target=function, args=arguments)
    process.start()
    return process


def _runs(process: BaseProcess | None) -> bool:
    return process is not None and process.is_alive()


def _kill(process: BaseProcess | None) -> None:
    if process is not None and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
        process.join()

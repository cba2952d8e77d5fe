"""Servers killed while a process runs: PostgreSQL, RabbitMQ; and a computer that cannot be reached for some time."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.faults.outcome import Kind, Outcome
from tests.faults.processes import ProfileBench, finish, killed, worker_killed
from tests.services.cluster import HOST, SshServer
from tests.services.databases import Postgresql, RabbitMq

__all__ = ('KINDS',)

RETRY_SECONDS = 1
"""first interval between two attempts to reach the computer; the default of aiida-core is 20 s"""


class ServicesBench(ProfileBench):
    """A profile on PostgreSQL and RabbitMQ."""

    PROFILE = 'services'
    PACKAGES = (*Postgresql.PACKAGES, *RabbitMq.PACKAGES)

    def create(self) -> Path | None:
        """Start the servers, and create the profile."""
        for folder in (self.folder, self.folder.parent):
            folder.chmod(0o755)  # for the users of the servers
        self.postgresql, self.rabbitmq = Postgresql(self.folder), RabbitMq(self.folder)
        self.postgresql.start(300)
        self.rabbitmq.start(300)
        storage = self.postgresql.create_database('faults')
        storage['repository_uri'] = (self.folder / 'repository').as_uri()
        values = storage | {'first_name': 'a', 'last_name': 'b', 'institution': 'c', 'email': 'a@localhost'}
        words = [f'--{name.replace("_", "-")}={value}' for name, value in values.items()]
        name = f'--profile-name={self.PROFILE}'
        self.verdi('profile', 'setup', 'core.psql_dos', '-n', name, '--broker=none', *words, profile=False)
        broker = {'protocol': 'amqp', 'username': 'guest', 'password': 'guest', 'host': '127.0.0.1'}
        broker |= {'port': str(self.rabbitmq.port), 'virtual-host': ''}
        words = [f'--broker-{name}={value}' for name, value in broker.items()]
        self.verdi('profile', 'configure-broker', 'core.rabbitmq', '-n', '-f', *words)
        self.write_daemon_pid()
        return None

    def close(self) -> None:
        """End all processes."""
        super().close()
        self.rabbitmq.stop()
        self.postgresql.stop()


class EngineBench(ServicesBench):
    """A profile on PostgreSQL and RabbitMQ with ``pw.x`` and ``ph.x``."""

    PROFILE = 'engine'
    PACKAGES = (*ServicesBench.PACKAGES, 'quantum-espresso')

    def add_computer(self, **configuration: Any) -> None:
        """Add a computer with all programs, and generate pseudopotentials."""
        super().add_computer(**configuration)
        self.client.call(self.nodes.add_quantum_espresso, 'faults')


class RemoteBench(ProfileBench):
    """A profile whose jobs run on a computer with SSH; the server of SSH is one of its own on this machine."""

    PROFILE = 'remote'
    PACKAGES = SshServer.PACKAGES
    OPTIONS = (*ProfileBench.OPTIONS, ('transport.task_retry_initial_interval', str(RETRY_SECONDS)))

    def add_computer(self) -> None:
        """Start the server, and add the computer."""
        self.ssh = SshServer(self.folder)
        self.ssh.start(300)
        os.environ['HOME'] = str(self.ssh.home)  # of the configuration of its clients
        self.client.close()
        super().add_computer(transport='core.ssh_async', host=HOST)

    def close(self) -> None:
        """End all processes."""
        super().close()
        self.ssh.stop()


def server_killed(bench: ServicesBench, name: str, dice: random.Random, server: str) -> Outcome:
    """Kill all processes of a server, and start it again.

    :param server: ``postgresql`` or ``rabbitmq``
    """

    def kill() -> None:
        one = getattr(bench, server)
        one.kill()
        time.sleep(dice.uniform(0, 5))
        one.start(300)

    return killed(bench, name, dice, kill)


def connection_killed(bench: ServicesBench, name: str, dice: random.Random) -> Outcome:
    """Kill the process of one connection; the server then ends the others, and recovers by itself."""

    def kill() -> None:
        backends = []
        for process in bench.postgresql.processes():
            with suppress(psutil.Error):
                if 'goectp faults' in ' '.join(process.cmdline()):
                    backends.append(process)
        if backends:
            with suppress(psutil.Error):
                dice.choice(backends).kill()
        time.sleep(1)
        bench.postgresql.start(300)  # waits for the recovery

    return killed(bench, name, dice, kill)


def unreachable(bench: RemoteBench, name: str, dice: random.Random) -> Outcome:
    """End the server of SSH and its connections for 5 to 45 s; jobs continue. The daemon is not restarted."""
    bench.prepare(name)
    pk = bench.submit(name)
    time.sleep(dice.uniform(0, bench.seconds[name]))
    met = not bench.progress(pk)['ended']
    for process in bench.ssh.processes():
        with suppress(psutil.Error):
            if process.name().startswith('sshd'):
                process.kill()
    time.sleep(dice.uniform(5, 45))
    bench.ssh.start(300)
    return replace(finish(bench, name, pk), met=met)


_SERVERS = {
    'PostgreSQL': partial(server_killed, server='postgresql'),
    'connection of PostgreSQL': connection_killed,
    'RabbitMQ': partial(server_killed, server='rabbitmq'),
}
KINDS = {
    f'{what} killed, {process}': Kind(bench, fault, command, 1)
    for what, fault in _SERVERS.items()
    for process, bench, command in (
        ('prediction', ServicesBench, 'predict'),
        ('screen', ServicesBench, 'screen'),
        ('Quantum ESPRESSO', EngineBench, 'dfpt'),
    )
}
KINDS['worker killed, Quantum ESPRESSO'] = Kind(EngineBench, worker_killed, 'dfpt', 1)
KINDS['computer unreachable, prediction'] = Kind(RemoteBench, unreachable, 'predict', 2)

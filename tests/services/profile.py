"""A profile on PostgreSQL and RabbitMQ with a daemon of four workers, and computers that use Slurm and SSH."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.services.cluster import HOST
from tests.services.stack import Stack
from tests.workflows.daemon import Daemon

__all__ = ('COMPUTERS', 'ServicesDaemon', 'broker_configuration')

COMPUTERS = {
    'localhost': ('core.local', 'core.direct'),
    'slurm': ('core.local', 'core.slurm'),
    'ssh': ('core.ssh_async', 'core.slurm'),
}
"""transport and scheduler of each computer"""

SET_UP = """
import json, sys
from aiida import orm

for label, (transport, scheduler) in json.loads(sys.argv[1]).items():
    computer = orm.Computer(
        label=label, hostname=sys.argv[2], transport_type=transport, scheduler_type=scheduler, workdir=sys.argv[3]
    ).store()
    computer.set_minimum_job_poll_interval(1.0)
    computer.set_default_mpiprocs_per_machine(1)
    computer.configure(**({'host': sys.argv[2]} if transport == 'core.ssh_async' else {}), safe_interval=0.5)
    orm.InstalledCode(label='goectp', computer=computer, filepath_executable=sys.argv[4]).store()
    orm.InstalledCode(label='bash', computer=computer, filepath_executable='/bin/bash').store()
"""


def broker_configuration(stack: Stack) -> dict[str, Any]:
    """Return how AiiDA reaches RabbitMQ."""
    return {
        'broker_protocol': 'amqp',
        'broker_username': 'guest',
        'broker_password': 'guest',
        'broker_host': '127.0.0.1',
        'broker_port': stack.rabbitmq.port,
        'broker_virtual_host': '',
    }


class ServicesDaemon(Daemon):
    """The daemon of a new profile on the services.

    :param folder: of the profile
    :param stack: running services
    """

    def __init__(self, folder: Path, stack: Stack) -> None:
        super().__init__(folder, workers=4)
        self.stack = stack
        self.environment |= stack.environment

    def wait_for_broker(self) -> None:
        """RabbitMQ runs already."""

    def create(self) -> None:
        """Create the profile, computers and codes ``goectp`` and ``bash``."""
        storage = self.stack.postgresql.create_database(f'test-{uuid4()}')
        storage['repository_uri'] = (self.folder / 'repository').as_uri()
        values = storage | {'first_name': 'a', 'last_name': 'b', 'institution': 'c', 'email': 'a@localhost'}
        words = [f'--{name.replace("_", "-")}={value}' for name, value in values.items()]
        self.run('verdi', 'profile', 'setup', 'core.psql_dos', '-n', '--profile-name=services', '--broker=none', *words)
        broker = [f'--{name.replace("_", "-")}={value}' for name, value in broker_configuration(self.stack).items()]
        self.run('verdi', 'profile', 'configure-broker', 'core.rabbitmq', '-n', '-f', *broker)
        for name, value in (('daemon.timeout', '30'), ('runner.poll.interval', '1')):
            self.run('verdi', 'config', 'set', name, value)
        (self.folder / 'set_up.py').write_text(SET_UP)
        executable = Path(sys.executable).parent / 'goectp'
        work = self.folder / 'work'
        self.run('verdi', 'run', 'set_up.py', json.dumps(COMPUTERS), HOST, str(work), str(executable))

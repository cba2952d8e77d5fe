"""PostgreSQL, RabbitMQ and, for the accounting of Slurm, MariaDB."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.service import Service, as_user

__all__ = ('MariaDb', 'Postgresql', 'RabbitMq')

PASSWORD = 'goectp'
"""of the databases, which only this machine reaches"""


class Postgresql(Service):
    """PostgreSQL with a user ``goectp`` who may create databases."""

    NAME, PACKAGES = 'postgresql', ('postgresql',)

    def _program(self, name: str) -> str:
        return str(max(Path('/usr/lib/postgresql').glob(f'*/bin/{name}')))

    def prepare(self) -> None:
        """Create the cluster."""
        data = self.folder / 'data'
        if data.exists():
            return
        shutil.chown(self.folder, 'postgres')
        made = [*as_user('postgres'), self._program('initdb'), '--auth=trust', '--encoding=UTF8', f'--pgdata={data}']
        subprocess.run([*made, '--username=goectp'], check=True, capture_output=True, cwd=self.folder)

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the command of the server."""
        options = ['-p', str(self.port), '-h', '127.0.0.1', '-k', str(self.folder), '-c', 'max_connections=200']
        return {
            'postgres': [*as_user('postgres'), self._program('postgres'), '-D', str(self.folder / 'data'), *options]
        }

    def answers(self) -> bool:
        """Return whether it accepts connections, as it does not during recovery."""
        command = [self._program('pg_isready'), '-q', '-h', '127.0.0.1', '-p', str(self.port), '-d', 'postgres']
        return subprocess.run(command, check=False).returncode == 0

    def create_database(self, name: str) -> dict[str, str | int]:
        """Create an empty database, and return how AiiDA reaches it."""
        command = ['psql', '-h', '127.0.0.1', '-p', str(self.port), '-U', 'goectp', '-d', 'postgres', '-q', '-c']
        subprocess.run([*command, f'CREATE DATABASE "{name}"'], check=True)
        return {
            'database_engine': 'postgresql_psycopg',
            'database_hostname': '127.0.0.1',
            'database_port': self.port,
            'database_username': 'goectp',
            'database_password': PASSWORD,
            'database_name': name,
        }


class RabbitMq(Service):
    """RabbitMQ without a limit on the time of consumers, as AiiDA needs it."""

    NAME, PACKAGES = 'rabbitmq', ('rabbitmq-server',)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment = {
            'HOME': str(self.folder),  # of the cookie of Erlang
            'ERL_EPMD_PORT': str(self._kept_port('epmd_port')),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODENAME': 'goectp@localhost',
            'RABBITMQ_NODE_PORT': str(self.port),
            'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
            'RABBITMQ_DIST_PORT': str(self._kept_port('distribution_port')),
            'RABBITMQ_MNESIA_BASE': str(self.folder / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(self.folder / 'log'),
            'RABBITMQ_ADVANCED_CONFIG_FILE': str(self.folder / 'advanced.config'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(self.folder / 'enabled_plugins'),
        }

    def prepare(self) -> None:
        """Write the configuration."""
        (self.folder / 'advanced.config').write_text('[{rabbit, [{consumer_timeout, undefined}]}].\n')
        (self.folder / 'enabled_plugins').write_text('[].\n')

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the commands of the server and of the name server of Erlang, which it would leave running."""
        port = self.environment['ERL_EPMD_PORT']
        return {
            'epmd': ['epmd', '-port', port, '-address', '127.0.0.1'],
            'rabbitmq': ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
        }


class MariaDb(Service):
    """MariaDB with a database for the accounting of Slurm."""

    NAME, PACKAGES = 'mariadb', ('mariadb-server',)

    def prepare(self) -> None:
        """Create the system tables, and the script of the first start."""
        data = self.folder / 'data'
        statements = (
            'CREATE DATABASE IF NOT EXISTS slurm',
            f"CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY '{PASSWORD}'",
            'GRANT ALL ON slurm.* TO slurm@localhost',
        )
        (self.folder / 'init.sql').write_text(''.join(f'{statement};\n' for statement in statements))
        if data.exists():
            return
        shutil.chown(self.folder, 'mysql')
        command = ['mariadb-install-db', '--no-defaults', '--user=mysql', f'--datadir={data}', '--skip-test-db']
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the command of the server."""
        options = {
            'datadir': self.folder / 'data',
            'socket': self.folder / 'socket',
            'pid-file': self.folder / 'mariadb.own.pid',
            'port': self.port,
            'bind-address': '127.0.0.1',
            'init-file': self.folder / 'init.sql',
            'innodb-buffer-pool-size': '64M',
            'innodb-lock-wait-timeout': 900,
        }
        words = [f'--{name}={value}' for name, value in options.items()]
        return {'mariadb': [*as_user('mysql'), '/usr/sbin/mariadbd', '--no-defaults', *words]}

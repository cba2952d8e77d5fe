"""All services together: their Debian packages, their start and their end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.services.cluster import Accounting, Munge, Slurm, SshServer
from tests.services.databases import MariaDb, Postgresql, RabbitMq
from tests.services.service import Service

__all__ = ('Stack', 'install_packages')


def install_packages(wanted: Iterable[str]) -> None:
    """Install the Debian packages that are missing.

    :raises SystemExit: the system is not Debian, or the user is not root
    """
    wanted = sorted(set(wanted))
    if not wanted:
        return
    if shutil.which('dpkg-query') is None or os.geteuid() != 0:
        sys.exit(f'{", ".join(wanted)}: installed with apt-get; run this as root on Debian or Ubuntu')
    query = ['dpkg-query', '--show', '--showformat=${Package} ${db:Status-Status}\n', *wanted]
    listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    present = {line.split()[0] for line in listed.splitlines() if line.endswith(' installed')}
    if missing := [name for name in wanted if name not in present]:
        print(f'installing {", ".join(missing)}', flush=True)
        apt = ['apt-get', '-qq', '--yes', '-o', 'DPkg::Lock::Timeout=300']
        environment = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
        subprocess.run([*apt, 'update'], check=True, env=environment)
        subprocess.run([*apt, 'install', '--no-install-recommends', *missing], check=True, env=environment)


class Stack:
    """The services below a folder.

    :param folder: created if missing
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.postgresql, self.rabbitmq = Postgresql(folder), RabbitMq(folder)
        self.slurm, self.ssh = Slurm(folder), SshServer(folder)
        self.services: tuple[Service, ...] = (
            self.postgresql,
            self.rabbitmq,
            MariaDb(folder),
            Munge(folder),
            Accounting(folder),
            self.slurm,
            self.ssh,
        )
        """in the order of their start"""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that uses the services: Slurm, and the configuration of SSH."""
        return {**self.slurm.environment, 'HOME': str(self.ssh.home)}

    def install(self) -> None:
        """Install the Debian packages that are missing; see :func:`install_packages`."""
        install_packages(name for service in self.services for name in service.PACKAGES)

    def start(self) -> None:
        """Start what does not run."""
        for service in self.services:
            service.start()
            print(f'{service.NAME} runs on port {service.port}', flush=True)

    def remove(self) -> None:
        """Stop all services and remove their data."""
        for service in reversed(self.services):
            service.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

"""A cluster of one node: munge, Slurm with its accounting, and an SSH server with a key made for the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.databases import PASSWORD, MariaDb
from tests.services.service import Service, as_user

__all__ = ('HOST', 'Accounting', 'Munge', 'Slurm', 'SshServer', 'run_client')

HOST = 'goectp-test'
"""name of the SSH server in the configuration of the client"""

SLURM_CONF = """
ClusterName=goectp
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller_port}
SlurmdPort={port}
AuthType=auth/munge
AuthInfo=socket={munge}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.own.pid
SlurmdPidFile={folder}/slurmd.own.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageTRES=gres/gpu
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStoragePass={munge}
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=1500 State=UP
"""
CLIENT_OF_ACCOUNTING_CONF = """
ClusterName=goectp
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={munge}
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={munge}
"""
SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={munge}
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
"""
SSHD_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.own.pid
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv SLURM_CONF={slurm}
Subsystem sftp internal-sftp
MaxStartups 100
MaxSessions 100
"""
CLIENT_CONFIG = """
Host {host}
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {home}/.ssh/known_hosts
"""


class Munge(Service):
    """The authentication of Slurm, with a random key."""

    NAME, PACKAGES = 'munge', ('munge',)

    def prepare(self) -> None:
        """Write the key."""
        key = self.folder / 'key'
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            key.chmod(0o400)
            shutil.chown(key, 'munge')
            shutil.chown(self.folder, 'munge')

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the command of the server."""
        files = {'socket': 'socket', 'key-file': 'key', 'pid-file': 'munged.own.pid', 'seed-file': 'seed'}
        words = [f'--{name}={self.folder / file}' for name, file in files.items()]
        return {'munged': [*as_user('munge'), '/usr/sbin/munged', '--foreground', *words]}

    def answers(self) -> bool:
        """Return whether it makes credentials."""
        command = ['munge', '--no-input', f'--socket={self.folder / "socket"}']
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


class Accounting(Service):
    """The accounting of Slurm, in MariaDB; without it no cluster keeps why a job ended."""

    NAME, PACKAGES = 'accounting', ('slurmdbd', 'slurm-client')

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.munge, self.database = Munge(folder), MariaDb(folder)
        self.environment = {'SLURM_CONF': str(self.folder / 'slurm.conf')}

    def prepare(self) -> None:
        """Write the configuration of the server, and that of its clients while no controller runs."""
        values = {
            'folder': self.folder,
            'host': _host(),
            'munge': self.munge.folder / 'socket',
            'port': self.port,
            'database_port': self.database.port,
            'password': PASSWORD,
        }
        server = self.folder / 'slurmdbd.conf'
        server.touch(0o600)
        server.write_text(SLURMDBD_CONF.format(**values))
        (self.folder / 'slurm.conf').write_text(CLIENT_OF_ACCOUNTING_CONF.format(**values))

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the command of the server."""
        return {'slurmdbd': ['/usr/sbin/slurmdbd', '-D']}

    def answers(self) -> bool:
        """Return whether the cluster is registered, which is done if need be."""
        run_client(self.environment, 'sacctmgr', '--immediate', 'add', 'cluster', 'goectp')
        return 'goectp' in run_client(self.environment, 'sacctmgr', '--noheader', 'list', 'cluster')


class Slurm(Service):
    """Slurm on one node with eight slots, 16 GB and one pretended GPU; memory limits are enforced."""

    NAME, PACKAGES = 'slurm', ('slurm-wlm',)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.accounting = Accounting(folder)
        self.environment = {'SLURM_CONF': str(self.folder / 'slurm.conf')}

    def prepare(self) -> None:
        """Write the configuration."""
        values = {
            'host': _host(),
            'folder': self.folder,
            'munge': self.accounting.munge.folder / 'socket',
            'port': self.port,
            'controller_port': self._kept_port('controller_port'),
            'accounting_port': self.accounting.port,
        }
        for name in ('state', 'spool'):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / 'slurm.conf').write_text(SLURM_CONF.format(**values))
        (self.folder / 'gres.conf').write_text('Name=gpu File=/dev/null\n')

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the commands of controller and node."""
        return {'slurmctld': ['/usr/sbin/slurmctld', '-D'], 'slurmd': ['/usr/sbin/slurmd', '-D']}

    def answers(self) -> bool:
        """Return whether the node takes jobs, and its accounting can be asked."""
        found = run_client(self.environment, 'sinfo', '--noheader', '--format=%T').split()
        idle = bool(found) and found[0] in ('idle', 'mixed', 'allocated')
        return idle and 'JobID' in run_client(self.environment, 'sacct', '-X')


def _host() -> str:
    return socket.gethostname().partition('.')[0]


def run_client(variables: Mapping[str, str], *command: str) -> str:
    """Run a command of Slurm and return what it prints, also if it fails."""
    found = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **variables})
    return found.stdout


class SshServer(Service):
    """An SSH server that accepts one key, made for it; ``home`` holds the configuration of the client."""

    NAME, PACKAGES = 'ssh', ('openssh-server', 'openssh-client')

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.home = self.folder / 'home'
        self.slurm_conf = folder / Slurm.NAME / 'slurm.conf'

    def prepare(self) -> None:
        """Make keys and configurations."""
        client = self.home / '.ssh'
        client.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ('host_key', 'key'):
            if not (self.folder / name).exists():
                command = ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', str(self.folder / name)]
                subprocess.run(command, check=True)
        values = {'folder': self.folder, 'port': self.port, 'home': self.home, 'host': HOST}
        values |= {'slurm': self.slurm_conf, 'user': getpass.getuser()}
        (self.folder / 'authorized_keys').write_text((self.folder / 'key.pub').read_text())
        (self.folder / 'sshd_config').write_text(SSHD_CONFIG.format(**values))
        (client / 'config').write_text(CLIENT_CONFIG.format(**values))
        (client / 'known_hosts').write_text(f'[127.0.0.1]:{self.port} {(self.folder / "host_key.pub").read_text()}')
        Path('/run/sshd').mkdir(exist_ok=True)  # where the server separates its rights

    def commands(self) -> Mapping[str, Sequence[str]]:
        """Return the command of the server."""
        return {'sshd': ['/usr/sbin/sshd', '-D', '-e', '-f', str(self.folder / 'sshd_config')]}

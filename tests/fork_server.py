"""Jobs of ``goectp`` by fork: torch, whose import takes longer than most jobs of the tests, is imported once for all.

A client with the command line of ``goectp`` passes its arguments, environment, folder, limits and standard streams to a
server, which forks a process that runs the same ``main``. The exit status returns; signals are passed on, and a client
that is killed ends its job. Tests of the daemon and of the installation start the executable itself.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.executable.main import main

_CLIENT = """\
#!{python} -IS
import json, os, resource, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
job = {{'arguments': sys.argv[1:], 'environment': dict(os.environ), 'folder': os.getcwd(),
        'file_size': resource.getrlimit(resource.RLIMIT_FSIZE)}}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: server.send(bytes([number])))
content = json.dumps(job).encode()
socket.send_fds(server, [len(content).to_bytes(4, 'little')], [0, 1, 2])
server.sendall(content)
status = int.from_bytes(server.recv(4) or b'\\1', 'little')
if status > 128:  # of a job that a signal ended
    if status != 128 + signal.SIGKILL:
        signal.signal(status - 128, signal.SIG_DFL)
    os.kill(os.getpid(), status - 128)
sys.exit(status)
"""


class ForkServer:
    """Server in a process of its own, which ends with this object or with this process.

    :param folder: in which the executable is made
    :param variables: further environment of the server, such as libraries to load first
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        address = str(folder / 'server')
        self.executable = folder / 'goectp'
        self.executable.write_text(_CLIENT.format(python=sys.executable, address=address))
        self.executable.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'tests.fork_server', address],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(variables or {})},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b'ready\n'

    def close(self) -> None:
        """End the server, and remove its folder."""
        self._process.terminate()
        self._process.communicate()
        shutil.rmtree(self.executable.parent, ignore_errors=True)


def serve(address: str) -> None:
    """Fork a process for each connection, until standard input ends; import what they need at the first one."""
    imports = functools.cache(_import_all)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print('ready', flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listener:
                imports()
                _start(listener.accept()[0], selector)
            elif isinstance(key.fileobj, socket.socket):
                numbers = key.fileobj.recv(16) or bytes([signal.SIGKILL])
                for number in numbers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(key.data, number)
                if numbers[0] == signal.SIGKILL:
                    selector.unregister(key.fileobj)
            else:
                client, pid = key.data
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                selector.unregister(key.fileobj)
                os.close(key.fd)
                with contextlib.suppress(KeyError):
                    selector.unregister(client)
                with contextlib.suppress(BrokenPipeError):
                    client.send((status if status >= 0 else 128 - status).to_bytes(4, 'little'))
                client.close()


def _import_all() -> None:
    """Import what jobs need, and load what numba has compiled."""
    import torch
    import torch._dynamo  # imported by optimizers

    from aiida_goectp.core.executable import predict, train  # noqa: F401
    from aiida_goectp.core.learning import train as learning  # noqa: F401
    from aiida_goectp.core.learning.predict import Predictor
    from aiida_goectp.core.network.checkpoint import load_model

    torch.set_num_threads(1)
    po = Crystal('Po', np.eye(3) * 3.35, np.array([84]), np.zeros((1, 3)))
    list(Predictor(load_model('goectp')).run(CrystalSet.from_crystals([po])))


def _start(client: socket.socket, selector: selectors.BaseSelector) -> None:
    """Fork the process of one connection."""
    size, streams, _, _ = socket.recv_fds(client, 4, 3)
    content, piece = b'', size
    while piece and len(content) < int.from_bytes(size, 'little'):
        piece = client.recv(65536)
        content += piece
    if not piece:  # the client was killed before its job was here
        for stream in streams:
            os.close(stream)
        client.close()
        return
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream)
        selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (client, pid))
        selector.register(client, selectors.EVENT_READ, pid)
        return
    try:
        status = _run(json.loads(content), streams)
    except BaseException:  # a forked process must not return
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _run(job: dict, streams: list[int]) -> int:
    """Run the command line of a job, and return its exit status."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(job['environment'])
    os.chdir(job['folder'])
    resource.setrlimit(resource.RLIMIT_FSIZE, tuple(job['file_size']))
    sys.argv = ['goectp', *job['arguments']]
    try:
        main(prog_name='goectp')
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == '__main__':
    serve(sys.argv[1])

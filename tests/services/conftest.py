"""The running services, which ``make test-services`` starts, and one profile on them a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.profile import ServicesDaemon
from tests.services.stack import Stack


@pytest.fixture(scope='session')
def stack() -> Stack:
    """The services in the folder that ``GOECTP_SERVICES`` names."""
    if not (folder := os.environ.get('GOECTP_SERVICES')):
        pytest.skip('needs services; run `make test-services`')
    return Stack(Path(folder))


@pytest.fixture(scope='module')
def services(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServicesDaemon]:
    """The running daemon of a new profile."""
    one = ServicesDaemon(tmp_path_factory.mktemp('services'), stack)
    one.create()
    one.start()
    yield one
    one.end()

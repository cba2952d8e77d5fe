"""Fixtures: a temporary profile, the executable as a code, textbook crystals, small models."""

from __future__ import annotations

import atexit
import base64
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from sqlalchemy import event
from sqlalchemy.engine import Engine

# Tests run in several processes, and so do the jobs that they start: further threads only compete for the cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# before the import of aiida, which makes a folder in the home directory otherwise
if 'AIIDA_PATH' not in os.environ or 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ['AIIDA_PATH'] = tempfile.mkdtemp(prefix='aiida-goectp-tests-')
    atexit.register(shutil.rmtree, os.environ['AIIDA_PATH'], ignore_errors=True)

from aiida_goectp.core.crystals import Crystal, CrystalSet, Failure
from aiida_goectp.core.dielectric.predictions import Predictions
from tests.fast_aiida import speed_up
from tests.fork_server import ForkServer

pytest_plugins = 'aiida.tools.pytest_fixtures'

FORKS = hasattr(os, 'pidfd_open')
# variable with the path of the executable whose jobs one server forks for all processes of tests
EXECUTABLE = 'GOECTP_TEST_EXECUTABLE'

# no deadline, since the machine may be busy; the same examples in every run, since `make fuzz` looks for new ones
settings.register_profile('repeatable', deadline=None, derandomize=True)
settings.load_profile('repeatable')


def pytest_configure(config: pytest.Config) -> None:
    """Start one server of jobs for all processes of tests, if there are several."""
    if getattr(config.option, 'numprocesses', None) and not hasattr(config, 'workerinput') and FORKS:
        server = ForkServer(Path(tempfile.mkdtemp(prefix='aiida-goectp-jobs-')))
        os.environ[EXECUTABLE] = str(server.executable)
        config.add_cleanup(server.close)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first: a process that ends with one leaves the other processes without work."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@event.listens_for(Engine, 'connect')
def _write_without_fsync(connection, _) -> None:
    """Let SQLite not wait for the disk in this process: no test is about a power failure."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute('PRAGMA synchronous = OFF')


@pytest.fixture(scope='session', autouse=True)
def aiida_profile(aiida_config, aiida_profile_factory, tmp_path_factory) -> Iterator:
    """A temporary profile: on SQLite, or on PostgreSQL where ``GOECTP_SERVICES`` names the folder of its server."""
    storage = {}
    if folder := os.environ.get('GOECTP_SERVICES'):
        from tests.services.databases import Postgresql

        name = f'tests-{secrets.token_hex(8)}'
        config = Postgresql(Path(folder)).create_database(name)
        config['repository_uri'] = tmp_path_factory.mktemp('repository').as_uri()
        storage = {'storage_backend': 'core.psql_dos', 'storage_config': config}
    with aiida_profile_factory(aiida_config, **storage) as profile:
        yield profile


@pytest.fixture(scope='module', autouse=True)
def empty_profile(aiida_profile) -> None:
    """Empty the profile before each test file, since the files that share a worker and their order vary."""
    from aiida.manage import get_manager

    speed_up()
    aiida_profile.reset_storage()
    # AiiDA reads the columns that change on each access; without this, also those that do not, after each commit, which
    # takes a quarter of the time of a test
    get_manager().get_profile_storage().get_session().expire_on_commit = False


@pytest.fixture(scope='session')
def shared() -> Path:
    """Folder of the whole data sets and weights beside the repository; the tests that need them are skipped without."""
    path = Path(__file__).parents[1] / '..' / 'shared'
    if not path.is_dir():
        pytest.skip(f'needs the folder {path}')
    return path.resolve()


def _cubic(edge):
    return np.eye(3) * edge


def _fcc(edge):
    return np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * edge / 2


def _wurtzite(a, c, u, cation, anion):
    lattice = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])
    sites = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, u], [2 / 3, 1 / 3, 0.5 + u]]
    return lattice, [cation, cation, anion, anion], sites


def textbook() -> CrystalSet:
    """Return six crystals with measured lattice constants, band gaps and energies above hull."""
    perovskite = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    rutile_x = 0.3053
    rutile = [[0, 0, 0], [0.5, 0.5, 0.5]]
    rutile += [[rutile_x, rutile_x, 0], [-rutile_x, -rutile_x, 0]]
    rutile += [[0.5 + rutile_x, 0.5 - rutile_x, 0.5], [0.5 - rutile_x, 0.5 + rutile_x, 0.5]]
    rows = {
        'Si': (_fcc(5.431), [14, 14], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        'MgO': (_fcc(4.212), [12, 8], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        'GaAs': (_fcc(5.653), [31, 33], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        'SrTiO3': (_cubic(3.905), [38, 22, 8, 8, 8], perovskite),
        'TiO2': (np.diag([4.594, 4.594, 2.959]), [22, 22, 8, 8, 8, 8], rutile),
        'AlN': _wurtzite(3.112, 4.982, 0.382, 13, 7),
    }
    crystals = [
        Crystal(name, np.array(lattice, dtype=float), np.array(numbers, np.int16), np.array(sites, dtype=float))
        for name, (lattice, numbers, sites) in rows.items()
    ]
    properties = {'band_gap': [1.12, 7.8, 1.42, 3.25, 3.0, 6.0], 'e_above_hull': [0.0, 0.0, 0.0, 0.0, 0.02, 0.0]}
    return CrystalSet.from_crystals(crystals, properties, [Failure('broken.cif', 'unreadable_file', 'cut off')])


@pytest.fixture
def crystal_set() -> CrystalSet:
    """Six textbook crystals and one failed row."""
    return textbook()


@pytest.fixture
def crystals(aiida_profile, crystal_set):
    """The textbook crystals as a stored node."""
    from aiida_goectp.data.crystals import CrystalsData

    return CrystalsData(crystal_set).store()


@pytest.fixture
def model(aiida_profile):
    """The first shipped model as a stored node."""
    from aiida_goectp.core.formats.model_card import shipped_models
    from aiida_goectp.data.model import ModelData

    if not shipped_models():
        pytest.skip('no model is shipped with this checkout')
    return ModelData.get_or_create(shipped_models()[0])


@pytest.fixture(scope='session')
def executable(tmp_path_factory) -> Iterator[Path]:
    """The executable of this environment; its jobs are forked, if the system can do that, which saves their imports."""
    path = Path(sys.executable).parent / 'goectp'
    if not path.is_file():
        pytest.skip(f'no executable {path}; install the package')
    if not FORKS:
        yield path
        return
    server = None if EXECUTABLE in os.environ else ForkServer(tmp_path_factory.mktemp('fork'))
    path = Path(os.environ[EXECUTABLE]) if server is None else server.executable
    # the server imports what jobs need when the first one starts, which is not to be a test with a time limit
    subprocess.run([path, '--version'], stdout=subprocess.DEVNULL, check=True)
    yield path
    if server is not None:
        server.close()


@pytest.fixture
def aiida_localhost(aiida_localhost):
    """The computer of aiida-core's fixture, with a shell that takes a hundredth of the time of a login shell."""
    aiida_localhost.set_minimum_job_poll_interval(0.0)
    aiida_localhost.configure(use_login_shell=False)
    return aiida_localhost


@pytest.fixture
def code(aiida_profile, executable, aiida_code_installed, aiida_localhost):
    """The executable of this environment as a code on localhost."""
    from aiida.common.exceptions import NotExistent
    from aiida.orm import load_code

    # by its full label: the factory compares labels only, and makes a second code if another computer has one
    try:
        return load_code(f'goectp@{aiida_localhost.label}')
    except NotExistent:
        return aiida_code_installed(label='goectp', filepath_executable=str(executable))


@pytest.fixture(scope='session')
def write_model(tmp_path_factory):
    """Return a function that writes a model file with one small tensor, for tests that do not evaluate it."""

    def write(name='tiny', value=0.0, trained_on=None, **more):
        card = {'name': name, 'preset': 'goectp', 'architecture': {'width': 1}, 'targets': ['electronic', 'ionic']}
        header = {
            '__metadata__': {
                'format': 'aiida-goectp/model',
                'version': '1',
                'card': json.dumps(card | more),
                **({} if trained_on is None else {'trained_on': base64.b64encode(trained_on.tobytes()).decode()}),
            },
            'weight': {'dtype': 'F64', 'shape': [1], 'data_offsets': [0, 8]},
        }
        text = json.dumps(header).encode()
        path = tmp_path_factory.mktemp('models') / f'{name}.safetensors'
        path.write_bytes(len(text).to_bytes(8, 'little') + text + np.array([value]).tobytes())
        return path

    return write


@pytest.fixture(scope='session')
def predict_by_hand():
    """Return a function that makes predictions without a model: (i + 2) times the identity for row i."""

    def fill(crystals, model_hash='a' * 40, failed=()):
        n = len(crystals)
        tensors = np.arange(2, n + 2)[:, None, None] * np.eye(3)
        errors = np.array(['' for _ in range(n)], dtype='<U40')
        for row in failed:
            tensors[row], errors[row] = np.nan, 'made to fail'
        unknown = np.full((n, 3, 3), np.nan)
        columns = (tensors, tensors / 2, 1.5 * tensors, unknown, unknown, unknown, np.zeros(n, np.uint32), errors)
        return Predictions(crystals.ids, crystals.hashes, *columns, model_hash)

    return fill

"""One thread, and a model of random weights."""

import pytest

from tests import tiny


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    tiny.one_thread()


@pytest.fixture(scope='session')
def model(tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp('models') / 'tiny.safetensors')

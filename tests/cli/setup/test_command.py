"""``aiida-goectp setup`` and ``model``."""

import sys
from pathlib import Path

import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.formats.model_card import shipped_models
from aiida_goectp.data.model import ModelData

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def invoke(*arguments):
    return CliRunner().invoke(main, [str(item) for item in arguments])


def test_setup_twice_is_setup_once():
    first = invoke('setup')
    assert first.exit_code == 0, first.output
    code = orm.load_code('goectp@localhost')
    assert Path(code.filepath_executable) == Path(sys.executable).parent / 'goectp'
    assert code.default_calc_job_plugin == 'goectp.predict'
    assert code.computer.is_configured
    count = orm.QueryBuilder().append(orm.Node).count()
    second = invoke('setup')
    assert second.exit_code == 0
    assert orm.QueryBuilder().append(orm.Node).count() == count
    assert orm.QueryBuilder().append(orm.Computer).count() == 1
    assert orm.QueryBuilder().append(ModelData).count() == len(shipped_models())


def test_another_executable_takes_the_label(tmp_path):
    other = tmp_path / 'goectp'
    other.write_text('#!/bin/sh\n')
    invoke('setup', '--executable', other)
    old = orm.load_code('goectp@localhost')
    result = invoke('setup')
    assert f'goectp-{old.pk}@localhost' in result.output
    assert orm.load_code('goectp@localhost').pk != old.pk
    assert orm.load_code(f'goectp-{old.pk}@localhost').is_hidden


def test_the_computer_of_the_user_is_left_alone():
    computer = orm.Computer('localhost', 'localhost', 'mine', 'core.local', 'core.direct', '/somewhere').store()
    assert invoke('setup').exit_code == 0
    assert orm.load_code('goectp@localhost').computer.pk == computer.pk
    assert orm.load_computer('localhost').get_workdir() == '/somewhere'


def test_models_are_stored_once_and_listed(write_model, tmp_path):
    path = write_model('tiny')
    assert invoke('model', 'import', path).exit_code == 0
    assert invoke('model', 'import', path).exit_code == 0
    assert orm.QueryBuilder().append(ModelData).count() == 1
    output = invoke('model', 'list').output
    assert 'tiny' in output
    for name in shipped_models():
        assert name in output
    broken = tmp_path / 'model.pt'
    broken.write_bytes(b'\x80\x04\x95' + b'x' * 100)
    result = invoke('model', 'import', broken)
    assert result.exit_code == 2
    assert 'not like a model of this package' in result.output.replace('\n', ' ')

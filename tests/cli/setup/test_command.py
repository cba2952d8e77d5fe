"""``aiida-goectp setup``: computer, code and shipped models."""

import sys
from pathlib import Path

import pytest
from aiida import orm

from aiida_goectp.core.formats.model_card import shipped_models
from aiida_goectp.data.model import ModelData
from tests.cli.runner import invoke

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def test_second_setup_changes_nothing():
    invoke('setup')
    code = orm.load_code('goectp@localhost')
    assert Path(code.filepath_executable) == Path(sys.executable).parent / 'goectp'
    assert code.default_calc_job_plugin == 'goectp.predict'
    assert code.computer.is_configured
    count = orm.QueryBuilder().append(orm.Node).count()
    invoke('setup')
    assert orm.QueryBuilder().append(orm.Node).count() == count
    assert orm.QueryBuilder().append(orm.Computer).count() == 1
    assert orm.QueryBuilder().append(ModelData).count() == len(shipped_models())


def test_code_of_another_executable_is_relabelled_and_hidden(tmp_path):
    other = tmp_path / 'goectp'
    other.write_text('#!/bin/sh\n')
    invoke('setup', '--executable', other)
    old = orm.load_code('goectp@localhost')
    assert f'goectp-{old.pk}@localhost' in invoke('setup')
    assert orm.load_code('goectp@localhost').pk != old.pk
    assert orm.load_code(f'goectp-{old.pk}@localhost').is_hidden


def test_existing_computer_is_kept():
    computer = orm.Computer('localhost', 'localhost', 'mine', 'core.local', 'core.direct', '/somewhere').store()
    invoke('setup')
    assert orm.load_code('goectp@localhost').computer.pk == computer.pk
    assert orm.load_computer('localhost').get_workdir() == '/somewhere'

"""Checks of codes and computers before a launch."""

import pytest
from aiida import orm

from aiida_goectp.cli.doctor.codes import code_errors, codes_in


def computer_of(label):
    return orm.Computer(label, 'localhost', '', 'core.local', 'core.direct', '/tmp').store()


def code_on(computer, executable, label='goectp'):
    return orm.InstalledCode(label=label, computer=computer, filepath_executable=str(executable)).store()


def test_codes_that_can_run(aiida_localhost):
    codes = [code_on(aiida_localhost, '/bin/sh', 'absolute'), code_on(aiida_localhost, 'sh', 'by_name')]
    assert code_errors(codes) == []
    assert list(codes_in({'code': codes[0], 'nested': {'pw': codes[1], 'other': orm.Int(1)}})) == codes


def test_computers_that_cannot_be_used(aiida_profile):
    bare = computer_of('bare')
    disabled = computer_of('disabled').configure()
    disabled.enabled = False
    remote = orm.Computer('remote', 'no-such-host.invalid', '', 'core.ssh', 'core.slurm', '/tmp').store()
    remote.configure(key_policy='RejectPolicy', timeout=1)
    codes = [code_on(remote if name == 'remote' else orm.load_computer(name), '/bin/sh') for name in ('bare', 'remote')]
    codes += [code_on(orm.load_computer('disabled'), '/bin/sh')]
    unconfigured, unreachable, off = code_errors(codes)
    assert f'verdi computer configure core.local {bare.label}' in unconfigured
    assert 'verdi computer test remote' in unreachable
    assert 'verdi computer enable disabled' in off


@pytest.mark.parametrize('name', ['/no/such/program', 'no-such-program'])
def test_missing_program(aiida_localhost, name):
    (error,) = code_errors([code_on(aiida_localhost, name, 'missing')])
    assert name in error


def test_file_that_is_not_executable(aiida_localhost, tmp_path):
    path = tmp_path / 'program'
    path.write_text('#!/bin/sh\n')
    (error,) = code_errors([code_on(aiida_localhost, path, 'plain')])
    assert 'chmod' in error

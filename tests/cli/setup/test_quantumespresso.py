"""``aiida-goectp setup dfpt``: programs, codes, pseudopotentials."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import zipfile

import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.setup.programs import InstallError, find_programs, install_with_qepy
from aiida_goectp.cli.setup.pseudo_families import FamilyError, install_family, installed_family, read_cutoffs
from tests.workflows.dfpt.quantumespresso.quantum_espresso import ARCHIVE

pytest.importorskip('aiida_quantumespresso', reason='needs the extra `quantumespresso`')
pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def invoke(*arguments):
    return CliRunner().invoke(main, ['setup', 'dfpt', *(str(item) for item in arguments)])


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins for pw.x, ph.x and ld1.x, the only ones in PATH."""
    folder = tmp_path / 'programs'
    folder.mkdir()
    for name in ('pw.x', 'ph.x', 'ld1.x'):
        (folder / name).write_text('#!/bin/sh\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv('PATH', str(folder))
    return folder


@pytest.fixture
def upf(shared, tmp_path):
    """A folder with the pseudopotentials of two elements."""
    folder = tmp_path / 'upf'
    folder.mkdir()
    with tarfile.open(shared / 'pseudos' / ARCHIVE) as archive:
        for name in ('Li.upf', 'F.upf'):
            (folder / name).write_bytes(archive.extractfile(name).read())
    return folder


def test_everything_there_is_used_and_a_second_call_changes_nothing(programs, upf, shared):
    arguments = ('--pseudos', upf, '--cutoffs', shared / 'pseudos' / 'cutoffs.json', '--label', 'mine')
    first = invoke(*arguments)
    assert first.exit_code == 0, first.output
    for name in ('pw', 'ph'):
        code = orm.load_code(f'{name}@localhost')
        assert str(code.filepath_executable) == str(programs / f'{name}.x')
        assert code.default_calc_job_plugin == f'quantumespresso.{name}'
        assert 'OMP_NUM_THREADS=1' in code.prepend_text
    family = installed_family('mine')
    assert family.get_recommended_cutoffs(elements=('Li', 'F'), unit='Ry') == (84.0, 336.0)
    assert 'F Li' in first.output
    count = orm.QueryBuilder().append(orm.Node).count()
    assert invoke(*arguments).exit_code == 0
    assert orm.QueryBuilder().append(orm.Node).count() == count


def test_another_program_takes_the_label(programs, upf, tmp_path):
    assert invoke('--pseudos', upf).exit_code == 0
    other = tmp_path / 'pw.x'
    other.write_text('#!/bin/sh\n')
    result = invoke('--pseudos', upf, '--pw', other)
    assert 'hidden' in result.output
    assert str(orm.load_code('pw@localhost').filepath_executable) == str(other)


def test_without_cutoffs_it_warns(programs, upf):
    result = invoke('--pseudos', upf)
    assert result.exit_code == 0
    assert 'ecutwfc' in result.output
    assert installed_family('upf').get_cutoff_stringencies() == ()


def test_missing_programs_are_named_if_nothing_may_be_installed(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    result = invoke('--install', 'no')
    assert result.exit_code != 0
    assert 'pw.x, ph.x not in PATH' in result.output


def test_apt_is_not_tried_where_it_cannot_work(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    result = invoke('--install', 'apt')
    assert result.exit_code != 0
    assert '--install qepy' in result.output


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--download', '--generate'), 'give one of'),
        (('--cutoffs', __file__), 'belongs to --pseudos'),
        (('--pseudos', __file__), 'cannot be unpacked'),
    ],
)
def test_bad_options_are_refused(programs, arguments, message):
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert message in ' '.join(result.output.split())


@pytest.mark.parametrize('kind', ['tar.gz', 'zip'])
def test_archives_with_a_folder_inside(upf, tmp_path, kind):
    path = tmp_path / f'table.{kind}'
    if kind == 'zip':
        with zipfile.ZipFile(path, 'w') as archive:
            for file in upf.iterdir():
                archive.write(file, f'table/{file.name}')
    else:
        with tarfile.open(path, 'w:gz') as archive:
            archive.add(upf, 'table')
    assert sorted(install_family(path, 'packed').elements) == ['F', 'Li']


def test_hostile_archive_writes_nothing_outside(tmp_path, upf):
    path = tmp_path / 'evil.tar'
    with tarfile.open(path, 'w') as archive:
        archive.add(upf / 'Li.upf', '../../outside.upf')
    with pytest.raises(FamilyError, match='cannot be unpacked'):
        install_family(path, 'evil')
    assert not list(tmp_path.parent.glob('outside.upf'))
    assert installed_family('evil') is None


def test_family_without_a_cutoff_for_an_element_is_not_left_behind(upf):
    with pytest.raises(FamilyError, match="'normal' lack F"):
        install_family(upf, 'half', {'normal': {'Li': {'cutoff_wfc': 74, 'cutoff_rho': 296}}})
    assert installed_family('half') is None


def test_label_that_is_taken(upf):
    install_family(upf, 'mine')
    with pytest.raises(FamilyError, match='another --label'):
        install_family(upf, 'mine')


def test_empty_folder(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FamilyError, match='no UPF file'):
        install_family(tmp_path / 'empty', 'empty')


@pytest.mark.parametrize('content', ['{', '[]', '{"normal": {"Si": 36}}', '{"normal": {"Si": {"cutoff_wfc": 36}}}'])
def test_bad_cutoffs(tmp_path, content):
    path = tmp_path / 'cutoffs.json'
    path.write_text(content)
    with pytest.raises(FamilyError, match='expected JSON such as'):
        read_cutoffs(path)
    path.write_text(json.dumps({'normal': {'Si': {'cutoff_wfc': 36, 'cutoff_rho': 144}}}))
    assert read_cutoffs(path)['normal']['Si']['cutoff_wfc'] == 36


@pytest.mark.slow
def test_qepy_route_gives_programs_that_run(tmp_path, monkeypatch):
    try:
        install_with_qepy(tmp_path)
    except InstallError as error:
        pytest.skip(f'qepy cannot be installed here: {error}')
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    found = find_programs(tmp_path)
    assert set(found) == {'pw.x', 'ph.x', 'ld1.x'}
    for name, title in (('pw.x', 'PWSCF'), ('ph.x', 'PHONON'), ('ld1.x', 'LD1')):
        done = subprocess.run(
            [found[name], '-in', 'nothing'], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert f'Program {title} v.7' in done.stdout


@pytest.mark.slow
def test_pseudopotentials_generated_on_the_spot():
    if shutil.which('ld1.x') is None:
        pytest.skip('ld1.x is not in PATH')
    result = invoke('--generate')
    assert result.exit_code == 0, result.output
    family = installed_family('goectp-ld1')
    assert {'H', 'B', 'C', 'N', 'O', 'F', 'Na', 'Mg', 'Al', 'Si', 'Cl', 'Li'} <= set(family.elements)
    assert family.get_recommended_cutoffs(elements=('Mg', 'O'), unit='Ry')[0] > 50
    assert 'goectp-ld1' in result.output

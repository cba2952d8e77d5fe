"""``aiida-goectp setup dfpt``: programs, codes and pseudopotentials of Quantum ESPRESSO."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import zipfile

import pytest
from aiida import orm

from aiida_goectp.cli.setup.programs import InstallError, find_programs, install_with_qepy
from aiida_goectp.cli.setup.pseudo_families import FamilyError, install_family, installed_family, read_cutoffs
from tests.cli import runner
from tests.cli.runner import flat

pytest.importorskip('aiida_quantumespresso', reason='needs the extra `quantumespresso`')
pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def invoke(*arguments, status=0):
    return runner.invoke('setup', 'dfpt', *arguments, status=status)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder with fake pw.x, ph.x and ld1.x, the only one in PATH."""
    folder = tmp_path / 'programs'
    folder.mkdir()
    for name in ('pw.x', 'ph.x', 'ld1.x'):
        (folder / name).write_text('#!/bin/sh\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv('PATH', str(folder))
    return folder


@pytest.fixture
def upf(tmp_path):
    """A folder with files that have the header of a pseudopotential, of two elements."""
    folder = tmp_path / 'upf'
    folder.mkdir()
    for element, charge in (('Li', 3), ('F', 7)):
        header = f'<PP_HEADER element="{element}" z_valence="{charge}.0" pseudo_type="NC"/>'
        (folder / f'{element}.upf').write_text(f'<UPF version="2.0.1">\n{header}\n</UPF>\n')
    return folder


def test_second_setup_changes_nothing(programs, upf, tmp_path):
    cutoffs = tmp_path / 'cutoffs.json'
    elements = {'Li': {'cutoff_wfc': 74, 'cutoff_rho': 296}, 'F': {'cutoff_wfc': 84, 'cutoff_rho': 336}}
    cutoffs.write_text(json.dumps({'normal': elements, 'high': elements}))
    arguments = ('--pseudos', upf, '--cutoffs', cutoffs, '--label', 'mine')
    output = invoke(*arguments)
    for name in ('pw', 'ph'):
        code = orm.load_code(f'{name}@localhost')
        assert str(code.filepath_executable) == str(programs / f'{name}.x')
        assert code.default_calc_job_plugin == f'quantumespresso.{name}'
        assert 'OMP_NUM_THREADS=1' in code.prepend_text
    family = installed_family('mine')
    assert family.get_recommended_cutoffs(elements=('Li', 'F'), unit='Ry') == (84.0, 336.0)
    assert 'F Li' in output
    count = orm.QueryBuilder().append(orm.Node).count()
    invoke(*arguments)
    assert orm.QueryBuilder().append(orm.Node).count() == count


def test_code_of_another_program_is_relabelled_and_hidden(programs, upf, tmp_path):
    invoke('--pseudos', upf)
    old = orm.load_code('pw@localhost')
    other = tmp_path / 'pw.x'
    other.write_text('#!/bin/sh\n')
    assert f'pw-{old.pk}@localhost' in invoke('--pseudos', upf, '--pw', other)
    assert orm.load_code(f'pw-{old.pk}@localhost').is_hidden
    assert str(orm.load_code('pw@localhost').filepath_executable) == str(other)


def test_family_without_cutoffs_gives_a_warning(programs, upf):
    assert 'ecutwfc' in invoke('--pseudos', upf)
    assert installed_family('upf').get_cutoff_stringencies() == ()


def test_missing_programs_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert 'pw.x, ph.x' in invoke('--install', 'no', status=1)


def test_missing_apt_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert '--install qepy' in flat(invoke('--install', 'apt', status=1))


@pytest.mark.parametrize(
    ('arguments', 'names'),
    [
        (('--download', '--generate'), ['--download', '--generate']),
        (('--cutoffs', __file__), ['--cutoffs', '--pseudos']),
        (('--pseudos', __file__), [__file__]),
    ],
)
def test_invalid_options_are_named(programs, arguments, names):
    output = invoke(*arguments, status=1).replace('\n', '')
    for name in names:
        assert name in output


@pytest.mark.parametrize('kind', ['tar.gz', 'zip'])
def test_archive_with_a_subfolder(upf, tmp_path, kind):
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
    with pytest.raises(FamilyError, match='evil'):
        install_family(path, 'evil')
    assert not list(tmp_path.parent.glob('outside.upf'))
    assert installed_family('evil') is None


def test_family_is_deleted_if_a_cutoff_is_missing(upf):
    with pytest.raises(FamilyError, match=r"'normal'.* F$"):
        install_family(upf, 'half', {'normal': {'Li': {'cutoff_wfc': 74, 'cutoff_rho': 296}}})
    assert installed_family('half') is None


def test_existing_label_is_refused(upf):
    install_family(upf, 'mine')
    with pytest.raises(FamilyError, match=r"'mine'.*--label"):
        install_family(upf, 'mine')


def test_empty_folder(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FamilyError, match='empty'):
        install_family(tmp_path / 'empty', 'empty')


@pytest.mark.parametrize('content', ['{', '[]', '{"normal": {"Si": 36}}', '{"normal": {"Si": {"cutoff_wfc": 36}}}'])
def test_invalid_cutoffs(tmp_path, content):
    path = tmp_path / 'cutoffs.json'
    path.write_text(content)
    with pytest.raises(FamilyError, match=r'cutoffs\.json'):
        read_cutoffs(path)
    path.write_text(json.dumps({'normal': {'Si': {'cutoff_wfc': 36, 'cutoff_rho': 144}}}))
    assert read_cutoffs(path)['normal']['Si']['cutoff_wfc'] == 36


@pytest.mark.slow
def test_programs_of_qepy_run(tmp_path, monkeypatch):
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
def test_generated_pseudopotentials():
    if shutil.which('ld1.x') is None:
        pytest.skip('ld1.x is not in PATH')
    output = invoke('--generate')
    family = installed_family('goectp-ld1')
    assert {'H', 'B', 'C', 'N', 'O', 'F', 'Na', 'Mg', 'Al', 'Si', 'Cl', 'Li'} <= set(family.elements)
    assert family.get_recommended_cutoffs(elements=('Mg', 'O'), unit='Ry')[0] > 50
    assert 'goectp-ld1' in output

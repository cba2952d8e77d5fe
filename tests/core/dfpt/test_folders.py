"""Recognition of finished calculations in folders."""

from __future__ import annotations

import shutil

import pytest

from aiida_goectp.core.dfpt.folders import find_calculations
from aiida_goectp.core.formats.errors import FormatError
from tests.rows import DATA

FINISHED = DATA / 'finished'


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('x')


def _found(*folders, recursive=True):
    return {
        item.name: (str(item.program), {part: [file.name for file in files] for part, files in item.files.items()})
        for item in find_calculations(folders, recursive=recursive)
    }


def test_real_folders():
    assert _found(FINISHED) == {
        name: (
            'quantumespresso',
            {
                'aiida.out': ['ph.out.gz'],
                'DYN_MAT/dynamical-matrix-1': ['mgo.dyn'],
                'tensors.xml': ['tmp/_ph0/mgo.phsave/tensors.xml'],
                'data-file-schema.xml': ['tmp/mgo.save/data-file-schema.xml.gz'],
            },
        )
        for name in ('ibrav0', 'ibrav2')
    } | {'sno2': ('vasp', {'vasprun.xml': ['vasprun.xml.gz']})}


def test_names_of_vasp_and_phonopy(tmp_path):
    _touch(tmp_path, 'a/OUTCAR', 'a/INCAR', 'a/vasprun.xml', 'a/vasprun.xml.gz', 'b/vasprun.relax.xml.gz', 'c/POSCAR')
    _touch(tmp_path, 'd/e/BORN', 'd/e/FORCE_SETS.gz', 'd/e/POSCAR', '.hidden/OUTCAR', 'f/phonopy_disp.yaml')
    (tmp_path / 'link').symlink_to(tmp_path / 'a')
    assert _found(tmp_path) == {
        'a': ('vasp', {'vasprun.xml': ['vasprun.xml'], 'OUTCAR': ['OUTCAR'], 'INCAR': ['INCAR']}),
        'b': ('vasp', {'vasprun.xml': ['vasprun.relax.xml.gz']}),
        'd/e': ('phonopy', {'POSCAR': ['POSCAR'], 'FORCE_SETS': ['FORCE_SETS.gz'], 'BORN': ['BORN']}),
    }


def test_name_of_the_folder_itself_and_no_subfolders(tmp_path):
    _touch(tmp_path, 'run/OUTCAR', 'run/inner/OUTCAR')
    assert set(_found(tmp_path / 'run', recursive=False)) == {'run'}
    assert set(_found(tmp_path / 'run')) == {'run', 'inner'}
    with pytest.raises(FormatError, match='--recursive'):
        find_calculations([tmp_path], recursive=False)
    with pytest.raises(FormatError, match='no such folder'):
        find_calculations([tmp_path / 'none'])


def test_ground_state_in_a_neighbouring_folder(tmp_path):
    shutil.copytree(FINISHED / 'ibrav0', tmp_path / 'ph')
    shutil.move(tmp_path / 'ph/tmp/mgo.save', tmp_path / 'scf')
    found = _found(tmp_path)
    assert set(found) == {'ph'}
    assert found['ph'][1]['data-file-schema.xml'] == ['../scf/data-file-schema.xml.gz']


def test_matrices_at_other_points_are_none_of_the_calculation(tmp_path):
    shutil.copytree(FINISHED / 'ibrav0', tmp_path / 'run')
    matrix = (tmp_path / 'run/mgo.dyn').read_text()
    (tmp_path / 'run/mgo.dyn2').write_text(matrix.replace('0.000000000   0.000000000   0.000000000', '0.5 0.0 0.0'))
    assert _found(tmp_path)['run'][1]['DYN_MAT/dynamical-matrix-1'] == ['mgo.dyn']


def test_matrix_in_xml_format(tmp_path):
    shutil.copytree(DATA / 'fixed_occupations', tmp_path / 'run')
    matrix = (tmp_path / 'run/mgo.dyn.xml').read_text()
    old = '<Q_POINT>\n   0.000000000000000E+00'
    assert old in matrix
    for number, point in (('2', '5.000000000000000E-01'), ('3', '1.000000000000000E-03')):
        name = f'run/mgo.dyn{number}.xml'
        (tmp_path / name).write_text(matrix.replace(old, f'<Q_POINT>\n   {point}'))
    assert _found(tmp_path)['run'][1]['DYN_MAT/dynamical-matrix-1'] == ['mgo.dyn.xml']


def test_files_of_ph_without_its_output_are_a_calculation(tmp_path):
    shutil.copy(FINISHED / 'ibrav0/mgo.dyn', tmp_path)
    assert [item.files.keys() for item in find_calculations([tmp_path])] == [{'DYN_MAT/dynamical-matrix-1'}]

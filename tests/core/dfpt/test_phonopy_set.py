"""Responses of phonopy sets, against phonopy."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.dfpt.errors import CollectError
from aiida_goectp.core.dfpt.phonopy_set import load_phonopy, response_from_phonopy
from aiida_goectp.core.dielectric.gamma_modes import DIPOLE_STRENGTH
from aiida_goectp.core.dielectric.gates import judge
from tests.core.dfpt.phonopy_sets import phonopy_set

pytest.importorskip('phonopy')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return phonopy_set(tmp_path_factory.mktemp('set'))


@pytest.mark.parametrize(
    'names',
    [
        ('phonopy_disp.yaml', 'FORCE_SETS', 'BORN'),
        ('phonopy_disp.yaml', 'FORCE_CONSTANTS', 'BORN'),
        pytest.param(('phonopy_params.yaml',), marks=pytest.mark.slow),
        pytest.param(('POSCAR', 'SPOSCAR', 'FORCE_SETS', 'BORN'), marks=pytest.mark.slow),
    ],
)
def test_every_form_of_a_set(files, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = response_from_phonopy('MgO', {name: files[name] for name in names})
    assert len(found.crystal.atomic_numbers) == 2
    assert abs(np.linalg.det(found.crystal.lattice)) == pytest.approx(4.2**3 / 4)
    stiffness = np.linalg.eigvalsh(found.force_constants)[3:]
    expected = DIPOLE_STRENGTH / (4.2**3 / 4) * 1.9**2 * 2 / stiffness[0]
    assert np.allclose(found.ionic, expected * np.eye(3), rtol=1e-5)
    assert np.allclose(found.electronic, 3.1 * np.eye(3))
    assert np.allclose(found.born_charges[:, 0, 0], [1.9, -1.9])
    assert np.allclose(found.frequencies, [0, 0, 0, 22.30896, 22.30896, 22.30896], atol=1e-4)
    assert (found.engine, found.functional, found.band_gap) == ('phonopy', 'unknown', None)
    assert judge(found, {'scf_converged': None, 'insulating': None}).label == 'accepted'


@pytest.mark.parametrize(
    ('names', 'code'),
    [
        (('phonopy_disp.yaml', 'BORN'), 'missing_file'),
        (('phonopy_disp.yaml', 'FORCE_SETS'), 'missing_file'),
        (('POSCAR', 'FORCE_SETS', 'BORN'), 'missing_file'),
        (('FORCE_SETS', 'BORN'), 'missing_file'),
    ],
)
def test_missing_files_are_named(files, names, code, tmp_path, monkeypatch):
    """Also if files of these names are in the current folder, where phonopy looks for them."""
    for name in ('FORCE_SETS', 'BORN'):
        (tmp_path / name).write_bytes(files[name])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CollectError) as caught:
        response_from_phonopy('MgO', {name: files[name] for name in names})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ('name', 'old', 'new', 'code'),
    [
        ('FORCE_SETS', b'64 ', b'32 ', 'other_cell'),
        ('FORCE_SETS', b'0.01', b'****', 'unreadable_file'),
        ('BORN', b'default', b'2.0', 'unsupported'),
        ('BORN', b'1.9', b'x', 'unreadable_file'),
        ('phonopy_disp.yaml', b'phonopy:', b'!!python/object/apply:os.getcwd []\nphonopy:', 'unreadable_file'),
        ('phonopy_disp.yaml', b'phonopy:', b'a: &a [1]\nb: [*a, *a]\nphonopy:', 'unreadable_file'),
        ('phonopy_disp.yaml', b'phonopy:', b'calculator: qe\nphonopy:', 'unsupported'),
        ('phonopy_disp.yaml', b'unit_cell:', b'unit_call:', 'other_cell'),
    ],
)
def test_damaged_files_are_refused(files, name, old, new, code):
    assert old in files[name]
    given = {key: files[key] for key in ('phonopy_disp.yaml', 'FORCE_SETS', 'BORN')}
    given[name] = given[name].replace(old, new, 1)
    with pytest.raises(CollectError) as caught:
        response_from_phonopy('MgO', given)
    assert caught.value.code == code


def test_charges_alone_need_no_forces(files):
    loaded = load_phonopy({name: files[name] for name in ('phonopy_disp.yaml', 'BORN')}, forces=False)
    assert loaded.force_constants is None
    assert np.allclose(loaded.nac_params['dielectric'], 3.1 * np.eye(3))

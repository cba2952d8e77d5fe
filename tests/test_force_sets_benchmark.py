"""``benchmarks/force_sets.py`` on archives that phonopy wrote, against phonopy."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.dielectric.gamma_modes import DIPOLE_STRENGTH
from tests.core.dfpt.phonopy_sets import magnesia

pytest.importorskip('phonopy')
FOLDER = Path(__file__).parents[1] / 'benchmarks'


@pytest.fixture
def clone(tmp_path):
    from phonopy.file_IO import write_FORCE_SETS
    from phonopy.interface.vasp import write_vasp

    phonon = magnesia()
    folder = tmp_path / 'mp-1'
    folder.mkdir()
    write_FORCE_SETS(phonon.dataset, filename=folder / 'FORCE_SETS')
    phonon.save(folder / 'phonon.yaml', settings={'force_sets': False, 'born_effective_charge': True})
    write_vasp(folder / 'POSCAR-unitcell', phonon.unitcell)
    archives = tmp_path / 'clone' / 'phonon_db_tarred'
    archives.mkdir(parents=True)
    with tarfile.open(archives / 'materials-id-1-mgo-fm-3m-225.tar.lzma', 'w:xz') as archive:
        archive.add(folder, arcname='mp-1-20180417')
    (folder / 'FORCE_SETS').unlink()
    with tarfile.open(archives / 'materials-id-2-mgo-fm-3m-225.tar.lzma', 'w:xz') as archive:
        archive.add(folder, arcname='mp-2-20180417')
    return tmp_path / 'clone', phonon


@pytest.mark.slow
def test_force_constants_and_labels_are_those_of_phonopy(clone, tmp_path):
    folder, phonon = clone
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, FOLDER / 'force_sets.py', folder, tmp_path / 'out.npz']
    for more in ([], ['--compare', tmp_path / 'out.npz']):
        result = subprocess.run(
            [*map(str, [*command, *more])], env=environment, capture_output=True, text=True, check=True
        )
    assert 'mp-2: KeyError' in result.stdout
    found = dict(np.load(tmp_path / 'out.npz'))
    assert found['n'].tolist() == [2]
    dynamical = phonon.get_dynamical_matrix_at_q([0, 0, 0])
    masses = np.repeat(phonon.primitive.masses, 3)
    expected = np.linalg.eigvalsh(dynamical.real * np.sqrt(np.outer(masses, masses)))[3:]
    np.testing.assert_allclose(found['opt_eig'], expected, rtol=1e-4)
    volume = 4.2**3 / 4
    np.testing.assert_allclose(
        found['eps_ionic'][0], DIPOLE_STRENGTH / volume * 1.9**2 * 2 / expected[0] * np.eye(3), rtol=1e-3, atol=1e-8
    )
    np.testing.assert_allclose(found['eps_electronic'][0], np.eye(3) * 3.1)
    assert found['ionic_ok'].tolist() == [True]

"""The replay of VASP: search for crystals, frames, files, failures."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from aiida_goectp.core.dielectric.outcar import read_outcar, refusal
from tests.replay_vasp.inputs import read_inputs
from tests.replay_vasp.library import find, rows
from tests.replay_vasp.matching import find_match, primitive_cell
from tests.workflows.dfpt.vasp.nodes import crystal, replay

INCAR = {'encut': 600, 'nelm': 200, 'gga': 'ps', 'lepsilon': True, 'ibrion': 8, 'nsw': 1}


def _find(row, rotation, transform=None, order=None, shift=(0, 0, 0), functional='PBEsol'):
    atoms = crystal(row)
    lattice = atoms.cell.array @ rotation.T
    positions = (atoms.get_scaled_positions() + np.asarray(shift)) @ lattice
    cell = lattice if transform is None else np.asarray(transform) @ lattice
    order = np.arange(len(atoms)) if order is None else order
    return find(cell, atoms.numbers[order], (positions @ np.linalg.inv(cell))[order], functional), order


def _sample(functional, number, seed):
    table = list(rows(functional))
    return [table[row] for row in np.random.default_rng(seed).choice(len(table), number, replace=False)]


@pytest.mark.parametrize('functional', ['PBEsol', 'PBE'])
def test_any_cell_orientation_order_and_origin(functional):
    rng = np.random.default_rng(7)
    for row in _sample(functional, 12, seed=3):
        rotation = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        order = rng.permutation(len(row['species']))
        answer, order = _find(row, rotation, [[1, 1, 0], [0, 1, 0], [0, -1, 1]], order, rng.random(3), functional)
        electronic = np.array(row['eps_electronic'])
        scale = np.abs(electronic).max()
        assert answer.id == row['id'], row['formula']
        assert np.allclose(answer.electronic, rotation @ electronic @ rotation.T, atol=0.02 * scale), row['formula']
        if 'born' in row:
            expected = (rotation @ np.array(row['born']) @ rotation.T)[order]
            assert np.allclose(answer.born_charges, expected, atol=0.1), row['formula']


def test_a_crystal_in_its_own_frame_has_exactly_its_own_tensor():
    """Orientations that its point group relates to its own match equally well."""
    for row in _sample('PBEsol', 12, seed=5):
        answer, _ = _find(row, np.eye(3))
        assert answer.id == row['id'], row['formula']
        np.testing.assert_array_equal(answer.electronic, row['eps_electronic'], row['formula'])
        assert answer.frequency == row['freq_min_opt_THz']
        assert answer.gap >= 0


def test_primitive_cell_of_a_conventional_one(replayed):
    row = replayed('mp-1265')
    cell = primitive_cell(np.array(row['lattice']), crystal(row).numbers, np.array(row['frac_coords']))
    assert len(cell.numbers) == 2
    answer = find(cell.lattice, cell.numbers, cell.positions, 'PBEsol')
    charges = {int(number): charge[0, 0] for number, charge in zip(cell.numbers, answer.born_charges, strict=True)}
    assert charges[12] > 1.5
    assert charges[8] < -1.5


def test_polymorphs_are_distinguished(replayed):
    for name in ('mp-2133', 'mp-1986'):  # ZnO, wurtzite and zincblende
        assert _find(replayed(name), np.eye(3))[0].id == name


def test_no_match_for_an_unknown_crystal_or_functional():
    lattice = np.eye(3) * 4.0
    assert find(lattice, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), 'PBEsol') is None  # CsCl type
    assert find(lattice, np.array([10]), np.zeros((1, 3)), 'PBEsol') is None
    assert find(lattice, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), 'AM05') is None
    one = primitive_cell(lattice, np.array([10]), np.zeros((1, 3)))
    assert find_match(one, primitive_cell(2 * lattice, np.array([10]), np.zeros((1, 3)))) is None


@pytest.mark.parametrize('direct', [True, False])
def test_poscar(tmp_path, direct):
    cell = [[0.1, 2.1, 2.0], [2.2, 0, 2.1], [2.1, 2.3, 0]]
    atoms = Atoms('MgMgOO', cell=cell, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.25], [0, 0.5, 0.1]])
    replay(tmp_path, atoms, INCAR, 'dead', ('Mg', 'O'))
    atoms.write(tmp_path / 'POSCAR', format='vasp', direct=direct)
    inputs = read_inputs(tmp_path)
    assert inputs.symbols == ['Mg', 'Mg', 'O', 'O']
    np.testing.assert_allclose(inputs.lattice, cell)
    np.testing.assert_allclose(inputs.positions, atoms.get_scaled_positions(wrap=False), atol=1e-12)


def test_files_of_a_successful_run(replayed, tmp_path):
    row = replayed('mp-22862')
    files = replay(tmp_path, crystal(row), INCAR, potentials=('Na', 'Cl'))
    found = read_outcar(files['OUTCAR'].decode())
    assert np.allclose(found.electronic, row['eps_electronic'], atol=1e-5)
    assert np.allclose(found.ionic, row['eps_ionic_fd'], atol=1e-5)
    assert found.frequencies.max() == pytest.approx(row['freq_min_opt_THz'], abs=1e-5)
    assert all(loop.converged for loop in found.loops)
    assert b'</modeling>' in files['vasprun.xml']
    assert b'replays mp-22862' in files['vasp_output']


@pytest.mark.parametrize(
    ('tags', 'potentials', 'message'),
    [
        ({'ncore': 4}, ('Na', 'Cl'), 'k-point set'),
        ({}, ('Cl', 'Na'), 'POTCAR'),
        ({'magmom': '1 2'}, ('Na', 'Cl'), 'MAGMOM'),
        ({'gga': 'AM'}, ('Na', 'Cl'), 'ClNa'),
    ],
)
def test_bad_inputs_are_refused(replayed, tmp_path, tags, potentials, message):
    files = replay(tmp_path, crystal(replayed('mp-22862')), {**INCAR, **tags}, potentials=potentials)
    text = files['vasp_output'].decode()
    assert message in refusal(text)
    assert b'Iteration' not in files['OUTCAR']


def test_faults_apply_in_their_order(replayed, tmp_path):
    atoms = crystal(replayed('mp-22862'))
    seen = []
    for _ in range(4):
        files = replay(tmp_path, atoms, INCAR, 'relax:killed*9,symmetry*2@ClNa,dead@MgO,truncated', ('Na', 'Cl'))
        text = files['vasp_output'].decode()
        seen.append(
            'symmetry' if 'POSMAP' in text else 'complete' if b'</modeling>' in files['vasprun.xml'] else 'cut off'
        )
    assert seen == ['symmetry', 'symmetry', 'cut off', 'complete']

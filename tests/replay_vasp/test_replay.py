"""The replay itself: what it finds, in which frame it answers, and when it refuses."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from aiida_goectp.core.dielectric.outcar import read_outcar, refusal
from tests.replay_vasp.library import composition_of, find, rows
from tests.replay_vasp.matching import match, primitive
from tests.workflows.dfpt.vasp.nodes import crystal, replay

INCAR = {'encut': 600, 'nelm': 200, 'gga': 'ps', 'lepsilon': True, 'ibrion': 8, 'nsw': 1}


@pytest.fixture(scope='module', autouse=True)
def data(shared):
    """Needs the published tensors."""


def _ask(row, turn, transform=None, order=None, shift=(0, 0, 0), functional='PBEsol'):
    atoms = crystal(row)
    lattice = atoms.cell.array @ turn.T
    positions = (atoms.get_scaled_positions() + np.asarray(shift)) @ lattice
    cell = lattice if transform is None else np.asarray(transform) @ lattice
    order = np.arange(len(atoms)) if order is None else order
    return find(cell, atoms.numbers[order], (positions @ np.linalg.inv(cell))[order], functional), order


def _sample(functional, number, seed):
    lines = [line for _, line in rows(functional)]
    return [json.loads(lines[row]) for row in np.random.default_rng(seed).choice(len(lines), number, replace=False)]


@pytest.mark.parametrize('functional', ['PBEsol', 'PBE'])
def test_any_cell_orientation_order_and_origin(functional):
    rng = np.random.default_rng(7)
    for row in _sample(functional, 12, seed=3):
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        order = rng.permutation(len(row['species']))
        answer, order = _ask(row, turn, [[1, 1, 0], [0, 1, 0], [0, -1, 1]], order, rng.random(3), functional)
        electronic = np.array(row['eps_electronic'])
        scale = np.abs(electronic).max()
        assert answer.id == row['id'], row['formula']
        assert np.allclose(answer.electronic, turn @ electronic @ turn.T, atol=0.02 * scale), row['formula']
        if 'born' in row:
            expected = (turn @ np.array(row['born']) @ turn.T)[order]
            assert np.allclose(answer.born_charges, expected, atol=0.1), row['formula']


def test_a_crystal_in_its_own_frame_gets_its_own_tensor():
    """To the last bit, although others that its point group turns it into are as near."""
    for row in _sample('PBEsol', 12, seed=5):
        answer, _ = _ask(row, np.eye(3))
        assert answer.id == row['id'], row['formula']
        np.testing.assert_array_equal(answer.electronic, row['eps_electronic'], row['formula'])


def test_primitive_cell_of_a_conventional_one(replayed):
    """Eight atoms in, two out; the charges go to the right ones."""
    row = replayed('mp-1265')
    cell = primitive(np.array(row['lattice']), crystal(row).numbers, np.array(row['frac_coords']))
    assert len(cell.numbers) == 2
    answer = find(cell.lattice, cell.numbers, cell.positions, 'PBEsol')
    charges = {int(number): charge[0, 0] for number, charge in zip(cell.numbers, answer.born_charges, strict=True)}
    assert charges[12] > 1.5
    assert charges[8] < -1.5


def test_polymorphs_are_told_apart(replayed):
    for name in ('mp-2133', 'mp-1986'):  # ZnO, wurtzite and zincblende
        assert _ask(replayed(name), np.eye(3))[0].id == name


def test_no_match_for_what_is_not_there():
    lattice = np.eye(3) * 4.0
    assert find(lattice, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), 'PBEsol') is None  # CsCl type
    assert find(lattice, np.array([10]), np.zeros((1, 3)), 'PBEsol') is None
    assert find(lattice, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), 'AM05') is None
    one = primitive(lattice, np.array([10]), np.zeros((1, 3)))
    assert match(one, primitive(2 * lattice, np.array([10]), np.zeros((1, 3)))) is None


def test_formulas():
    assert composition_of('Sr(BeN)2') == {'Sr': 1, 'Be': 2, 'N': 2}
    assert composition_of('Mg2O2') == {'Mg': 1, 'O': 1}


def test_files_of_a_good_run(replayed, tmp_path):
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
    ('tags', 'potentials', 'words'),
    [
        ({'ncore': 4}, ('Na', 'Cl'), 'change of the k-point set'),
        ({}, ('Cl', 'Na'), 'POSCAR and POTCAR are incompatible'),
        ({'magmom': '1 2'}, ('Na', 'Cl'), 'MAGMOM'),
        ({'gga': 'AM'}, ('Na', 'Cl'), 'no published tensor of ClNa'),
    ],
)
def test_refusals(replayed, tmp_path, tags, potentials, words):
    files = replay(tmp_path, crystal(replayed('mp-22862')), {**INCAR, **tags}, potentials=potentials)
    text = files['vasp_output'].decode()
    assert words in refusal(text)
    assert b'Iteration' not in files['OUTCAR']


def test_faults_are_used_up_in_their_order(replayed, tmp_path):
    atoms = crystal(replayed('mp-22862'))
    seen = []
    for _ in range(4):
        files = replay(tmp_path, atoms, INCAR, 'relax:killed*9,symmetry*2@ClNa,dead@MgO,truncated', ('Na', 'Cl'))
        text = files['vasp_output'].decode()
        seen.append('symmetry' if 'POSMAP' in text else 'whole' if b'</modeling>' in files['vasprun.xml'] else 'torn')
    assert seen == ['symmetry', 'symmetry', 'torn', 'whole']


def test_every_row_has_what_an_answer_needs(shared):
    with gzip.open(shared / 'data' / 'phonondb_born.jsonl.gz', 'rt') as stream:
        row = json.loads(next(stream))
    answer, _ = _ask(row, np.eye(3))
    assert answer.gap > 0
    assert answer.frequency == row['freq_min_opt_THz']
    assert isinstance(crystal(row), Atoms)

"""Files of phonopy, read back by phonopy itself: cells with equivalent atoms, any order of atoms, noise, supercells."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.equivalent import random_orthogonal, rotate, shift_origin
from aiida_goectp.core.crystals.structurefiles import read_poscar
from aiida_goectp.core.dielectric.gamma_modes import gamma_modes
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.phonopy_files import PARAMETERS, phonopy_files, symmetrised
from tests import tiny
from tests.conftest import textbook
from tests.core.dielectric.test_gamma_modes import diatomic

DIRECTION = np.array([0.3, 0.5, 0.8])


@pytest.fixture(scope='module')
def cells(tmp_path_factory):
    """Cells of crystals in random orientation, by id; the weights are random, so some have imaginary modes."""
    from aiida_goectp.core.learning.predict import predict_crystals

    tiny.one_thread()
    model = tiny.write_model(tmp_path_factory.mktemp('models') / 'm.safetensors', preset='force_constants')
    rng = np.random.default_rng(0)
    crystals = CrystalSet.from_crystals(rotate(shift_origin(c, rng), random_orthogonal(rng)) for c in textbook())
    table = predict_crystals(crystals, model, device='cpu', phonons=True)
    return {str(name): table.phonon_cell(row) for row, name in enumerate(table.ids)}


def load(cell, folder):
    phonopy = pytest.importorskip('phonopy')
    for name, text in phonopy_files(cell, 'title').items():
        (folder / name).write_text(text)
    return phonopy.load(
        folder / PARAMETERS,
        force_constants_filename=folder / 'FORCE_CONSTANTS',
        born_filename=folder / 'BORN',
        log_level=0,
    )


def frequencies(calculation, direction=None):
    calculation.run_qpoints([[0, 0, 0]], nac_q_direction=direction)
    return np.sort(calculation.qpoints.frequencies[0])


def compare(cell, folder):
    """Compare the frequencies of phonopy with those of the cell, without and with the macroscopic field."""
    calculation = load(cell, folder)
    acoustic = np.zeros(3)
    expected = np.sort(np.r_[cell.modes().frequencies, acoustic])
    np.testing.assert_allclose(frequencies(calculation), expected, atol=1e-3)
    # phonopy takes the direction in units of the reciprocal lattice
    expected = np.sort(np.r_[cell.longitudinal(DIRECTION), acoustic])
    lattice = calculation.primitive.cell
    np.testing.assert_allclose(frequencies(calculation, lattice @ DIRECTION), expected, atol=1e-3)
    return calculation


@pytest.mark.parametrize('name', ['Si', 'MgO', 'GaAs', 'SrTiO3', 'TiO2', 'AlN'])
def test_phonopy_reads_the_files(cells, name, tmp_path):
    cell = cells[name]
    calculation = compare(cell, tmp_path)
    np.testing.assert_allclose(calculation.nac_params['born'], cell.born_charges, atol=1e-4)
    np.testing.assert_allclose(calculation.nac_params['dielectric'], cell.electronic, atol=1e-4)
    independent = {'Si': 1, 'MgO': 2, 'GaAs': 2, 'SrTiO3': 3, 'TiO2': 2, 'AlN': 2}
    assert len((tmp_path / 'BORN').read_text().splitlines()) == 2 + independent[name]
    (entry,) = read_poscar('POSCAR', name, (tmp_path / 'POSCAR').read_bytes())
    assert np.linalg.det(entry.row.lattice) > 0
    hand = np.sign(np.linalg.det(cell.lattice))
    np.testing.assert_allclose(entry.row.lattice, hand * cell.lattice, atol=1e-12)
    assert entry.row.atomic_numbers.tolist() == cell.atomic_numbers.tolist()
    np.testing.assert_allclose(entry.row.fractional_positions, hand * cell.fractional_positions, atol=1e-12)


def test_elements_in_several_groups(cells, tmp_path):
    cell = cells['TiO2']
    order = np.array([2, 0, 4, 1, 3, 5])
    blocks = cell.force_constants.reshape(6, 3, 6, 3)[order][:, :, order].reshape(18, 18)
    mixed = cell._replace(
        atomic_numbers=cell.atomic_numbers[order],
        fractional_positions=cell.fractional_positions[order],
        born_charges=cell.born_charges[order],
        force_constants=blocks,
    )
    compare(mixed, tmp_path)


def test_noise_of_charges_is_averaged(cells, tmp_path):
    cell, rng = cells['TiO2'], np.random.default_rng(1)
    noise = rng.normal(scale=0.02, size=(6, 3, 3))
    noisy = cell._replace(
        born_charges=cell.born_charges + noise - noise.mean(axis=0),
        electronic=cell.electronic + rng.normal(scale=0.02, size=(3, 3)),
    )
    average, _ = symmetrised(noisy)
    calculation = load(noisy, tmp_path)
    np.testing.assert_allclose(calculation.nac_params['born'], average.born_charges, atol=1e-6)
    np.testing.assert_allclose(calculation.nac_params['dielectric'], average.electronic, atol=1e-6)
    assert 1e-3 < np.abs(average.born_charges - cell.born_charges).max() < 0.03
    compare(noisy._replace(electronic=average.electronic, born_charges=average.born_charges), tmp_path)


@pytest.mark.parametrize('noise', [2e-6, 1e-4])
def test_rounded_coordinates(cells, noise, tmp_path):
    """Deviations near the tolerance of phonopy: it finds other operations than those by which BORN was written."""
    rng = np.random.default_rng(2)
    for name in ('TiO2', 'AlN', 'SrTiO3'):
        cell = cells[name]
        shift = rng.normal(scale=noise, size=cell.fractional_positions.shape) @ np.linalg.inv(cell.lattice)
        strained = cell.lattice + rng.normal(scale=noise, size=(3, 3))
        load(cell._replace(fractional_positions=cell.fractional_positions + shift, lattice=strained), tmp_path)
        assert len((tmp_path / 'BORN').read_text().splitlines()) == {'SrTiO3': 5}.get(name, 4)


def test_a_cell_that_is_not_primitive(tmp_path):
    """A rock salt cell and its double have the same modes, and the double has further ones."""
    constants, charges = diatomic()
    primitive = Crystal('MgO', (1 - np.eye(3)) * 2.1, np.array([12, 8]), np.array([[0, 0, 0], [0.5] * 3]))
    shift, one = np.array([[0, 0, 0], [0, 0, 0.5]]), primitive.fractional_positions * [1, 1, 0.5]
    double = PhononCell(
        primitive.lattice * [[1], [1], [2]],
        np.array([12, 8, 12, 8]),
        np.concatenate([one, one + shift[1]]),
        np.eye(3) * 3.1,
        np.concatenate([charges, charges]),
        np.kron([[0.8, 0.2], [0.2, 0.8]], constants),
    )
    compare(double, tmp_path)
    assert symmetrised(double)[1].tolist() == [0, 1, 0, 1]
    single = double.primitive()
    np.testing.assert_allclose(single.modes().frequencies, gamma_modes(constants, charges, double.masses[:2], 1)[0])
    static = double.modes().contributions.sum(axis=0)
    np.testing.assert_allclose(single.modes().contributions.sum(axis=0), static, atol=1e-9)
    assert single.primitive() is single

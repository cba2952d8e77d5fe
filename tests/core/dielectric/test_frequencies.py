"""Predicted and computed frequencies at Γ side by side."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.frequencies import OTHER_CELL, compare_frequencies, optical_frequencies
from aiida_goectp.core.dielectric.response import DielectricResponse
from tests.core.dielectric.springs import spring_cell, spring_phonons
from tests.core.selection.builders import crystal_set, predictions_for


def with_phonons(crystals, stiffness):
    return predictions_for(crystals, phonons=spring_phonons(crystals, stiffness))


def response(crystal, frequencies):
    frequencies = None if frequencies is None else np.array(frequencies, dtype=float)
    return DielectricResponse(crystal, np.eye(3) * 3, frequencies=frequencies)


def test_acoustic_frequencies_are_those_closest_to_zero():
    found = optical_frequencies(np.array([-4.0, 0.0, -0.01, 0.02, 9.0, 5.0]))
    assert found.tolist() == [-4.0, 5.0, 9.0]
    assert optical_frequencies(np.zeros(3)).tolist() == []


def test_frequencies_are_matched_in_ascending_order():
    crystals = crystal_set(2)
    predictions = with_phonons(crystals, [2.0, 3.0])
    expected = spring_cell(crystals[1], 3.0).modes().frequencies[0]
    shifts = np.array([-1.0, 0.5, 2.0])
    found = compare_frequencies(predictions, 1, response(crystals[1], [0, *(expected + shifts)[::-1], 0, 0]))
    assert found['predicted'] == pytest.approx([expected] * 3, abs=1e-4)
    assert found['dfpt'] == pytest.approx(expected + shifts)
    assert found['mean_absolute_error'] == pytest.approx(3.5 / 3, abs=1e-4)
    assert found['atoms'] == {'predicted': 2, 'dfpt': 2}
    assert found['problem'] == ''


def test_an_unstable_prediction_is_matched_with_its_lowest_mode():
    crystals = crystal_set(1)
    found = compare_frequencies(with_phonons(crystals, [-1.0]), 0, response(crystals[0], [0, 0, 0, 1, 2, 3]))
    assert (np.array(found['predicted']) < 0).all()
    assert found['mean_absolute_error'] == pytest.approx(2 - found['predicted'][0])


def doubled(crystal):
    positions = crystal.fractional_positions
    return crystal._replace(
        lattice=crystal.lattice * [[2], [1], [1]],
        atomic_numbers=np.tile(crystal.atomic_numbers, 2),
        fractional_positions=np.concatenate([positions, np.add(positions, [1, 0, 0])]) / [2, 1, 1],
    )


def test_a_larger_cell_is_folded():
    crystals = crystal_set(1)
    small = spring_cell(crystals[0], 2.0)
    # each atom on springs to the other kind in both cells: half the force constants to each image
    blocks = small.force_constants.reshape(2, 3, 2, 3)
    large = np.zeros((4, 3, 4, 3))
    for i, j in np.ndindex(4, 4):
        same = i % 2 == j % 2
        large[i, :, j] = blocks[i % 2, :, j % 2] * ((i == j) if same else 0.5)
    computed = DielectricResponse(
        doubled(crystals[0]),
        np.eye(3) * 3,
        born_charges=np.concatenate([small.born_charges] * 2),
        frequencies=np.arange(12.0),
        force_constants=large.reshape(12, 12),
    )
    found = compare_frequencies(with_phonons(crystals, [2.0]), 0, computed)
    assert found['atoms'] == {'predicted': 2, 'dfpt': 2}
    assert found['mean_absolute_error'] == pytest.approx(0, abs=1e-3)


def test_masses_of_the_calculation_do_not_count():
    """A calculation with isotopes has other frequencies and equal force constants."""
    crystals = crystal_set(1)
    cell = spring_cell(crystals[0], 2.0)
    isotopes = np.concatenate([np.zeros(3), cell.modes().frequencies / 1.4])
    computed = DielectricResponse(
        crystals[0], np.eye(3) * 3, None, cell.born_charges, isotopes, force_constants=cell.force_constants
    )
    found = compare_frequencies(with_phonons(crystals, [2.0]), 0, computed)
    assert found['mean_absolute_error'] == pytest.approx(0, abs=1e-3)


def test_cells_of_different_size_are_not_matched_without_force_constants():
    crystals = crystal_set(1)
    double = doubled(crystals[0])
    found = compare_frequencies(with_phonons(crystals, [2.0]), 0, response(double, [*[0.0] * 3, *range(1, 10)]))
    assert (found['mean_absolute_error'], found['problem']) == (None, OTHER_CELL)
    assert found['atoms'] == {'predicted': 2, 'dfpt': 4}
    assert found['dfpt'] == [float(value) for value in range(1, 10)]


def test_missing_frequencies():
    crystals = crystal_set(2)
    found = compare_frequencies(with_phonons(crystals, [2.0, None]), 0, response(crystals[0], None))
    assert (found['dfpt'], found['mean_absolute_error'], found['problem']) == (None, None, '')
    some = response(crystals[1], np.arange(6.0))
    assert compare_frequencies(with_phonons(crystals, [2.0, None]), 1, some) is None
    assert compare_frequencies(predictions_for(crystals), 1, some) is None
    alone = crystals[0]._replace(atomic_numbers=crystals[0].atomic_numbers[:1], fractional_positions=np.zeros((1, 3)))
    single = CrystalSet.from_crystals([alone])
    assert compare_frequencies(with_phonons(single, [2.0]), 0, response(alone, np.zeros(3))) is None

"""Preset ``goectp``: symmetry holds to rounding, on real crystals and on random ones of every system."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals.equivalent import DESCRIPTIONS, random_orthogonal, rotate
from aiida_goectp.core.crystals.symmetry import canonical_cell
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.preparation import prepare
from tests.core.network.deviations import deviation
from tests.core.network.random_crystals import SETTINGS, random_crystal
from tests.rows import PHONONDB, read_rows, response_of

TOLERANCE = 1e-5


def predict(network, crystals, dtype=torch.float64):
    with torch.no_grad():
        return network.to(dtype)(GraphBatch.from_arrays(prepare(crystals), dtype)).double().numpy()


def described_otherwise(crystals, rng):
    """Return the crystals with another origin, atom order, cell and supercell."""
    for change in DESCRIPTIONS.values():
        crystals = [change(crystal, rng) for crystal in crystals]
    return crystals


@pytest.fixture(scope='module')
def expected(sharp, real_crystals):
    return predict(sharp, real_crystals)


def test_the_network_under_test_gives_anisotropic_tensors(expected):
    assert np.ptp(np.linalg.eigvalsh(expected), axis=-1).max(axis=1).mean() > 1


def test_rotations_and_reflections(sharp, real_crystals, expected):
    rng = np.random.default_rng(0)
    turns = [random_orthogonal(rng) for _ in real_crystals]
    assert {round(np.linalg.det(turn)) for turn in turns} == {-1, 1}
    found = predict(sharp, [rotate(*pair) for pair in zip(real_crystals, turns, strict=True)])
    turn = np.array(turns)[:, None]
    assert deviation(found, turn @ expected @ np.swapaxes(turn, -1, -2)).max() < TOLERANCE


@pytest.mark.parametrize('change', DESCRIPTIONS)
def test_equivalent_descriptions(sharp, real_crystals, expected, change):
    rng = np.random.default_rng(1)
    found = predict(sharp, [DESCRIPTIONS[change](crystal, rng) for crystal in real_crystals])
    assert deviation(found, expected).max() < TOLERANCE


def test_point_group_and_range(sharp, real_crystals, expected):
    for crystal, tensors in zip(real_crystals, expected, strict=True):
        operations = canonical_cell(crystal).operations
        turned = operations[:, None] @ tensors @ np.swapaxes(operations, 1, 2)[:, None]
        assert np.abs(turned - tensors).max() < 1e-8 * np.abs(tensors).max()
    eigenvalues = np.linalg.eigvalsh(expected)
    assert eigenvalues[:, 0].min() >= 1
    assert eigenvalues[:, 1].min() >= 0


def test_single_precision(sharp, real_crystals):
    rng = np.random.default_rng(2)
    turn = random_orthogonal(rng)
    changed = described_otherwise(real_crystals, rng)
    expected = predict(sharp, real_crystals, torch.float32)
    found = predict(sharp, [rotate(crystal, turn) for crystal in changed], torch.float32)
    sharp.double()
    assert deviation(found, turn @ expected @ turn.T).max() < TOLERANCE


@pytest.mark.parametrize('system', SETTINGS)
@settings(max_examples=6)
@given(data=st.data())
def test_random_crystals(sharp, system, data):
    hall = data.draw(st.sampled_from(SETTINGS[system]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    crystal = random_crystal(system, hall, rng)
    turn = random_orthogonal(rng)
    changed = [change(crystal, rng) for change in DESCRIPTIONS.values()]
    tensors = predict(sharp, [crystal, rotate(crystal, turn), *changed])
    expected = np.array([tensors[0], turn @ tensors[0] @ turn.T, *[tensors[0]] * len(changed)])
    assert deviation(tensors, expected).max() < TOLERANCE
    assert np.linalg.eigvalsh(tensors[0, 0]).min() >= 1
    assert np.linalg.eigvalsh(tensors[0, 1]).min() >= 0


def test_a_cubic_crystal_is_isotropic(sharp, crystal_set):
    silicon = crystal_set[0]
    tensor = predict(sharp, [silicon])[0, 0]
    np.testing.assert_allclose(tensor, tensor[0, 0] * np.eye(3), atol=1e-10)


@pytest.mark.slow
def test_all_changes_at_once_on_many_real_crystals(sharp, many_crystals):
    rng = np.random.default_rng(3)
    for start in range(0, len(many_crystals), 40):
        part = many_crystals[start : start + 40]
        turn, changed = random_orthogonal(rng), described_otherwise(part, rng)
        expected = predict(sharp, part)
        deviations = deviation(predict(sharp, [rotate(c, turn) for c in changed]), turn @ expected @ turn.T)
        worst = int(deviations.argmax())
        assert deviations[worst] < TOLERANCE, (part[worst].id, deviations[worst])


def test_rotation_of_a_crystal_with_charges_of_rank_two(sharp):
    """F2 molecules in C2/c: each set of Born charges couples to two directions, all sets together to three."""
    fluorine = response_of(read_rows(PHONONDB)['mp-561203']).crystal
    turn = random_orthogonal(np.random.default_rng(0))
    found = predict(sharp, [fluorine, rotate(fluorine, turn)])
    assert deviation(found[1:], turn @ found[:1] @ turn.T).max() < TOLERANCE

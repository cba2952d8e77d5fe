"""Preset ``goectp``: what physics demands holds exactly, on real crystals and on random ones of every system."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals.symmetry import canonical_cell
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.preparation import prepare
from tests.core.network.changes import CHANGES, SETTINGS, orthogonal, random_crystal, rotated

TOLERANCE = 1e-5


def predict(network, crystals, dtype=torch.float64):
    with torch.no_grad():
        return network.to(dtype)(GraphBatch.from_arrays(prepare(crystals), dtype)).double().numpy()


def deviation(found, expected):
    """Return the largest deviation relative to the largest component, for each crystal."""
    scale = np.abs(expected).max(axis=(1, 2, 3))
    return np.abs(found - expected).max(axis=(1, 2, 3)) / scale


@pytest.fixture(scope='module')
def expected(sharp, real_crystals):
    return predict(sharp, real_crystals)


def test_the_question_is_not_trivial(expected):
    """The network whose invariance is tested gives large and anisotropic tensors."""
    assert np.ptp(np.linalg.eigvalsh(expected), axis=-1).max(axis=1).mean() > 1


def test_rotations_and_reflections(sharp, real_crystals, expected):
    rng = np.random.default_rng(0)
    turns = [orthogonal(rng) for _ in real_crystals]
    assert {round(np.linalg.det(turn)) for turn in turns} == {-1, 1}
    found = predict(sharp, [rotated(*pair) for pair in zip(real_crystals, turns, strict=True)])
    turn = np.array(turns)[:, None]
    assert deviation(found, turn @ expected @ np.swapaxes(turn, -1, -2)).max() < TOLERANCE


@pytest.mark.parametrize('change', CHANGES)
def test_descriptions(sharp, real_crystals, expected, change):
    rng = np.random.default_rng(1)
    found = predict(sharp, [CHANGES[change](crystal, rng) for crystal in real_crystals])
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
    """In the precision of daily use, all changes at once."""
    rng = np.random.default_rng(2)
    turn = orthogonal(rng)
    changed = real_crystals
    for change in CHANGES.values():
        changed = [change(crystal, rng) for crystal in changed]
    expected = predict(sharp, real_crystals, torch.float32)
    found = predict(sharp, [rotated(crystal, turn) for crystal in changed], torch.float32)
    sharp.double()
    assert deviation(found, turn @ expected @ turn.T).max() < TOLERANCE


@pytest.mark.parametrize('system', SETTINGS)
@settings(max_examples=6)
@given(data=st.data())
def test_random_crystals(sharp, system, data):
    hall = data.draw(st.sampled_from(SETTINGS[system]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    crystal = random_crystal(system, hall, rng)
    turn = orthogonal(rng)
    changed = [change(crystal, rng) for change in CHANGES.values()]
    tensors = predict(sharp, [crystal, rotated(crystal, turn), *changed])
    expected = np.array([tensors[0], turn @ tensors[0] @ turn.T, *[tensors[0]] * len(changed)])
    assert deviation(tensors, expected).max() < TOLERANCE
    assert np.linalg.eigvalsh(tensors[0, 0]).min() >= 1
    assert np.linalg.eigvalsh(tensors[0, 1]).min() >= 0


def test_cubic_is_isotropic_and_empty_space_dilutes(sharp, crystal_set):
    silicon = crystal_set[0]
    tensor = predict(sharp, [silicon])[0, 0]
    np.testing.assert_allclose(tensor, tensor[0, 0] * np.eye(3), atol=1e-10)


@pytest.mark.slow
def test_all_descriptions_of_many_real_crystals(sharp, shared):
    """One crystal in twelve of four sources, up to 60 atoms, all changes at once."""
    from aiida_goectp.core.crystals.readers import read_structures

    rng = np.random.default_rng(3)
    for name in ('phonondb_born', 'petousis2017_mp', 'mp20_val', 'phonondb_unlabelled'):
        found = read_structures([shared / 'data' / f'{name}.jsonl.gz'])
        rows = [found[row] for row in range(0, len(found), 12) if found.atom_counts[row] <= 60]
        for start in range(0, len(rows), 40):
            part = rows[start : start + 40]
            turn, changed = orthogonal(rng), part
            for change in CHANGES.values():
                changed = [change(crystal, rng) for crystal in changed]
            expected = predict(sharp, part)
            deviations = deviation(predict(sharp, [rotated(c, turn) for c in changed]), turn @ expected @ turn.T)
            worst = int(deviations.argmax())
            assert deviations[worst] < TOLERANCE, (name, part[worst].id, deviations[worst])

"""Layers farther apart than real ones respond as electrostatics has it, whatever the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.layers import (
    WIDEST_GAP,
    find_layers,
    vacuum_average_ratio,
    vacuum_averaged,
    with_vacuum_scaled,
)
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.model import GoeCTP, architecture_of, remove_vacuum_average
from aiida_goectp.core.network.preparation import prepare
from tests.core.crystals.test_layers import mos2, rocksalt


def say(crystals, preset='goectp'):
    """Return electronic and ionic tensors of a network with random weights, (n, 2, 3, 3)."""
    torch.manual_seed(3)
    network = GoeCTP(architecture_of(preset, {'width': 16, 'layers': 2, 'bins': 32}), ['electronic', 'ionic']).eval()
    graphs = prepare(CrystalSet.from_crystals(crystals), preset)
    with torch.no_grad():
        return network.double()(GraphBatch.from_arrays(graphs, torch.float64)).numpy()


@pytest.fixture(scope='module')
def wide():
    """MoS2 with the gaps just beyond the widest of real crystals."""
    crystal = mos2()
    layers = find_layers(crystal)
    return with_vacuum_scaled(crystal, layers, 1.02 * WIDEST_GAP / layers.gaps.min() - 1)


def test_far_apart_both_parts_thin_out_exactly(wide):
    layers = find_layers(wide)
    near, far = say([wide, with_vacuum_scaled(wide, layers, 1.5)._replace(id='far')])
    np.testing.assert_allclose(far[0], vacuum_averaged(near[0], layers, 1.5), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(far.sum(axis=0), vacuum_averaged(near.sum(axis=0), layers, 1.5), rtol=1e-10, atol=1e-12)
    assert np.linalg.eigvalsh(far[1]).min() > -1e-12


def test_the_choice_of_cell_changes_nothing(wide):
    basis = np.array([[1, 0, 0], [1, 1, 0], [2, -1, 1]])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    positions = wide.fractional_positions @ np.linalg.inv(basis) + 0.3
    other = Crystal('other', basis @ wide.lattice @ turn.T, wide.atomic_numbers, positions)
    double = Crystal(
        'double',
        wide.lattice * [[2], [1], [1]],
        np.tile(wide.atomic_numbers, 2),
        np.concatenate([(wide.fractional_positions + np.array([k, 0, 0])) / [2, 1, 1] for k in (0, 1)]),
    )
    one, two, three = say([wide, other, double])
    np.testing.assert_allclose(two, turn @ one @ turn.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(three, one, rtol=1e-6, atol=1e-6)


def test_real_gaps_other_crystals_and_the_published_preset_are_left_alone(wide):
    graphs = prepare(CrystalSet.from_crystals([rocksalt(), mos2()]))
    assert graphs.dilution.tolist() == [[0, 0, 0, 1]] * 2
    assert prepare(CrystalSet.from_crystals([wide]), 'published').dilution.tolist() == [[0, 0, 0, 1]]
    assert prepare(CrystalSet.from_crystals([wide])).dilution[0, 3] < 1


def test_torch_and_numpy_say_the_same():
    random = np.random.default_rng(1)
    normals = random.normal(size=(5, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    tensors = np.einsum('nij,nkj->nik', *[random.normal(size=(5, 3, 3))] * 2) + 2 * np.eye(3)
    ratios = np.array([0.2, 0.5, 0.9, 0.99, 1.0])
    told = torch.from_numpy(np.column_stack([normals, ratios]))
    found = remove_vacuum_average(torch.from_numpy(tensors), told).numpy()
    for row in range(4):
        np.testing.assert_allclose(
            found[row], vacuum_average_ratio(tensors[row], normals[row], ratios[row]), rtol=1e-12
        )
    assert (found[4] == tensors[4]).all()

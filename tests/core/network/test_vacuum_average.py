"""Layers with wide gaps: the network takes them closer, and its result is averaged with the vacuum in between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.layers import WIDEST_GAP, Layers, find_layers, vacuum_averaged, with_vacuum_scaled
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.model import GoeCTP, architecture_of
from aiida_goectp.core.network.preparation import prepare
from aiida_goectp.core.network.symmetrise import average_with_vacuum
from tests.core.crystals.builders import mos2, rocksalt


def predict(crystals):
    """Return electronic and ionic tensors of a network with random weights, (n, 2, 3, 3)."""
    torch.manual_seed(3)
    network = GoeCTP(architecture_of('goectp', {'width': 16, 'layers': 2, 'bins': 32}), ['electronic', 'ionic'])
    with torch.no_grad():
        return network.eval().double()(GraphBatch.from_arrays(prepare(crystals), torch.float64)).numpy()


@pytest.fixture(scope='module')
def wide():
    """MoS2 with gaps slightly wider than the limit."""
    crystal = mos2()
    layers = find_layers(crystal)
    return with_vacuum_scaled(crystal, layers, 1.02 * WIDEST_GAP / layers.gaps.min() - 1)


def test_beyond_the_limit_electronic_and_static_tensors_follow_the_laws(wide):
    layers = find_layers(wide)
    near, far = predict([wide, with_vacuum_scaled(wide, layers, 1.5)])
    np.testing.assert_allclose(far[0], vacuum_averaged(near[0], layers, 1.5), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(far.sum(axis=0), vacuum_averaged(near.sum(axis=0), layers, 1.5), rtol=1e-10, atol=1e-12)
    assert np.linalg.eigvalsh(far[1]).min() > -1e-12


def test_rotation_cell_and_supercell(wide):
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
    one, two, three = predict([wide, other, double])
    np.testing.assert_allclose(two, turn @ one @ turn.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(three, one, rtol=1e-6, atol=1e-6)


def test_only_wide_gaps_are_changed_and_not_by_the_published_preset(wide):
    assert prepare([rocksalt(), mos2()]).vacuum.tolist() == [[0, 0, 0, 1]] * 2
    assert prepare([wide], 'published').vacuum.tolist() == [[0, 0, 0, 1]]
    assert prepare([wide]).vacuum[0, 3] < 1


def test_torch_agrees_with_numpy():
    random = np.random.default_rng(1)
    normals = random.normal(size=(5, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    tensors = np.einsum('nij,nkj->nik', *[random.normal(size=(5, 3, 3))] * 2) + 2 * np.eye(3)
    ratios = np.array([0.2, 0.5, 0.9, 0.99, 1.0])
    vacuum = torch.from_numpy(np.column_stack([normals, ratios]))
    found = average_with_vacuum(torch.from_numpy(tensors), vacuum).numpy()
    for row in range(4):
        # a repeat of 1 Å that is one gap: its relative increase is 1/ratio − 1
        lattice = np.stack([np.zeros(3), np.zeros(3), normals[row]])
        layers = Layers(normals[row], lattice, np.zeros((0, 3)), np.zeros(0, int), np.ones(1))
        np.testing.assert_allclose(found[row], vacuum_averaged(tensors[row], layers, 1 / ratios[row] - 1), rtol=1e-12)
    assert (found[4] == tensors[4]).all()

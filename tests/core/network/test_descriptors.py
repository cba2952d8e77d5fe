"""Descriptors of crystals and their use in networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.descriptors import DESCRIPTORS, CrystalDescriptors, Descriptors, precompute_descriptors
from aiida_goectp.core.network.elements import HEAVIEST
from aiida_goectp.core.network.model import GoeCTP, architecture_of
from aiida_goectp.core.network.preparation import prepare
from tests.core.network.test_exactness import predict

ROCK_SALT = Crystal(
    'MgO',
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.1,
    np.array([12, 8], np.int16),
    np.array([[0] * 3, [0.5] * 3]),
)
MINIMUM, MAXIMUM, DEVIATION, DENSITY, FRACTIONS = 18, 36, 54, 72, 74
"""first index of each group of descriptors after the means"""
NEIGHBOURHOOD = 10
"""index of the neighbourhood within a group"""


def batch_of(*crystals):
    return GraphBatch.from_arrays(prepare(crystals), torch.float64)


def test_descriptors_of_rock_salt():
    found = CrystalDescriptors().double().compute(batch_of(ROCK_SALT))[0].numpy()
    assert found.shape == (DESCRIPTORS,)
    means, lowest, highest, spread = (found[start : start + MINIMUM] for start in (0, MINIMUM, MAXIMUM, DEVIATION))
    # electronegativities of Mg and of O
    assert (lowest[2], means[2], highest[2], spread[2]) == pytest.approx((1.31, 2.375, 3.44, 1.065))
    assert (lowest[9], means[9], highest[9], spread[9]) == (8, 10, 12, 2)
    ratio, length, _, mean_length, _, difference, signed, _ = means[NEIGHBOURHOOD:]
    assert length == pytest.approx(2.1)
    assert ratio == pytest.approx(2.1 / (1.41 + 0.66))
    assert 2.1 <= mean_length < 2.1 * np.sqrt(2)
    assert 0 < difference <= 2.13
    assert abs(signed) < difference
    assert found[DENSITY:FRACTIONS] == pytest.approx([np.log(2 / (2 * 2.1**3)), 2.1**3])


def test_neighbourhood_in_a_simple_cubic_crystal():
    polonium = Crystal('Po', np.eye(3) * 3.35, np.array([84], np.int16), np.zeros((1, 3)))
    means = CrystalDescriptors().double().compute(batch_of(polonium))[0].numpy()[NEIGHBOURHOOD:MINIMUM]
    # the radius is 1.40 Å; six neighbours, the next ones at √2 times the distance
    ratio = 3.35 / (2 * 1.40)
    np.testing.assert_allclose(means, [ratio, 3.35, ratio, 3.35, 6, 0, 0, 0], rtol=1e-3, atol=2e-2)


def test_descriptors_do_not_depend_on_the_batch(crystal_set):
    crystals, descriptors = list(crystal_set), CrystalDescriptors().double()
    together = descriptors.compute(batch_of(*crystals))
    start = 0
    for crystal in crystals:
        alone = descriptors.compute(batch_of(crystal))
        torch.testing.assert_close(together[start : start + len(alone)], alone)
        start += len(alone)


def test_constant_descriptors_have_no_influence(crystal_set):
    torch.manual_seed(0)
    network = GoeCTP(architecture_of('descriptors', {'width': 8, 'dropout': 0.0}), ['electronic'])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    batch = GraphBatch.from_arrays(prepare([ROCK_SALT, ROCK_SALT._replace(lattice=ROCK_SALT.lattice * 1.1)]))
    network.train()
    for _ in range(3):
        optimizer.zero_grad()
        (network(batch) - 5).square().mean().backward()
        optimizer.step()
    weight = network.backbone.layers[0].weight.abs().sum(dim=0)
    assert weight[FRACTIONS - 1] > 0  # the density varies
    assert not weight[-HEAVIEST:].any()  # the elements do not


def test_precomputed_descriptors_give_the_same_tensors(crystal_set):
    network = GoeCTP(architecture_of('descriptors', {'width': 16}), ['electronic', 'ionic']).eval()
    torch.nn.init.normal_(network.backbone.layers[0].weight, 0, 0.3)
    graphs = prepare(list(crystal_set), 'descriptors')
    rows = [2, 0, 1]
    computed = GraphBatch.from_arrays(replace(graphs, descriptors=precompute_descriptors(network, graphs)).take(rows))
    fresh = GraphBatch.from_arrays(graphs.take(rows))
    torch.testing.assert_close(computed.descriptors, CrystalDescriptors().compute(fresh))
    with torch.no_grad():
        torch.testing.assert_close(network(computed), network(fresh))
    message_passing = GoeCTP(architecture_of('goectp', {'width': 16, 'layers': 1, 'bins': 32}), ['electronic'])
    assert precompute_descriptors(message_passing, graphs) is None


@pytest.mark.parametrize('options', [{'layers': 0}, {'dropout': 1.0}, {'dropout': -0.1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r'layers.*dropout'):
        Descriptors(**options)


def test_number_of_layers():
    assert len(Descriptors(layers=3).layers) == 9


def test_added_to_message_passing_they_are_zero_at_first_and_follow_the_reference_implementation(crystal_set):
    crystals, options = list(crystal_set), {'width': 16, 'layers': 2, 'bins': 32}
    torch.manual_seed(3)
    network = GoeCTP(architecture_of('goectp', {**options, 'described': True}), ['electronic', 'ionic']).eval()
    without = GoeCTP(architecture_of('goectp', {**options, 'described': False}), ['electronic', 'ionic']).eval()
    without.load_state_dict(network.state_dict(), strict=False)
    expected = predict(without, crystals)
    np.testing.assert_allclose(predict(network, crystals), expected)
    torch.nn.init.normal_(network.backbone.described.layers[3].weight)
    changed = predict(network, crystals)
    assert np.abs(changed - expected).max() > 0.1
    reference = network(batch_of(*crystals), plain=True).detach().numpy()
    np.testing.assert_allclose(reference, changed, rtol=1e-7, atol=1e-7)

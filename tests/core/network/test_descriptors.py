"""A backbone of fixed numbers: what they are, and that they obey what a tensor must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.descriptors import DESCRIPTORS, CrystalDescriptors, Descriptors, describe_once
from aiida_goectp.core.network.elements import HEAVIEST
from aiida_goectp.core.network.model import GoeCTP, architecture_of
from aiida_goectp.core.network.preparation import prepare
from tests.core.network.changes import CHANGES, orthogonal, rotated
from tests.core.network.test_exactness import TOLERANCE, deviation, predict

ROCK_SALT = Crystal(
    'MgO',
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.1,
    np.array([12, 8], np.int16),
    np.array([[0] * 3, [0.5] * 3]),
)
LEAST, MOST, SPREAD, DENSITY, SHARES = 18, 36, 54, 72, 74
"""where the numbers of an atom's scales and surroundings begin again, after their means, and what follows"""
SURROUNDINGS = 10


def batch_of(*crystals):
    return GraphBatch.from_arrays(prepare(crystals), torch.float64)


@pytest.fixture
def network():
    torch.manual_seed(3)
    network = GoeCTP(architecture_of('descriptors', {'width': 16}), ['electronic', 'ionic']).double().eval()
    with torch.no_grad():
        network.backbone.layers[0].weight.normal_(0, 0.3)
        network.head.layers[2].weight.mul_(30)
    return network


def test_tensors_are_exact(network, crystal_set):
    rng = np.random.default_rng(0)
    crystals = list(crystal_set)
    expected = predict(network, crystals)
    assert np.ptp(np.linalg.eigvalsh(expected), axis=-1).max() > 0.1
    turn = orthogonal(rng)
    found = predict(network, [rotated(crystal, turn) for crystal in crystals])
    assert deviation(found, turn @ expected @ turn.T).max() < TOLERANCE
    for change in CHANGES.values():
        assert deviation(predict(network, [change(c, rng) for c in crystals]), expected).max() < TOLERANCE


def test_numbers_of_rock_salt():
    numbers = CrystalDescriptors().double().describe(batch_of(ROCK_SALT))[0].numpy()
    assert numbers.shape == (DESCRIPTORS,)
    means, least, most, spread = (numbers[start : start + LEAST] for start in (0, LEAST, MOST, SPREAD))
    # electronegativities of Mg and of O
    assert (least[2], means[2], most[2], spread[2]) == pytest.approx((1.31, 2.375, 3.44, 1.065))
    assert (least[9], means[9], most[9], spread[9]) == (8, 10, 12, 2)
    ratio, length, _, mean_length, _, difference, signed, _ = means[SURROUNDINGS:]
    assert length == pytest.approx(2.1)
    assert ratio == pytest.approx(2.1 / (1.41 + 0.66))
    assert 2.1 <= mean_length < 2.1 * np.sqrt(2)
    assert 0 < difference <= 2.13
    assert abs(signed) < difference
    assert numbers[DENSITY:SHARES] == pytest.approx([np.log(2 / (2 * 2.1**3)), 2.1**3])


def test_surroundings_in_a_simple_cubic_crystal():
    polonium = Crystal('Po', np.eye(3) * 3.35, np.array([84], np.int16), np.zeros((1, 3)))
    means = CrystalDescriptors().double().describe(batch_of(polonium))[0].numpy()[SURROUNDINGS:LEAST]
    # the radius is 1.40 Å; six neighbours, the next ones at √2 times the distance
    ratio = 3.35 / (2 * 1.40)
    np.testing.assert_allclose(means, [ratio, 3.35, ratio, 3.35, 6, 0, 0, 0], rtol=1e-3, atol=2e-2)


def test_crystals_of_a_batch_do_not_mix(crystal_set):
    crystals, backbone = list(crystal_set), CrystalDescriptors().double()
    together = backbone.describe(batch_of(*crystals))
    start = 0
    for crystal in crystals:
        alone = backbone.describe(batch_of(crystal))
        torch.testing.assert_close(together[start : start + len(alone)], alone)
        start += len(alone)


def test_what_never_changed_in_training_has_no_influence(crystal_set):
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
    assert weight[SHARES - 1] > 0  # the density changed
    assert not weight[-HEAVIEST:].any()  # the elements did not


def test_described_once_is_what_is_asked_for_each_time(network, crystal_set):
    graphs = prepare(list(crystal_set), 'descriptors')
    numbers = describe_once(network, graphs)
    rows = [2, 0, 1]
    kept = GraphBatch.from_arrays(replace(graphs, described=numbers).take(rows))
    fresh = GraphBatch.from_arrays(graphs.take(rows))
    torch.testing.assert_close(kept.described, CrystalDescriptors().describe(fresh))
    network.float()
    with torch.no_grad():
        torch.testing.assert_close(network(kept), network(fresh))
    messages = GoeCTP(architecture_of('goectp', {'width': 16, 'layers': 1, 'bins': 32}), ['electronic'])
    assert describe_once(messages, graphs) is None


@pytest.mark.parametrize('options', [{'layers': 0}, {'dropout': 1.0}, {'dropout': -0.1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match='give one layer or more'):
        Descriptors(**options)


def test_deeper_is_deeper():
    assert len(Descriptors(layers=3).layers) == 9


def test_beside_messages_it_adds_nothing_at_first_and_stays_exact(crystal_set):
    crystals, options = list(crystal_set), {'width': 16, 'layers': 2, 'bins': 32}
    torch.manual_seed(3)
    network = GoeCTP(architecture_of('goectp', {**options, 'described': True}), ['electronic', 'ionic'])
    bare = GoeCTP(architecture_of('goectp', {**options, 'described': False}), ['electronic', 'ionic'])
    bare.load_state_dict(network.state_dict(), strict=False)
    expected = predict(bare.eval(), crystals)
    np.testing.assert_allclose(predict(network.eval(), crystals), expected)
    with torch.no_grad():
        network.backbone.described.layers[3].weight.normal_(0, 1)
        network.head.layers[2].weight.mul_(30)
    expected, rng = predict(network, crystals), np.random.default_rng(0)
    assert deviation(predict(bare, crystals), expected).max() > 0.1
    for change in CHANGES.values():
        assert deviation(predict(network, [change(c, rng) for c in crystals]), expected).max() < TOLERANCE
    plain = network.double()(batch_of(*crystals), plain=True).detach().numpy()
    np.testing.assert_allclose(plain, expected, rtol=1e-7, atol=1e-7)

"""Members of a committee evaluated as one network: equal to each alone, and refused where that cannot be."""

import numpy as np
import pytest
import torch
from torch import nn

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.equivalent import random_orthogonal, rotate
from aiida_goectp.core.learning.committee_output import member_outputs
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.network.checkpoint import load_model
from aiida_goectp.core.network.force_constants.stacked import StackedNetworks, can_be_stacked
from aiida_goectp.core.network.model import ARCHITECTURES, build_network
from tests.core.network.force_constants.test_network import batch_of

OPTIONS = {'scalars': 16, 'vectors': 8, 'tensors': 4, 'width': 16}


def some_network(seed, **changes):
    torch.manual_seed(seed)
    architecture = {**ARCHITECTURES['force_constants'], 'options': OPTIONS, **changes}
    network = build_network(architecture, ['electronic', 'ionic']).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():  # normalisations and biases begin equal
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.whitening = torch.randn(OPTIONS['scalars'], OPTIONS['scalars'], dtype=torch.float64)
    return network


@pytest.fixture(scope='module', params=[{}, {'blocks': 3, 'envelope': 6}], ids=['springs', 'blocks'])
def members(request):
    return [some_network(seed, options={**OPTIONS, **request.param}) for seed in range(3)]


@pytest.mark.parametrize('rows', [slice(0, 1), slice(0, 40, 5), slice(30, 33)])
def test_each_member_as_if_alone(members, real_crystals, rows):
    """Cells of different sizes and layered crystals among them."""
    batch = batch_of(real_crystals[rows])
    together = StackedNetworks(members).evaluate(batch)
    assert len(together) == 3
    for network, found in zip(members, together, strict=True):
        with torch.no_grad():
            alone = network.evaluate(batch)
        pairs = [(found[place], alone[place]) for place in range(3)]
        pairs += zip(found.response.force_constants, alone.response.force_constants, strict=True)
        pairs += zip(found.response[1:], alone.response[1:], strict=True)
        for one, other in pairs:
            assert one.shape == other.shape
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)
    assert (together[0].tensors - together[1].tensors).abs().max() > 0.01


@pytest.mark.parametrize('edge', [5.0, 30.0])
def test_atoms_without_near_neighbours(members, edge):
    """No pair within the distance of internal coordinates, and no pair at all."""
    crystal = Crystal('He', edge * np.eye(3), np.array([2], np.int16), np.zeros((1, 3)))
    batch = batch_of([crystal])
    for network, found in zip(members, StackedNetworks(members).evaluate(batch), strict=True):
        with torch.no_grad():
            alone = network.evaluate(batch)
        assert torch.allclose(found.tensors, alone.tensors, rtol=1e-9, atol=1e-9)
        assert found.tensors.isfinite().all()


def test_predictions_do_not_depend_on_what_else_is_in_the_batch(real_crystals):
    """One crystal is evaluated by the stacked committee, all together member by member."""
    crystals = real_crystals[:60:4]
    together = predict_crystals(crystals, 'goectp', device='cpu', batch_atoms=10**6)
    alone = [predict_crystals([crystal], 'goectp', device='cpu') for crystal in crystals]
    for name in ('electronic', 'ionic', 'total', 'average_std', 'eigenvalues_std', 'stability'):
        one = np.concatenate([getattr(table, name) for table in alone])
        assert np.allclose(one, getattr(together, name), rtol=2e-4, atol=2e-4, equal_nan=True), name


def test_a_rotated_crystal(real_crystals):
    rotation = random_orthogonal(np.random.default_rng(0))
    for crystal in real_crystals[:40:8]:
        one = predict_crystals([crystal], 'goectp', device='cpu').total[0]
        other = predict_crystals([rotate(crystal, rotation)], 'goectp', device='cpu').total[0]
        assert np.allclose(rotation @ one @ rotation.T, other, atol=2e-4 * np.nanmax(np.abs(one)))


def test_members_that_cannot_be_stacked(members):
    assert can_be_stacked(members)
    assert not can_be_stacked(members[:1])
    assert not can_be_stacked([members[0], some_network(1, options={**OPTIONS, 'scalars': 8})])
    assert not can_be_stacked([some_network(seed, functionals=['PBE', 'PBEsol']) for seed in range(2)])
    assert load_model('goectp-frame').stacked is None
    unknown = some_network(4)
    unknown.trunk.norm = nn.GroupNorm(1, OPTIONS['scalars'])
    with pytest.raises(TypeError, match='GroupNorm'):
        StackedNetworks([unknown, unknown])


def test_a_model_that_moves_is_stacked_again(real_crystals):
    model = load_model('goectp')
    batch = batch_of(real_crystals[:2], torch.float32)
    single = member_outputs(model, batch, stacked=True)[0].tensors
    model.to('cpu', torch.float64)
    double = member_outputs(model, batch_of(real_crystals[:2]), stacked=True)[0].tensors
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.allclose(single.double(), double, rtol=1e-3, atol=1e-3)

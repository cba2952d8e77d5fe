"""The force constant network: exact symmetry, sum rules, and independence of the description of the crystal."""

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.equivalent import DESCRIPTIONS, make_supercell, random_orthogonal, rotate
from aiida_goectp.core.crystals.symmetry import canonical_cell
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork
from aiida_goectp.core.network.model import architecture_of, build_network
from aiida_goectp.core.network.preparation import prepare
from tests.core.network.deviations import deviation

TOLERANCE = 1e-6


def batch_of(crystals, dtype=torch.float64):
    return GraphBatch.from_arrays(prepare(crystals, 'force_constants'), dtype)


def predict(network, crystals, dtype=torch.float64):
    with torch.no_grad():
        return network.to(dtype)(batch_of(crystals, dtype)).double().numpy()


@pytest.fixture(scope='module', params=[{}, {'blocks': 4, 'envelope': 6}], ids=['springs', 'blocks'])
def network(request):
    """Network in float64 with random weights and soft, anisotropic force constants, some of them negative."""
    torch.manual_seed(3)
    architecture = architecture_of('force_constants', request.param)
    network = build_network(architecture, ['electronic', 'ionic']).double().eval()
    assert isinstance(network, ForceConstantNetwork)
    with torch.no_grad():
        network.charge[2].bias.fill_(0.0)
        for layer in (network.charge[2], network.charge_tensors, network.charge_vectors):
            layer.weight.mul_(6)
        for head in (network.springs, network.coordinates):
            head.coefficients[3].weight.mul_(3)
        network.polarisability_tensor.weight.mul_(300)
    return network


@pytest.fixture(scope='module')
def crystals(real_crystals):
    return real_crystals[::6]


@pytest.fixture(scope='module')
def expected(network, crystals):
    return predict(network, crystals)


def test_the_network_under_test_gives_anisotropic_tensors(network, crystals, expected):
    assert (np.ptp(np.linalg.eigvalsh(expected), axis=-1).mean(axis=0) > 0.1).all()
    response = network.response(batch_of(crystals).cells)
    modes = np.concatenate([torch.linalg.eigvalsh(m).detach().numpy().ravel() for m in response.force_constants])
    assert (modes < -0.1).any()
    assert (modes > 0.1).any()


def test_rotations_and_reflections(network, crystals, expected):
    rng = np.random.default_rng(0)
    turns = [random_orthogonal(rng) for _ in crystals]
    found = predict(network, [rotate(*pair) for pair in zip(crystals, turns, strict=True)])
    turn = np.array(turns)[:, None]
    assert deviation(found, turn @ expected @ np.swapaxes(turn, -1, -2)).max() < TOLERANCE


@pytest.mark.parametrize('change', DESCRIPTIONS)
def test_equivalent_descriptions(network, crystals, expected, change):
    rng = np.random.default_rng(1)
    found = predict(network, [DESCRIPTIONS[change](crystal, rng) for crystal in crystals])
    assert deviation(found, expected).max() < TOLERANCE


def test_crystals_of_a_batch_do_not_influence_each_other(network, crystals, expected):
    single = np.concatenate([predict(network, [crystal]) for crystal in crystals[:6]])
    assert deviation(single, expected[:6]).max() < TOLERANCE


def test_single_precision(network, crystals, expected):
    found = predict(network, crystals, torch.float32)
    network.double()
    assert np.median(deviation(found, expected)) < 1e-5
    assert deviation(found, expected).max() < 1e-2


def test_force_constants_obey_symmetry_and_sum_rules(network, crystals):
    for crystal in crystals[:10]:
        cell = canonical_cell(crystal)
        with torch.no_grad():
            response = network.response(batch_of([crystal]).cells)
        (matrix,), charges = response.force_constants[0].numpy(), response.born_charges.numpy()
        n, scale = len(cell.atomic_numbers), np.abs(matrix).max()
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12 * scale)
        blocks = matrix.reshape(n, 3, n, 3).transpose(0, 2, 1, 3)
        assert np.abs(blocks.sum(axis=1)).max() < 1e-10 * scale
        assert np.abs(charges.sum(axis=0)).max() < 1e-12
        for turn, image in zip(cell.operations, cell.permutations, strict=True):
            np.testing.assert_allclose(
                blocks[np.ix_(image, image)], turn @ blocks @ turn.T, atol=TOLERANCE * scale, rtol=0
            )
            np.testing.assert_allclose(charges[image], turn @ charges @ turn.T, atol=TOLERANCE, rtol=0)


def test_atoms_of_a_supercell_are_those_of_the_primitive_cell(crystals):
    crystal = make_supercell(crystals[0], np.random.default_rng(0))
    cells = prepare([crystal], 'force_constants').cells
    assert len(cells.primitive_atom) == len(crystal.atomic_numbers)
    np.testing.assert_array_equal(cells.numbers[cells.primitive_atom], crystal.atomic_numbers)
    apart = (crystal.fractional_positions @ crystal.lattice) - cells.positions[cells.primitive_atom]
    fractions = (apart - apart[0]) @ np.linalg.inv(canonical_cell(crystal).lattice)
    np.testing.assert_allclose(fractions, np.rint(fractions), atol=1e-6)


def test_a_large_cell(network):
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing='ij'), -1).reshape(-1, 3)
    positions = grid / 6 + rng.normal(scale=0.004, size=grid.shape)
    crystal = Crystal('large', np.eye(3) * 13.2, np.where(grid.sum(1) % 2, 8, 12), positions)
    assert np.isfinite(predict(network, [crystal], torch.float32)).all()
    network.double()


def test_invalid_options_are_refused():
    both = ['electronic', 'ionic']
    for options, targets in (({'depth': 3}, both), ({'blocks': -1}, both), ({'envelope': -6}, both), ({}, ['total'])):
        with pytest.raises(ValueError, match=r'depth|blocks|envelope|total'):
            build_network({'backbone': 'covariant', 'options': options}, targets)


def test_a_batch_without_cells_is_refused(network, crystals):
    with pytest.raises(ValueError, match='force_constants'):
        network(GraphBatch.from_arrays(prepare(crystals[:1], 'goectp'), torch.float64))

"""Parts of the force constant network against independent formulas: messages, matrix functions, dipoles, cells."""

import numpy as np
import pytest
import torch

from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.force_constants import functions
from aiida_goectp.core.network.force_constants.batch import CellBatch
from aiida_goectp.core.network.force_constants.cells import CUTOFF, WAVE_WIDTH, CellArrays
from aiida_goectp.core.network.force_constants.couplings import CouplingInput, couple, couple_in_torch
from aiida_goectp.core.network.force_constants.dipoles import COULOMB, dipole_interaction
from aiida_goectp.core.network.force_constants.functions import bounded_inverse, matrix_function, shifted_logarithm
from aiida_goectp.core.network.force_constants.messages import MessageInput, pass_messages, pass_messages_in_torch
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork
from aiida_goectp.core.network.force_constants.trunk import envelope_of
from aiida_goectp.core.network.graph import pairs_of_all
from aiida_goectp.core.network.preparation import prepare


def message_arguments(atoms=5, pairs=9, f=3, v=2, t=2, radial=4):
    torch.manual_seed(0)
    width = f + 3 * v + 3 * t
    shapes = [(atoms, width), (pairs, radial), (width, radial), (atoms, 3, v), (atoms, 5, t), (pairs, 3), (pairs, 5)]
    real = [torch.randn(*shape, dtype=torch.float64, requires_grad=place < 5) for place, shape in enumerate(shapes)]
    return MessageInput(*real, torch.randint(atoms, (pairs,)), torch.randint(atoms, (pairs,)))


def test_compiled_messages_equal_those_of_torch_with_their_derivatives():
    found, gradients = [], []
    for function in (pass_messages, pass_messages_in_torch):
        arguments = message_arguments()
        sums = function(arguments)
        torch.manual_seed(1)
        sum((part * torch.randn_like(part)).sum() for part in sums).backward()
        found.append([part.detach() for part in sums])
        gradients.append([argument.grad for argument in arguments[:5]])
    for one, other in zip((*found[0], *gradients[0]), (*found[1], *gradients[1]), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('members', [1, 3])
def test_messages_by_blocks_of_pairs(members):
    """Without derivatives the pairs are evaluated in blocks, those of each stacked network by themselves."""
    inputs = message_arguments(atoms=30, pairs=1200 * members)
    if members > 1:
        inputs = inputs._replace(filters=torch.randn(members, *inputs.filters.shape, dtype=torch.float64))
    with torch.no_grad():
        found = pass_messages(inputs)
        expected = pass_messages_in_torch(inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_compiled_products_of_an_atom_equal_those_of_torch():
    torch.manual_seed(3)
    atoms, f, v, t, k = 7, 6, 5, 4, 3
    shapes = (f,), (f + v + t,), (3, v), (5, t), (3, 2 * v + 2 * k), (5, 2 * t + k)
    inputs = CouplingInput(*(torch.randn(atoms, *shape, dtype=torch.float64) for shape in shapes))
    with torch.no_grad():
        found = couple(inputs)
    for one, other in zip(found, couple_in_torch(inputs), strict=True):
        torch.testing.assert_close(one, other)


def symmetric(values):
    torch.manual_seed(2)
    turn = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))[0]
    return turn @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turn.T


@pytest.mark.parametrize('values', [[0.5, 1.0, 3.0], [2.0, 2.0, 2.0, -0.3], [-1.0, 0.0, 0.0, 1e-9, 4.0]])
@pytest.mark.parametrize('function', [lambda a: bounded_inverse(a, 0.2), lambda a: shifted_logarithm(a, 2.0)])
def test_derivatives_of_matrix_functions(values, function):
    matrix = symmetric(values).requires_grad_()
    torch.autograd.gradcheck(lambda a: function((a + a.T) / 2), matrix, atol=1e-5)


def test_the_bounded_inverse_is_bounded_and_the_inverse_of_stiff_matrices():
    stiff = symmetric([5.0, 8.0, 20.0])
    np.testing.assert_allclose(bounded_inverse(stiff, 0.2), np.linalg.inv(stiff), rtol=1e-3, atol=1e-4)
    soft = bounded_inverse(symmetric([-3.0, -1e-6, 1e-6]), 0.2)
    np.testing.assert_allclose(torch.linalg.eigvalsh(soft), [1 / np.hypot(3, 0.2), 5.0, 5.0], rtol=1e-6)


def test_a_matrix_function_is_that_of_the_eigenvalues():
    matrix = symmetric([1.0, 2.0, 5.0])
    found = matrix_function(matrix, lambda w: w**2, lambda w: 2 * w)
    np.testing.assert_allclose(found, matrix @ matrix, atol=1e-12)


@pytest.fixture
def perovskite():
    """SrTiO3 with displaced atoms in a sheared cell: lattice (Å, rows), fractional positions, charges (e)."""
    rng = np.random.default_rng(4)
    lattice = np.diag([3.9, 4.0, 4.1]) + rng.normal(scale=0.1, size=(3, 3))
    positions = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return lattice, positions + rng.normal(scale=0.02, size=(5, 3)), np.array([2.0, 4.0, -2.0, -2.0, -2.0])


def ewald_by_pymatgen(lattice, positions, charges, step=1e-3):
    """Return the force constants (3n, 3n) eV/Å² of point charges, by differences of the forces of pymatgen."""
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Structure

    def forces(cartesian):
        structure = Structure(lattice, ['H'] * len(charges), cartesian, coords_are_cartesian=True)
        structure.add_oxidation_state_by_site(charges.tolist())
        return EwaldSummation(structure, acc_factor=14, compute_forces=True).forces.ravel()

    start, n = positions @ lattice, len(charges)
    columns = []
    for place in range(3 * n):
        shift = np.zeros((n, 3))
        shift.flat[place] = step
        columns.append((forces(start - shift) - forces(start + shift)) / (2 * step))
    return np.array(columns)


def real_space_part(lattice, positions, charges):
    """Return blocks (n, n, 3, 3) of −q q' ∂∂ erfc(ηr)/r over all images of the second atom."""
    from scipy.special import erfc

    n, eta = len(charges), WAVE_WIDTH
    pairs, vectors, _ = pairs_of_all(np.array([lattice]), np.array([0, n]), positions, 14.0)
    r = np.linalg.norm(vectors, axis=1)[:, None, None]
    gauss = 2 * eta / np.sqrt(np.pi) * np.exp(-(eta**2) * r**2)
    first = -erfc(eta * r) / r**2 - gauss / r
    second = 2 * erfc(eta * r) / r**3 + 2 * gauss / r**2 + 2 * eta**2 * gauss
    along = vectors[:, :, None] * vectors[:, None, :] / r**2
    hessians = second * along + first / r * (np.eye(3) - along)
    strength = COULOMB * charges[pairs[:, 0]] * charges[pairs[:, 1]]
    blocks = np.zeros((n, n, 3, 3))
    np.add.at(blocks, (pairs[:, 0], pairs[:, 1]), -strength[:, None, None] * hessians)
    np.add.at(blocks, (pairs[:, 1], pairs[:, 0]), -strength[:, None, None] * hessians)
    return blocks


def test_dipole_interaction_with_its_real_space_part_is_the_ewald_sum(perovskite):
    lattice, positions, charges = perovskite
    n = len(charges)
    batch = one_cell(lattice, positions)
    tensors = torch.from_numpy(charges)[:, None, None] * torch.eye(3, dtype=torch.float64)
    unit = torch.eye(3, dtype=torch.float64)[None]
    reciprocal = dipole_interaction(batch.groups[0], batch, tensors, unit)[0].numpy()
    blocks = reciprocal.reshape(n, 3, n, 3).transpose(0, 2, 1, 3) + real_space_part(lattice, positions, charges)
    expected = ewald_by_pymatgen(lattice, positions, charges).reshape(n, 3, n, 3).transpose(0, 2, 1, 3)
    apart = ~np.eye(n, dtype=bool)
    assert np.abs(expected[apart]).max() > 1
    np.testing.assert_allclose(blocks[apart], expected[apart], atol=2e-3)


def test_dipoles_are_screened_in_an_anisotropic_medium(perovskite):
    """A medium with ε along z scales like a vacuum in which z is compressed (Gonze and Lee, 1997)."""
    lattice, positions, charges = perovskite
    batch = one_cell(lattice, positions)
    tensors = torch.from_numpy(charges)[:, None, None] * torch.eye(3, dtype=torch.float64)
    isotropic = [
        dipole_interaction(batch.groups[0], batch, tensors, factor * torch.eye(3, dtype=torch.float64)[None])
        for factor in (1.0, 4.0)
    ]
    torch.testing.assert_close(isotropic[0], 4 * isotropic[1])
    medium = torch.diag(torch.tensor([1.0, 1.0, 9.0], dtype=torch.float64))[None]
    anisotropic = dipole_interaction(batch.groups[0], batch, tensors, medium)
    along = torch.linalg.eigvalsh(isotropic[0] - anisotropic)
    assert along.min() > -1e-9
    assert along.max() > 0.1


def one_cell(lattice, positions):
    from aiida_goectp.core.network.force_constants.cells import build_cells

    numbers = np.array([38, 22, 8, 8, 8])
    cells = build_cells([lattice], [numbers], [positions], [np.arange(5)], [True])
    return CellBatch.from_arrays(cells, torch.float64)


def test_pairs_are_all_pairs_within_the_cutoff(real_crystals):
    from ase.neighborlist import primitive_neighbor_list

    crystals = real_crystals[:8]
    cells, joined = np.array([crystal.lattice for crystal in crystals]), [c.fractional_positions for c in crystals]
    offsets = np.concatenate([[0], np.cumsum([len(positions) for positions in joined])])
    all_pairs, all_vectors, pair_offsets = pairs_of_all(cells, offsets, np.concatenate(joined), CUTOFF)
    for place, crystal in enumerate(crystals):
        own = slice(*pair_offsets[place : place + 2])
        pairs, vectors = all_pairs[own], all_vectors[own]
        positions = crystal.fractional_positions @ crystal.lattice
        first, _, apart = primitive_neighbor_list('ijD', [True] * 3, crystal.lattice, positions, CUTOFF)
        assert 2 * len(pairs) == len(first)
        both = np.concatenate([np.column_stack([vectors, pairs]), np.column_stack([-vectors, pairs[:, ::-1]])])
        np.testing.assert_allclose(
            np.sort(np.linalg.norm(both[:, :3], axis=1)), np.sort(np.linalg.norm(apart, axis=1)), atol=1e-9
        )


def test_cells_are_taken_and_joined_without_change(real_crystals):
    arrays = prepare(real_crystals[:6], 'force_constants')
    parts = [arrays.take([place]) for place in (4, 0, 2)]
    joined = type(arrays).concatenate(parts).cells
    taken = arrays.take([4, 0, 2]).cells
    assert isinstance(joined, CellArrays)
    for name, column in vars(taken).items():
        np.testing.assert_array_equal(getattr(joined, name), column, err_msg=name)
    assert len(taken) == 3


def test_reciprocal_vectors_are_one_of_each_pair(real_crystals):
    cells = prepare(real_crystals[:5], 'force_constants').cells
    for row, crystal in enumerate(real_crystals[:5]):
        waves = cells.waves[cells.wave_offsets[row] : cells.wave_offsets[row + 1]]
        assert len(waves)
        both = {tuple(np.round(wave, 6)) for wave in np.concatenate([waves, -waves])}
        assert len(both) == 2 * len(waves)
        # every one is a reciprocal vector of the given lattice as well
        turns = waves @ crystal.lattice.T / (2 * np.pi)
        np.testing.assert_allclose(turns, np.rint(turns), atol=1e-2)


def test_groups_hold_each_cell_once(real_crystals):
    batch = GraphBatch.from_arrays(prepare(real_crystals[:12], 'force_constants')).cells
    assert sorted(torch.cat([group.cells for group in batch.groups]).tolist()) == list(range(12))
    assert sorted(torch.cat([group.blocks.flatten() for group in batch.groups]).tolist()) == list(range(batch.blocks))


def test_a_matrix_that_overflowed_leaves_the_others():
    matrices = torch.eye(4).repeat(3, 1, 1)
    matrices[1, 0, 2] = float('nan')
    matrices.requires_grad_()
    found = bounded_inverse(matrices, 0.3)
    assert torch.isfinite(found).flatten(1).all(dim=1).tolist() == [True, False, True]
    torch.testing.assert_close(found[2], torch.eye(4) / (1 + 0.3**2) ** 0.5)
    found[0].sum().backward()
    assert torch.isfinite(matrices.grad[0]).all()


def test_many_matrices_are_diagonalised_in_parts(monkeypatch):
    """cuSOLVER refuses batches of 32768 matrices, which a GPU has memory for."""
    matrices = torch.randn(11, 6, 6, generator=torch.Generator().manual_seed(0))
    matrices = matrices + matrices.mT
    whole, sizes, diagonalise = bounded_inverse(matrices, 0.3), [], torch.linalg.eigh
    monkeypatch.setattr(functions, '_TOGETHER', 4)
    monkeypatch.setattr(torch.linalg, 'eigh', lambda part: (sizes.append(len(part)), diagonalise(part))[1])
    assert torch.equal(bounded_inverse(matrices, 0.3), whole)
    assert sizes == [4, 4, 3]


@pytest.mark.parametrize('options', [{}, {'blocks': 3, 'envelope': 6}])
def test_compiled_loops_equal_the_tensor_operations(real_crystals, options):
    """Predictions use the former, training the latter."""
    batch = GraphBatch.from_arrays(prepare(real_crystals[:6], 'force_constants'))
    network = ForceConstantNetwork({'options': options}, ['electronic', 'ionic']).eval()
    with torch.no_grad():
        fast = network.response(batch.cells)
    plain = network.response(batch.cells)
    assert max(float(matrices.detach().abs().max()) for matrices in plain.force_constants) > 1
    for first, second in zip(fast.force_constants, plain.force_constants, strict=True):
        torch.testing.assert_close(first, second.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('options', 'antisymmetric'), [({}, False), ({'blocks': 3}, True)])
def test_pairs_of_atoms_with_blocks_that_are_not_symmetric(real_crystals, options, antisymmetric):
    """Φ_ji is the transpose of Φ_ij; springs are symmetric matrices, general blocks are not."""
    torch.manual_seed(1)
    network = ForceConstantNetwork({'options': options}, ['electronic', 'ionic']).double()
    batch = GraphBatch.from_arrays(prepare(real_crystals[:12], 'force_constants'), torch.float64).cells
    geometry = network.trunk.geometry(batch)
    with torch.no_grad():
        network.springs.vectors.weight.mul_(30)  # the vectors of an untrained network are small
        blocks = network.springs(network.trunk(batch, geometry), batch, geometry)
    assert blocks.abs().max() > 0.1
    for group in batch.groups:
        matrices = blocks[group.blocks]
        torch.testing.assert_close(matrices, matrices.transpose(1, 2).transpose(3, 4))
    share = (blocks - blocks.mT).norm() / blocks.norm()
    assert share > 1e-3 if antisymmetric else share < 1e-12


@pytest.mark.parametrize('power', [0, 3, 6])
def test_the_envelope_ends_smoothly_at_the_cutoff(power):
    lengths = torch.linspace(0, 1.2, 1201, dtype=torch.float64, requires_grad=True)
    values = envelope_of(lengths, power)
    (slopes,) = torch.autograd.grad(values.sum(), lengths, create_graph=True)
    (curvatures,) = torch.autograd.grad(slopes.sum(), lengths)
    assert values[0] == 1
    assert (values.diff() <= 1e-12).all()
    for function in (values, slopes, curvatures):
        assert function[1000:].abs().max() < 1e-10
    assert (values[500] > 0.7) == (power == 6)

"""Prediction in this process."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.core.dielectric.gamma_modes import DIPOLE_STRENGTH
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import read_card
from aiida_goectp.core.learning import predict
from aiida_goectp.core.learning.committee_output import is_diverged
from aiida_goectp.core.learning.errors import DeviceOutOfMemoryError, NoDeviceError
from aiida_goectp.core.learning.predict import Predictor, predict_crystals
from aiida_goectp.core.learning.results import collect
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model, save_model
from aiida_goectp.core.network.preparation import prepare
from tests import tiny


def predicted(crystals, model):
    predictor = Predictor(model)
    return collect(crystals, list(predictor.run(crystals)), model.hash, predictor.settings())


def with_networks(model, *networks):
    return type(model)(model.card, torch.nn.ModuleList(networks), model.hash)


def test_path_and_content_of_a_model_give_the_same_predictions(model):
    crystals = tiny.some_crystals(8)
    done = []
    table = predict_crystals(crystals, model, device='cpu', batch_atoms=10, progress=done.append)
    assert done[-1] == 8
    assert done == sorted(set(done))
    tiny.same(predict_crystals(crystals, model.read_bytes(), device='cpu'), table)
    assert table.model_hash == load_model(model).hash
    assert np.isnan(table.total_std).all()  # a single network has no spread


def test_values_that_are_no_crystals_are_named(model):
    crystals = tiny.some_crystals(2)
    slab = to_ase(crystals[0])
    slab.pbc = False
    with pytest.warns(UserWarning, match='slab: pbc'):
        table = predict_crystals({'slab': slab, 'bulk': crystals[1]}, model, device='cpu')
    assert table.ids.tolist() == ['bulk']


def test_total_is_the_sum_of_physical_parts(model):
    table = predict_crystals(tiny.some_crystals(12), model, device='cpu')
    np.testing.assert_allclose(table.total, table.electronic + table.ionic)
    assert np.linalg.eigvalsh(table.electronic).min() >= 1
    assert np.linalg.eigvalsh(table.ionic).min() >= 0


def test_a_committee_gives_the_mean_and_the_spread_of_its_members(tmp_path):
    crystals = tiny.some_crystals(6)
    committee = tiny.write_model(tmp_path / 'three.safetensors', members=3)
    table = predict_crystals(crystals, committee, device='cpu')
    loaded = load_model(committee)
    members = []
    for network in loaded.networks:
        members.append(predicted(crystals, with_networks(loaded, network)))
    for name in ('electronic', 'ionic', 'total'):
        each = np.stack([getattr(member, name) for member in members])
        np.testing.assert_allclose(getattr(table, name), each.mean(axis=0), rtol=1e-6)
        # deviations of the average, and of the components along the principal axes
        averages = np.trace(each, axis1=2, axis2=3) / 3
        place = ('electronic', 'ionic', 'total').index(name)
        np.testing.assert_allclose(table.average_std[:, place], averages.std(axis=0, ddof=1), atol=1e-6)
        axes = np.linalg.eigh(each.mean(axis=0))[1]
        along = np.einsum('cik,mcij,cjk->mck', axes, each, axes).std(axis=0, ddof=1)
        np.testing.assert_allclose(table.eigenvalues_std[:, place], along, atol=1e-6)
        np.testing.assert_allclose(np.sort(along), np.linalg.eigvalsh(getattr(table, f'{name}_std')), atol=1e-6)
    assert (table.total_std[:, 0, 0] > 1e-4).all()


def test_deviations_rotate_with_the_crystal(tmp_path):
    crystals = tiny.some_crystals(6)
    committee = tiny.write_model(tmp_path / 'three.safetensors', members=3)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    rotated = CrystalSet.from_crystals([crystal._replace(lattice=crystal.lattice @ rotation.T) for crystal in crystals])
    first, second = (predict_crystals(rows, committee, device='cpu') for rows in (crystals, rotated))
    np.testing.assert_allclose(second.total_std, rotation @ first.total_std @ rotation.T, atol=1e-5)
    np.testing.assert_allclose(second.average_std, first.average_std, atol=1e-5)


def test_an_empty_set(model):
    assert len(predict_crystals(CrystalSet.from_crystals([]), model, device='cpu')) == 0


def test_a_missing_model():
    with pytest.raises(FormatError, match='nonesuch'):
        predict_crystals(tiny.some_crystals(1), 'nonesuch', device='cpu')


@pytest.mark.parametrize(('initial', 'limit', 'final'), [(16, 14, 16), (200, 150, 100), (200, 70, 64)])
def test_lack_of_memory_never_makes_batches_larger(model, monkeypatch, initial, limit, final):
    monkeypatch.setenv('GOECTP_TEST_FAULT', f'oom_above={limit}')
    predictor = Predictor(load_model(model), 'cpu', initial)
    batches = list(predictor.run(tiny.some_crystals(40)))
    assert sum(len(batch.rows) for batch in batches) == 40
    assert predictor.batch_atoms <= final


def test_a_model_that_does_not_fit_on_the_device(model, monkeypatch):
    def full(device):
        raise torch.OutOfMemoryError('CUDA out of memory.')

    monkeypatch.setattr(predict, 'default_batch_atoms', full)
    with pytest.raises(DeviceOutOfMemoryError):
        Predictor(load_model(model), 'cpu')


class _Broken(torch.nn.Module):
    """Network that fails with the message of a failing device."""

    def __init__(self, message):
        super().__init__()
        self.message = message

    def evaluate(self, batch, functional=None):
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    ('message', 'error'),
    [
        ('CUDA error: an illegal memory access was encountered', NoDeviceError),
        ('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`', DeviceOutOfMemoryError),
        ('CUDA error: out of memory', DeviceOutOfMemoryError),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", DeviceOutOfMemoryError),
        ('size mismatch', RuntimeError),
    ],
)
def test_errors_of_torch_are_classified(model, message, error):
    predictor = Predictor(with_networks(load_model(model), _Broken(message)))
    with pytest.raises(error) as caught:
        list(predictor.run(tiny.some_crystals(1)))
    assert caught.type is error


def test_tensors_of_a_failed_batch_are_freed_before_the_next_attempt(model):
    """The traceback of the first failure must not keep its tensors on a full device."""
    loaded, seen = load_model(model), []

    class Full(torch.nn.Module):
        def evaluate(self, batch, functional=None):
            assert all(ref() is None for ref in seen), 'a failed batch is still alive'
            if len(seen) < 3:
                seen.append(weakref.ref(batch.lengths))
                raise torch.OutOfMemoryError
            return loaded.members[0].evaluate(batch)

        def __getattr__(self, name):
            return getattr(loaded.members[0], name)

    predictor = Predictor(with_networks(loaded, Full()))
    gc.disable()
    try:
        batches = list(predictor.run(tiny.some_crystals(16)))
    finally:
        gc.enable()
    assert len(seen) == 3
    assert not any(batch.failed for batch in batches)


def test_rows_with_output_that_is_not_finite_fail(model):
    loaded = load_model(model)
    with torch.no_grad():
        loaded.networks[0].head.layers[2].bias[0] = torch.nan
    table = predicted(tiny.some_crystals(2), loaded)
    assert table.failed.all()
    assert np.isnan(table.ionic).all()


@pytest.mark.parametrize('members', [1, 2])
def test_a_crystal_for_which_a_network_diverges_fails(tmp_path, members):
    """The features of a crystal unlike the training set may grow without bound: no number, and no other crystal's."""
    crystals = tiny.some_crystals(8)
    paths = [tiny.write_lattice_model(tmp_path / f'{seed}.safetensors', seed=seed) for seed in range(members)]
    networks = [load_model(path).members[0] for path in paths]
    card = read_card(paths[0]).model_copy(update={'members': members})
    model = LoadedModel(card, torch.nn.ModuleList(networks), '')
    assert not predicted(crystals, model).failed.any()
    with torch.no_grad():
        networks[-1].springs.coefficients[-1].bias += 1e8
    table = predicted(crystals, LoadedModel(card, torch.nn.ModuleList(networks), ''))
    assert all(error.startswith('diverged: ') for error in table.errors)
    assert np.isnan(table.electronic).all()
    assert (table.flags == 0).all()


def test_crystals_in_a_batch_diverge_one_by_one(tmp_path):
    network = load_model(tiny.write_lattice_model(tmp_path / 'm.safetensors')).members[0]
    batch = GraphBatch.from_arrays(prepare(tiny.some_crystals(8), 'force_constants'))
    with torch.no_grad():
        output = network.evaluate(batch)
    assert not is_diverged(batch, [output, output]).any()
    response = output.response
    atom, group = int(np.flatnonzero(batch.cells.atom_cell == 2)[0]), batch.cells.groups[1]
    charges, constants = response.born_charges.clone(), [matrices.clone() for matrices in response.force_constants]
    charges[atom, 0, 1] = 1e4
    constants[1][0, 0, 4] = torch.nan
    electronic = response.electronic.clone()
    electronic[7] *= 1e4
    changed = output._replace(
        response=response._replace(born_charges=charges, force_constants=constants, electronic=electronic)
    )
    found = is_diverged(batch, [output, changed])
    assert set(np.flatnonzero(found).tolist()) == {2, 7, int(group.cells[0])}


def test_the_order_of_members_does_not_matter(tmp_path):
    first, second = (load_model(tiny.write_lattice_model(tmp_path / f'{k}.safetensors', seed=k)) for k in range(2))
    second.members[0].floor = 1.0
    card = first.card.model_copy(update={'members': 2})
    tables = [
        predicted(tiny.some_crystals(8), LoadedModel(card, torch.nn.ModuleList(networks), ''))
        for networks in ([first.members[0], second.members[0]], [second.members[0], first.members[0]])
    ]
    np.testing.assert_allclose(tables[1].ionic, tables[0].ionic, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(tables[1].flags, tables[0].flags)


@pytest.mark.gpu
@pytest.mark.parametrize('kind', ['goectp', 'mixed', 'force_constants'])
def test_a_gpu_gives_the_numbers_of_a_cpu(tmp_path, kind):
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    path = tmp_path / 'model.safetensors'
    if kind == 'mixed':
        tiny.write_mixed_model(path)
    else:
        tiny.write_model(path, preset=kind, members=2)
    crystals = tiny.some_crystals(200)
    on_gpu, on_cpu = (predict_crystals(crystals, path, device=device) for device in ('cuda', 'cpu'))
    tiny.same(on_gpu, on_cpu, 1e-3 if kind == 'force_constants' else 1e-4)


def test_committee_predicts_the_ionic_part_of_its_mean_force_constants(tmp_path):
    """Modes count as in training, by the root of their squared eigenvalue and that of the floor, 0.3 eV/Å²."""
    paths = [tiny.write_lattice_model(tmp_path / f'{seed}.safetensors', seed=seed) for seed in (1, 2)]
    members = [load_model(path) for path in paths]
    card = members[0].card.model_copy(update={'members': 2})
    path = tmp_path / 'both.safetensors'
    save_model(path, [network for model in members for network in model.networks], card)
    crystals = tiny.some_crystals(12)
    predictions = predict_crystals(crystals, path, device='cpu', phonons=True)
    separate = [predict_crystals(crystals, single, device='cpu').ionic for single in paths]
    assert np.abs(predictions.ionic - np.mean(separate, axis=0)).max() > 0.1
    for row in range(len(crystals)):
        cell = predictions.phonons.cell(row, predictions.electronic[row])
        values, vectors = np.linalg.eigh(cell.force_constants.reshape(3 * len(cell.atomic_numbers), -1))
        dipoles = np.einsum('nij,njk->ik', cell.born_charges, vectors.reshape(-1, 3, len(values)))
        expected = DIPOLE_STRENGTH / abs(np.linalg.det(cell.lattice)) * (dipoles / np.hypot(values, 0.3)) @ dipoles.T
        np.testing.assert_allclose(predictions.ionic[row], expected, rtol=2e-4, atol=2e-4)

"""Prediction in this process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.learning.device import MemoryShortage, NoDeviceError
from aiida_goectp.core.learning.predict import Predictor, assemble, cached_model, predict_crystals
from aiida_goectp.core.network.checkpoint import load_model
from tests import tiny


def test_path_and_content_give_the_same_and_stay_loaded(model):
    crystals = tiny.some_crystals(8)
    done = []
    table = predict_crystals(crystals, model, device='cpu', batch_atoms=10, progress=done.append)
    assert done[-1] == 8
    assert done == sorted(set(done))
    tiny.same(predict_crystals(crystals, model.read_bytes(), device='cpu'), table)
    assert cached_model(model, 'cpu') is cached_model(str(model), 'cpu')
    assert cached_model(model.read_bytes(), 'cpu') is cached_model(model.read_bytes(), 'cpu')
    assert table.model_hash == load_model(model).hash
    assert np.isnan(table.total_std).all()  # one network alone knows no spread


def test_the_model_that_was_used_longest_ago_is_forgotten(model, tmp_path):
    first = cached_model(model, 'cpu')
    others = [tiny.write_model(tmp_path / f'{seed}.safetensors', seed=seed) for seed in range(1, 13)]
    for path in others[:11]:
        cached_model(path, 'cpu')
    assert cached_model(model, 'cpu') is first
    for path in others:
        cached_model(path, 'cpu')
    assert cached_model(model, 'cpu') is not first


def test_total_is_the_sum_and_physical(model):
    table = predict_crystals(tiny.some_crystals(12), model, device='cpu')
    np.testing.assert_allclose(table.total, table.electronic + table.ionic)
    assert np.linalg.eigvalsh(table.electronic).min() >= 1
    assert np.linalg.eigvalsh(table.ionic).min() >= 0


def test_a_committee_gives_mean_and_spread(tmp_path):
    crystals = tiny.some_crystals(6)
    committee = tiny.write_model(tmp_path / 'three.safetensors', members=3)
    table = predict_crystals(crystals, committee, device='cpu')
    loaded = load_model(committee)
    members = []
    for network in loaded.networks:
        alone = Predictor(type(loaded)(loaded.card, torch.nn.ModuleList([network]), loaded.hash))
        members.append(assemble(crystals, list(alone.run(crystals)), alone))
    for name in ('electronic', 'ionic', 'total'):
        each = np.stack([getattr(member, name) for member in members])
        np.testing.assert_allclose(getattr(table, name), each.mean(axis=0), rtol=1e-6)
        # the deviations are of the average, and of what stands along the principal axes
        averages = np.trace(each, axis1=2, axis2=3) / 3
        place = ('electronic', 'ionic', 'total').index(name)
        np.testing.assert_allclose(table.average_std[:, place], averages.std(axis=0, ddof=1), atol=1e-6)
        axes = np.linalg.eigh(each.mean(axis=0))[1]
        along = np.einsum('cik,mcij,cjk->mck', axes, each, axes).std(axis=0, ddof=1)
        np.testing.assert_allclose(table.eigenvalues_std[:, place], along, atol=1e-6)
        np.testing.assert_allclose(np.sort(along), np.linalg.eigvalsh(getattr(table, f'{name}_std')), atol=1e-6)
    assert (table.total_std[:, 0, 0] > 1e-4).all()


def test_deviations_turn_with_the_crystal(tmp_path):
    crystals = tiny.some_crystals(6)
    committee = tiny.write_model(tmp_path / 'three.safetensors', members=3)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = CrystalSet.from_crystals([crystal._replace(lattice=crystal.lattice @ turn.T) for crystal in crystals])
    first, second = (predict_crystals(rows, committee, device='cpu') for rows in (crystals, turned))
    np.testing.assert_allclose(second.total_std, turn @ first.total_std @ turn.T, atol=1e-5)
    np.testing.assert_allclose(second.average_std, first.average_std, atol=1e-5)


def test_an_empty_set(model):
    assert len(predict_crystals(CrystalSet.from_crystals([]), model, device='cpu')) == 0


def test_no_model():
    with pytest.raises(FormatError, match='no such model file'):
        predict_crystals(tiny.some_crystals(1), 'nonesuch', device='cpu')


@pytest.mark.parametrize(('asked', 'limit', 'left'), [(16, 14, 16), (200, 150, 100), (200, 70, 64)])
def test_a_shortage_never_makes_batches_larger(model, monkeypatch, asked, limit, left):
    monkeypatch.setenv('GOECTP_TEST_FAULT', f'oom_above={limit}')
    predictor = Predictor(load_model(model), 'cpu', asked)
    chunks = list(predictor.run(tiny.some_crystals(40)))
    assert sum(len(chunk.rows) for chunk in chunks) == 40
    assert predictor.batch_atoms <= left


class _Broken(torch.nn.Module):
    """Stands for a device that fails: what PyTorch says then cannot be provoked without one."""

    def __init__(self, message):
        super().__init__()
        self.message = message

    def features(self, batch, functional=None):
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    ('message', 'error'),
    [
        ('CUDA error: an illegal memory access was encountered', NoDeviceError),
        ('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`', MemoryShortage),
        ('CUDA error: out of memory', MemoryShortage),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", MemoryShortage),
        ('size mismatch', RuntimeError),
    ],
)
def test_what_went_wrong_is_told_apart(model, message, error):
    loaded = load_model(model)
    predictor = Predictor(type(loaded)(loaded.card, torch.nn.ModuleList([_Broken(message)]), loaded.hash))
    with pytest.raises(error) as caught:
        list(predictor.run(tiny.some_crystals(1)))
    assert caught.type is error


def test_nothing_is_held_while_a_smaller_batch_is_tried(model):
    """The traceback of the first failure must not keep its tensors on a device that is full."""
    import gc
    import weakref

    loaded, seen = load_model(model), []

    class Full(torch.nn.Module):
        def features(self, batch, functional=None):
            assert all(ref() is None for ref in seen), 'a batch that failed is still alive'
            if len(seen) < 3:
                seen.append(weakref.ref(batch.lengths))
                raise torch.OutOfMemoryError
            return loaded.members[0].features(batch)

        def __getattr__(self, name):
            return getattr(loaded.members[0], name)

    predictor = Predictor(type(loaded)(loaded.card, torch.nn.ModuleList([Full()]), loaded.hash))
    gc.disable()
    try:
        chunks = list(predictor.run(tiny.some_crystals(16)))
    finally:
        gc.enable()
    assert not any(error for chunk in chunks for error in chunk.errors)


def test_numbers_that_are_not_finite_fail_their_row(model):
    loaded = load_model(model)
    with torch.no_grad():
        loaded.networks[0].head.layers[2].bias[0] = torch.nan
    predictor = Predictor(loaded)
    table = assemble(crystals := tiny.some_crystals(2), list(predictor.run(crystals)), predictor)
    assert set(table.errors) == {'the network gave numbers that are not finite'}
    assert np.isnan(table.ionic).all()


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_a_cpu(model):
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    crystals = tiny.some_crystals(200)
    tiny.same(predict_crystals(crystals, model, device='cuda'), predict_crystals(crystals, model, device='cpu'), 1e-4)

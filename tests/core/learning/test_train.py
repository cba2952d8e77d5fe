"""Training: it learns, and a resumed training gives the weights of an uninterrupted one to the last bit."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning import state as training_state
from aiida_goectp.core.learning import testing_hooks
from aiida_goectp.core.learning.errors import TrainingDiverged, TrainingInputError, TrainingInterrupted
from aiida_goectp.core.learning.settings import PUBLISHED_RECIPE, TrainSettings, settings_like
from aiida_goectp.core.learning.state import TARGETS, batch_bounds, rate_factor
from aiida_goectp.core.learning.train import LabelledGraphs, evaluate, train_committee
from aiida_goectp.core.network import fast, icomformer
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model, save_model
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP, architecture_of
from aiida_goectp.core.network.preparation import prepare
from tests import tiny

SMALL = {
    'options': {'width': 16, 'layers': 2, 'bins': 32},
    'batch_size': 8,
    'learning_rate': 5e-3,
    'ema_decay': 0.9,
}


DEFAULTS = TrainSettings()


def train(*data, **options):
    return train_committee(*data, **options)[0]


class KilledError(Exception):
    pass


def kill_after(epoch):
    """Return a function for ``stop``, which is called when the state of an epoch was written."""
    calls = itertools.count(1)

    def stop():
        if next(calls) == epoch:
            raise KilledError
        return False

    return stop


def weights(network):
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


@pytest.fixture(scope='module')
def data():
    return tiny.some_dataset(20)


@pytest.mark.parametrize(
    ('preset', 'losses', 'errors'),
    [
        ('goectp', [0.25876, 0.078323], [0.27312, 0.55083]),
        ('published', [0.63410, 0.43869], [0.79787, 0.94377]),
        ('descriptors', [0.29074, 0.29557], [0.34049, 0.65080]),
    ],
)
def test_the_version_of_the_state_changes_with_the_formulas(data, preset, losses, errors):
    """The numbers belong to version 1 of the state: with other ones, increase it and set them anew."""
    history, options = [], {'width': 8} if preset == 'descriptors' else SMALL['options']
    settings = TrainSettings(preset=preset, epochs=2, **{**SMALL, 'options': options})
    train(data, data, settings, report=history.append)
    assert training_state._VERSION == 1
    assert [line.loss for line in history] == pytest.approx(losses, rel=1e-3)
    assert [history[-1].validation[name]['mae'] for name in TARGETS] == pytest.approx(errors, rel=1e-3)


def test_training_reduces_loss_and_error(data):
    history = []
    network = train(data, data, TrainSettings(epochs=12, **SMALL), report=history.append)
    assert [line.epoch for line in history] == list(range(1, 13))
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].validation['electronic']['mae'] < 0.5 * history[0].validation['electronic']['mae']
    assert not network.training
    found = evaluate(network, data, DEFAULTS)
    # the reported metrics are those of the returned weights
    assert found['total']['mae'] == pytest.approx(history[-1].validation['total']['mae'], rel=1e-5)
    assert found['ionic']['rows'] == 16
    with torch.no_grad():
        plain = network(GraphBatch.from_arrays(prepare(data.crystals)), plain=True)[:, 0].double().numpy()
    mae = np.abs(plain - data.electronic).mean()
    assert found['electronic']['mae'] == pytest.approx(mae, rel=1e-4)


@pytest.mark.parametrize('epoch', [1, 3])
def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(data, tmp_path, epoch):
    settings, state = TrainSettings(epochs=4, **SMALL), tmp_path / 'state'
    with pytest.raises(KilledError):
        train(data, None, settings, state_file=state, stop=kill_after(epoch))
    lines = []
    torch.rand(7)  # other use of the generator in between
    resumed = train(data, None, settings, state_file=state, report=lines.append)
    assert [line.epoch for line in lines] == list(range(epoch + 1, 5))
    assert torch.equal(weights(resumed), weights(train(data, None, settings)))


def test_equal_seeds_give_equal_weights(data):
    first, again, other = (
        weights(train(data, None, TrainSettings(epochs=1, seed=seed, **SMALL))) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_state_of_another_training_is_refused(data, tmp_path):
    settings, state = TrainSettings(epochs=2, **SMALL), tmp_path / 'state'
    with pytest.raises(KilledError):
        train(data, None, settings, state_file=state, stop=kill_after(1))
    before = state.read_bytes()
    relabelled = Dataset(data.crystals, data.electronic * 1.01, data.ionic)
    others = [
        (data.take(range(1, 20)), settings),
        (tiny.some_dataset(20, seed=1), settings),
        (relabelled, settings),
        (data, settings.model_copy(update={'seed': 1})),
    ]
    for training, other in others:
        with pytest.raises(TrainingInputError, match=str(state)):
            train(training, None, other, state_file=state)
    assert state.read_bytes() == before


@pytest.mark.parametrize('damage', [lambda b: b[:1000], lambda b: b'', lambda b: b'nonsense' * 100])
def test_a_damaged_state_is_refused(data, tmp_path, damage):
    settings, state = TrainSettings(epochs=2, **SMALL), tmp_path / 'state'
    with pytest.raises(KilledError):
        train(data, None, settings, state_file=state, stop=kill_after(1))
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(TrainingInputError, match=str(state)):
        train(data, None, settings, state_file=state)


def test_a_state_with_code_is_refused(data, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ('run',))

    torch.save({'identity': Evil()}, tmp_path / 'state')
    with pytest.raises(TrainingInputError):
        train(data, None, TrainSettings(epochs=1, **SMALL), state_file=tmp_path / 'state')


def test_a_target_without_labels(data):
    unknown = Dataset(data.crystals, data.electronic, np.full_like(data.ionic, np.nan))
    network = train(unknown, unknown, TrainSettings(epochs=2, **SMALL))
    metrics = evaluate(network, unknown, DEFAULTS)
    assert metrics['ionic'] == metrics['total'] == {'rows': 0}
    assert torch.isfinite(weights(network)).all()


def test_divergence_is_an_error(data):
    wild = Dataset(data.crystals, data.electronic * 1e30, data.ionic)
    with pytest.raises(TrainingDiverged):
        train(wild, None, TrainSettings(epochs=3, **{**SMALL, 'learning_rate': 1e30}))


def test_a_batch_that_overflows_changes_nothing(data, monkeypatch):
    """The loss of one batch of an epoch is not finite: the training skips it, says so, and the weights stay finite."""
    factors = itertools.chain([math.nan], itertools.repeat(1.0))
    monkeypatch.setattr(testing_hooks, 'training_loss', lambda loss, epoch: loss * next(factors))
    epochs = []
    network = train(data, data, TrainSettings(epochs=2, **SMALL), report=epochs.append)
    assert [epoch.skipped for epoch in epochs] == [1, 0]
    assert all(math.isfinite(epoch.loss) for epoch in epochs)
    assert torch.isfinite(weights(network)).all()


def test_a_batch_whose_features_overflow_leaves_the_statistics_of_the_others(data, monkeypatch):
    factors, whole = itertools.chain([1.0, math.nan], itertools.repeat(1.0)), LabelledGraphs.batch

    def batch(rows, chosen, device):
        graphs, functional = whole(rows, chosen, device)
        return replace(graphs, reference_lengths=graphs.reference_lengths * next(factors)), functional

    monkeypatch.setattr(LabelledGraphs, 'batch', batch)
    epochs = []
    network = train(data, None, TrainSettings(epochs=1, **SMALL), report=epochs.append)
    assert epochs[0].skipped == 1
    assert torch.isfinite(weights(network)).all()


@pytest.mark.parametrize(('step', 'together'), [(2, 8), (8, 20), (32, 20)])
def test_few_crystals_are_evaluated_at_once_where_a_step_has_few(data, step, together):
    rows = LabelledGraphs.from_dataset(data.take(range(20)), TrainSettings(batch_size=step))
    sizes = [len(graphs.projectors) for graphs, _ in rows.batches('cpu')]
    assert sum(sizes) == 20
    assert max(sizes) <= together
    assert min(sizes) > together / 2


@pytest.mark.parametrize(('rows', 'size'), [(1, 4), (2, 4), (4, 4), (5, 4), (9, 4), (11, 4), (7, 2)])
def test_no_batch_has_a_single_row(rows, size):
    found = batch_bounds(rows, size)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(rows))
    assert min(stop - start for start, stop in found) >= min(rows, 2)


def test_a_committee_is_resumed_in_the_member_that_was_killed(data, tmp_path):
    settings, state = TrainSettings(epochs=2, members=3, **SMALL), tmp_path / 'state'

    def kill(line):
        if (line.member, line.epoch) == (1, 1):
            raise KilledError

    with pytest.raises(KilledError):
        train_committee(data, None, settings, state_file=state, report=kill)
    lines = []
    resumed = train_committee(data, None, settings, state_file=state, report=lines.append)
    # the report of the epoch did not end: it is repeated
    assert [(line.member, line.epoch) for line in lines] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    uninterrupted = train_committee(data, None, settings)
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(resumed, uninterrupted, strict=True))
    # a member equals the result of a separate training with its seed
    assert torch.equal(weights(uninterrupted[2]), weights(train(data, None, TrainSettings(epochs=2, seed=2, **SMALL))))


def test_an_interrupted_training_can_be_resumed(data, tmp_path):
    settings, state = TrainSettings(epochs=3, **SMALL), tmp_path / 'state'
    with pytest.raises(TrainingInterrupted):
        train(data, None, settings, state_file=state, stop=lambda: True)
    assert torch.equal(weights(train(data, None, settings, state_file=state)), weights(train(data, None, settings)))
    # a request after the last epoch has no effect
    train(data, None, TrainSettings(epochs=1, **SMALL), stop=lambda: True)


def test_the_best_epoch_is_kept_and_patience_ends(data):
    high_rate = {**SMALL, 'learning_rate': 0.3, 'schedule': 'constant', 'ema_decay': 0.0}
    lines = []
    settings = TrainSettings(epochs=40, patience=3, keep='best', **high_rate)
    network = train(data.take(range(12)), data.take(range(12, 20)), settings, report=lines.append)
    best = max(line.epoch for line in lines if line.best)
    assert lines[-1].epoch == best + 3 < 40
    found = evaluate(network, data.take(range(12, 20)), DEFAULTS)
    assert found['electronic']['mae'] == pytest.approx(lines[best - 1].validation['electronic']['mae'], rel=1e-4)


def test_fine_tuning_starts_from_the_weights_of_the_model(data, tmp_path):
    first = train(data, None, TrainSettings(epochs=8, **SMALL))
    options = SMALL['options']
    card = ModelCard(
        name='first', preset='goectp', architecture=architecture_of('goectp', options), targets=['electronic', 'ionic']
    )
    save_model(tmp_path / 'first.safetensors', [first], card)
    initial, lines = load_model(tmp_path / 'first.safetensors'), []
    low_rate = TrainSettings(epochs=1, **{**SMALL, 'learning_rate': 1e-6})
    tuned = train(data, data, low_rate, initial=initial, report=lines.append)
    assert lines[0].validation['total']['mae'] == pytest.approx(
        evaluate(first, data, DEFAULTS)['total']['mae'], rel=0.1
    )
    assert not torch.equal(weights(tuned), weights(first))
    with pytest.raises(TrainingInputError, match='width'):
        train(data, None, low_rate.model_copy(update={'options': {**options, 'width': 8}}), initial=initial)


def test_training_in_half_precision(data):
    lines = []
    train(data, data, TrainSettings(epochs=8, precision='bfloat16', **SMALL), report=lines.append)
    assert lines[-1].loss < 0.7 * lines[0].loss


def test_training_in_half_precision_by_the_rules_of_a_gpu(data, monkeypatch):
    """There, autocast evaluates softplus in float32."""
    for module in (fast, icomformer):
        monkeypatch.setattr(module, 'softplus', lambda x: torch.nn.functional.softplus(x.float()))
    lines = []
    train(data, data, TrainSettings(epochs=8, precision='bfloat16', **SMALL), report=lines.append)
    assert lines[-1].loss < lines[0].loss


@pytest.mark.gpu
def test_a_training_that_is_resumed_on_a_gpu_draws_the_dropout_of_an_uninterrupted_one(data, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    settings = TrainSettings(preset='descriptors', options={'dropout': 0.5}, epochs=4, batch_size=8)
    arguments, state = {'device': 'cuda:0'}, tmp_path / 'state'
    with pytest.raises(KilledError):
        train(data, None, settings, **arguments, state_file=state, stop=kill_after(2))
    resumed = train(data, None, settings, **arguments, state_file=state)
    torch.testing.assert_close(
        weights(resumed), weights(train(data, None, settings, **arguments)), rtol=1e-3, atol=1e-4
    )


def test_the_state_has_the_random_numbers_of_the_gpu(monkeypatch, tmp_path):
    device = torch.arange(5, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', lambda name: device)
    monkeypatch.setattr(torch.cuda, 'set_rng_state', lambda state, name: found.append((state.tolist(), name)))
    monkeypatch.setattr(torch.nn.Module, 'to', lambda module, device: module)
    found: list = []
    settings = TrainSettings(preset='descriptors', options={'width': 4})
    for name in ('cpu', 'cuda:1', 'cuda:0', 'cpu'):
        state = training_state.TrainingState(settings, {'identity': '', 'labels': '', 'use': ''}, 8, name)
        state.begin_member(0)
        if (tmp_path / 'state').exists():
            state.restore(tmp_path / 'state')
        state.store(tmp_path / 'state')
    assert found == [(device.tolist(), 'cuda:0')]


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
@pytest.mark.parametrize('preset', ['goectp', 'descriptors', 'force_constants'])
def test_a_gpu_trains_as_a_cpu(data, tmp_path, preset, precision):
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    if (preset, precision) == ('force_constants', 'bfloat16'):
        pytest.skip('needs float32')
    options = {} if preset == 'goectp' else {'dropout': 0.0}  # each device has random numbers of its own
    settings = TrainSettings(preset=preset, options=options, epochs=2, batch_size=8, precision=precision)
    losses = {}
    for device in ('cuda:0', 'cpu'):
        lines, state = [], tmp_path / device
        train(data, data, settings, device=device, report=lines.append, state_file=state)
        train(data, data, settings, device=device, state_file=state)  # of the state of the last epoch
        losses[device] = [line.loss for line in lines]
    assert losses['cuda:0'] == pytest.approx(losses['cpu'], rel=0.01 if precision == 'float32' else 0.2)


def test_the_published_schedule_decreases_linearly_from_the_first_step():
    factor = rate_factor(PUBLISHED_RECIPE, 6400)
    assert factor(0) == 1
    assert factor(10_000) == pytest.approx(0.01 + 0.99 * 0.5)
    assert factor(20_000) == pytest.approx(0.01)


def test_fine_tuning_keeps_head_and_options_of_the_model():
    """They may differ from those that the preset has now."""
    architecture = {**ARCHITECTURES['goectp'], 'head': 'physical', 'options': {'width': 8, 'layers': 1, 'bins': 16}}
    card = ModelCard(name='old', preset='goectp', architecture=architecture, targets=list(TARGETS))
    initial = LoadedModel(card, torch.nn.ModuleList([GoeCTP(architecture, card.targets)]), 'a hash')
    settings = TrainSettings.model_validate(
        settings_like({'epochs': 1, 'batch_size': 4, 'layer_augmentation_copies': 0}, initial.card)
    )
    network = train(tiny.some_dataset(8), None, settings, initial=initial)
    assert network.architecture == initial.card.architecture
    assert network.architecture['head'] == 'physical'

"""Training: it learns, and a broken training ends where an unbroken one does, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.settings import PUBLISHED_RECIPE, TrainSettings, settings_like
from aiida_goectp.core.learning.state import TARGETS, bounds, rate_factor
from aiida_goectp.core.learning.train import Diverged, Interrupted, evaluate, train_committee
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model, save_model
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP, architecture_of
from aiida_goectp.core.network.preparation import prepare
from tests import tiny

SMALL = {
    'options': {'width': 16, 'layers': 2, 'bins': 32},
    'batch_size': 8,
    'learning_rate': 5e-3,
    'average_decay': 0.9,
}


PLAIN = TrainSettings()


def train(*data, **options):
    return train_committee(*data, **options)[0]


class Killed(Exception):
    pass


def kill_after(epoch):
    def report(line):
        if line.epoch == epoch:
            raise Killed

    return report


def weights(network):
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


@pytest.fixture(scope='module')
def data():
    return tiny.some_dataset(20)


def test_it_learns(data):
    history = []
    network = train(data, data, TrainSettings(epochs=12, **SMALL), report=history.append)
    assert [line.epoch for line in history] == list(range(1, 13))
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].validation['electronic']['mae'] < 0.5 * history[0].validation['electronic']['mae']
    assert not network.training
    found = evaluate(network, data, PLAIN)
    # the reported figures are those of the weights that are returned
    assert found['total']['mae'] == pytest.approx(history[-1].validation['total']['mae'], rel=1e-5)
    assert found['ionic']['rows'] == 16
    with torch.no_grad():
        plain = network(GraphBatch.from_arrays(prepare(data.crystals)), plain=True)[:, 0].double().numpy()
    mae = np.abs(plain - data.electronic).mean()
    assert found['electronic']['mae'] == pytest.approx(mae, rel=1e-4)


@pytest.mark.parametrize('epoch', [1, 3])
def test_a_broken_training_gives_the_weights_of_an_unbroken_one(data, tmp_path, epoch):
    settings, state = TrainSettings(epochs=4, **SMALL), tmp_path / 'state'
    with pytest.raises(Killed):
        train(data, None, settings, state_file=state, report=kill_after(epoch))
    lines = []
    torch.rand(7)  # whatever happened in between
    resumed = train(data, None, settings, state_file=state, report=lines.append)
    assert [line.epoch for line in lines] == list(range(epoch + 1, 5))
    assert torch.equal(weights(resumed), weights(train(data, None, settings)))


def test_the_seed_decides(data):
    first, again, other = (
        weights(train(data, None, TrainSettings(epochs=1, seed=seed, **SMALL))) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_state_of_another_training_is_refused(data, tmp_path):
    settings, state = TrainSettings(epochs=2, **SMALL), tmp_path / 'state'
    with pytest.raises(Killed):
        train(data, None, settings, state_file=state, report=kill_after(1))
    before = state.read_bytes()
    relabelled = Dataset(data.crystals, data.electronic * 1.01, data.ionic)
    others = [
        (data.take(range(1, 20)), settings),
        (tiny.some_dataset(20, seed=1), settings),
        (relabelled, settings),
        (data, settings.model_copy(update={'seed': 1})),
    ]
    for training, other in others:
        with pytest.raises(ValueError, match='other data or settings; remove it'):
            train(training, None, other, state_file=state)
    assert state.read_bytes() == before


@pytest.mark.parametrize('damage', [lambda b: b[:1000], lambda b: b'', lambda b: b'nonsense' * 100])
def test_a_state_that_is_none_is_refused(data, tmp_path, damage):
    settings, state = TrainSettings(epochs=2, **SMALL), tmp_path / 'state'
    with pytest.raises(Killed):
        train(data, None, settings, state_file=state, report=kill_after(1))
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(ValueError, match='not the state of a training, or cut off'):
        train(data, None, settings, state_file=state)


def test_a_state_with_code_in_it_is_refused(data, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ('run',))

    torch.save({'identity': Evil()}, tmp_path / 'state')
    with pytest.raises(ValueError, match='not the state of a training'):
        train(data, None, TrainSettings(epochs=1, **SMALL), state_file=tmp_path / 'state')


def test_missing_labels_teach_nothing(data):
    """A target without any label keeps what it gives from changing by more than weight decay and shared layers do."""
    unknown = Dataset(data.crystals, data.electronic, np.full_like(data.ionic, np.nan))
    network = train(unknown, unknown, TrainSettings(epochs=2, **SMALL))
    figures = evaluate(network, unknown, PLAIN)
    assert figures['ionic'] == figures['total'] == {'rows': 0}
    assert torch.isfinite(weights(network)).all()


def test_a_loss_that_explodes_is_told(data):
    wild = Dataset(data.crystals, data.electronic * 1e30, data.ionic)
    with pytest.raises(Diverged, match=r'the loss became .* lower the learning rate'):
        train(wild, None, TrainSettings(epochs=3, **{**SMALL, 'learning_rate': 1e30}))


@pytest.mark.parametrize(('rows', 'size'), [(1, 4), (2, 4), (4, 4), (5, 4), (9, 4), (11, 4), (7, 2)])
def test_no_batch_of_one(rows, size):
    found = bounds(rows, size)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(rows))
    assert min(stop - start for start, stop in found) >= min(rows, 2)


def test_a_committee_goes_on_in_the_member_where_it_was_killed(data, tmp_path):
    settings, state = TrainSettings(epochs=2, members=3, **SMALL), tmp_path / 'state'

    def kill(line):
        if (line.member, line.epoch) == (1, 1):
            raise Killed

    with pytest.raises(Killed):
        train_committee(data, None, settings, state_file=state, report=kill)
    lines = []
    resumed = train_committee(data, None, settings, state_file=state, report=lines.append)
    assert [(line.member, line.epoch) for line in lines] == [(1, 2), (2, 1), (2, 2)]
    unbroken = train_committee(data, None, settings)
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(resumed, unbroken, strict=True))
    # a member is what a training of its own with its seed would give
    assert torch.equal(weights(unbroken[2]), weights(train(data, None, TrainSettings(epochs=2, seed=2, **SMALL))))


def test_asked_to_stop_it_keeps_everything(data, tmp_path):
    settings, state = TrainSettings(epochs=3, **SMALL), tmp_path / 'state'
    with pytest.raises(Interrupted, match='after epoch 1 of 3'):
        train(data, None, settings, state_file=state, stop=lambda: True)
    assert torch.equal(weights(train(data, None, settings, state_file=state)), weights(train(data, None, settings)))
    # a wish that comes with the last epoch changes nothing
    train(data, None, TrainSettings(epochs=1, **SMALL), stop=lambda: True)


def test_the_best_epoch_is_kept_and_patience_ends(data):
    rough = {**SMALL, 'learning_rate': 0.3, 'schedule': 'constant', 'average_decay': 0.0}
    lines = []
    settings = TrainSettings(epochs=40, patience=3, keep='best', **rough)
    network = train(data.take(range(12)), data.take(range(12, 20)), settings, report=lines.append)
    best = max(line.epoch for line in lines if line.best)
    assert lines[-1].epoch == best + 3 < 40
    found = evaluate(network, data.take(range(12, 20)), PLAIN)
    assert found['electronic']['mae'] == pytest.approx(lines[best - 1].validation['electronic']['mae'], rel=1e-4)


def test_fine_tuning_begins_where_the_model_ended(data, tmp_path):
    first = train(data, None, TrainSettings(epochs=8, **SMALL))
    options = SMALL['options']
    card = ModelCard(
        name='first', preset='goectp', architecture=architecture_of('goectp', options), targets=['electronic', 'ionic']
    )
    save_model(tmp_path / 'first.safetensors', [first], card)
    initial, lines = load_model(tmp_path / 'first.safetensors'), []
    gentle = TrainSettings(epochs=1, **{**SMALL, 'learning_rate': 1e-6})
    tuned = train(data, data, gentle, initial=initial, report=lines.append)
    assert lines[0].validation['total']['mae'] == pytest.approx(evaluate(first, data, PLAIN)['total']['mae'], rel=0.1)
    assert not torch.equal(weights(tuned), weights(first))
    with pytest.raises(ValueError, match='another architecture'):
        train(data, None, gentle.model_copy(update={'options': {**options, 'width': 8}}), initial=initial)


def test_half_precision_learns_too(data):
    lines = []
    train(data, data, TrainSettings(epochs=8, precision='bfloat16', **SMALL), report=lines.append)
    assert lines[-1].loss < 0.7 * lines[0].loss


def test_the_published_schedule_falls_in_a_line_from_the_first_step():
    factor = rate_factor(PUBLISHED_RECIPE, 6400)
    assert factor(0) == 1
    assert factor(10_000) == pytest.approx(0.01 + 0.99 * 0.5)
    assert factor(20_000) == pytest.approx(0.01)


def test_a_model_keeps_its_own_network_when_it_is_tuned():
    """Presets move on; what began with another head and other options goes on with them."""
    architecture = {**ARCHITECTURES['goectp'], 'head': 'physical', 'options': {'width': 8, 'layers': 1, 'bins': 16}}
    card = ModelCard(name='old', preset='goectp', architecture=architecture, targets=list(TARGETS))
    initial = LoadedModel(card, torch.nn.ModuleList([GoeCTP(architecture, card.targets)]), 'a hash')
    settings = TrainSettings.model_validate(settings_like({'epochs': 1, 'batch_size': 4, 'stretches': 0}, initial.card))
    network = train(tiny.some_dataset(8), None, settings, initial=initial)
    assert network.architecture == initial.card.architecture
    assert network.architecture['head'] == 'physical'

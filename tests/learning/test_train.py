"""Training: it learns, and a broken training ends where an unbroken one does, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_goectp.dataset import Dataset
from aiida_goectp.learning.train import TrainSettings, _bounds, evaluate, train
from aiida_goectp.network.batch import GraphBatch
from aiida_goectp.network.preparation import prepare
from tests import tiny

SMALL = {
    'options': {'width': 16, 'layers': 2, 'bins': 32},
    'batch_size': 8,
    'learning_rate': 5e-3,
    'average_decay': 0.9,
}


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
    found = evaluate(network, data, 'goectp')
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
    figures = evaluate(network, unknown, 'goectp')
    assert figures['ionic'] == figures['total'] == {'rows': 0}
    assert torch.isfinite(weights(network)).all()


def test_a_loss_that_explodes_is_told(data):
    wild = Dataset(data.crystals, data.electronic * 1e30, data.ionic)
    with pytest.raises(ValueError, match=r'the loss became .* lower the learning rate'):
        train(wild, None, TrainSettings(epochs=3, **{**SMALL, 'learning_rate': 1e30}))


@pytest.mark.parametrize(('rows', 'size'), [(1, 4), (2, 4), (4, 4), (5, 4), (9, 4), (11, 4), (7, 2)])
def test_no_batch_of_one(rows, size):
    bounds = _bounds(rows, size)
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(rows))
    assert min(stop - start for start, stop in bounds) >= min(rows, 2)

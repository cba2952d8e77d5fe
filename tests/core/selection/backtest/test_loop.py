"""A campaign on hidden labels."""

from __future__ import annotations

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.backtest import Campaign, make_hidden_pool, make_search_task
from aiida_goectp.core.selection.backtest.loop import Pruned, RoundRecord, first_model

from .toy import ROWS, LinearModel, toy_dataset, toy_settings


def campaign(model=None, acquisition='greedy', rows=ROWS, copies=0, **values):
    settings, model = toy_settings(**values), model or LinearModel()
    task = make_search_task(make_hidden_pool(toy_dataset(rows, copies), settings), settings, 0)
    return Campaign(task, model, settings, acquisition, 0, first_model(task, model, settings, 0))


def run_to_end(search):
    records = [search.state()]
    while isinstance(last := search.advance(), RoundRecord):
        records.append(last)
    return records, last


def test_budget_is_spent_in_batches():
    search = campaign(budget=20)
    records, stop = run_to_end(search)
    assert [record.labels for record in records] == [0, 8, 16, 20]
    assert stop.rule == 'max_calculations'
    names = [item.id for record in records[1:] for item in record.round.picks]
    assert len(set(names)) == 20
    assert not set(names) & set(search.task.start.crystals.ids.tolist())


def test_greedy_finds_more_than_random():
    greedy, random = (run_to_end(campaign(acquisition=name))[0] for name in ('greedy', 'random'))
    assert greedy[0].found == random[0].found == 0
    assert greedy[-1].found >= 8 > random[-1].found
    assert [record.found for record in greedy] == sorted(record.found for record in greedy)


def test_values_of_picks_are_the_hidden_labels():
    records, _ = run_to_end(campaign())
    search = campaign()
    values = dict(zip(search.task.pool.ids.tolist(), search.task.hidden.total[:, 0, 0].tolist(), strict=True))
    for item in records[1].round.picks:
        assert item.value == pytest.approx(values[item.id])
        assert item.outcome == 'accepted'


def test_labels_are_added_to_the_training_part_only():
    search = campaign()
    before = search.dataset.splits['campaign'].tolist()
    run_to_end(search)
    assert search.dataset.splits['campaign'].tolist()[: len(before)] == before
    assert set(search.dataset.splits['campaign'].tolist()[len(before) :]) <= {'train', ''}
    assert len(search.dataset) == 30 + 32


def test_retraining_is_recorded():
    records, _ = run_to_end(campaign())
    first = records[1].round
    assert first.retrained
    worse = [first.metrics[f'{name}: new'] > first.metrics[f'{name}: allowed'] for name in ('hold-out', 'new labels')]
    assert first.adopted == (not any(worse))
    assert first.new_model_hash
    assert first.metrics['new labels: rows'] == 8


def test_worse_model_is_not_adopted():
    search = campaign(LinearModel(backwards=True))
    start = search.model
    records, _ = run_to_end(search)
    assert all(record.round.retrained and not record.round.adopted for record in records[1:])
    assert search.model == start
    metrics = records[1].round.metrics
    assert metrics['hold-out: new'] > metrics['hold-out: allowed']


def test_failed_training_keeps_the_old_model():
    records, stop = run_to_end(campaign(LinearModel(fail=True)))
    assert stop.rule == 'max_calculations'
    assert '(the loss became nan)' in records[1].round.retraining_reason
    assert not records[1].round.adopted


def test_policy_determines_the_retrainings():
    model = LinearModel()
    records, _ = run_to_end(campaign(model, policy={'folds': 2, 'every_rounds': 2}))
    assert [record.round.retrained for record in records[1:]] == [False, True, False, True]
    assert model.trained == 1 + 2


def test_copy_of_a_verified_crystal_is_found_without_being_picked():
    search = campaign(rows=70, copies=30, budget=30, batch_size=15)
    records, _ = run_to_end(search)
    start = set(search.task.start.crystals.ids.tolist())
    picked = {item.id for record in records[1:] for item in record.round.picks}
    assert len(picked) == records[-1].labels
    for name in picked:
        twin = name.replace('copy', 't') if 'copy' in name else name.replace('t', 'copy')
        assert twin not in picked | start
    target = search.task.pool.ids[search.task.target]
    assert records[-1].found >= sum(name in picked for name in target.tolist())


@pytest.mark.parametrize('pruning', [None, {'margin': 1.5, 'every': 3}])
def test_resumed_campaign_equals_an_uninterrupted_one(pruning):
    options = {'acquisition': 'upper_confidence_bound', 'pruning': pruning, 'batch_size': 4}
    whole, _ = run_to_end(campaign(**options))
    for rounds in range(len(whole)):
        first = campaign(**options)
        for _ in range(rounds):
            first.advance()
        second = campaign(**options)
        second.resume(whole[: rounds + 1], first.model)
        assert second.trained_rows == first.trained_rows
        records, _ = run_to_end(second)
        assert records == whole[rounds:]


def test_rounds_of_another_pool_are_refused():
    records, _ = run_to_end(campaign())
    other = campaign()
    picks = (records[1].round.picks[0].model_copy(update={'hash': 'nothing'}),)
    with pytest.raises(FormatError, match='nothing'):
        other.resume([records[1]._replace(round=records[1].round.model_copy(update={'picks': picks}))], other.model)


def test_a_pruned_pool_is_predicted_whole_by_the_first_of_each_number_of_models():
    policy = {'folds': 2, 'tolerance': 1e3}  # each new model is adopted
    search = campaign(pruning={'margin': 1.0, 'every': 2}, batch_size=4, budget=24, policy=policy)
    predicted = []
    whole = search.surrogate.predict

    def counting(model, crystals):
        if len(crystals) and set(crystals.ids.tolist()) <= set(search.task.pool.ids.tolist()):
            predicted.append(len(crystals))
        return whole(model, crystals)

    search.surrogate.predict = counting
    records, _ = run_to_end(search)
    assert all(record.round.adopted for record in records[1:-1])
    pool = len(search.task.pool)
    counts = [count for count in predicted if count > 8]  # without the errors of new labels
    assert counts[::2] == [pool] * 3
    assert all(16 <= count < pool / 2 for count in counts[1::2])
    assert records[-1].predicted == sum(counts)


@pytest.mark.parametrize('left', [0, 1, 4])
def test_a_batch_of_a_pruned_pool_that_is_not_full_is_picked_from_all_crystals(left):
    options = {'batch_size': 4, 'budget': 8, 'policy': {'folds': 2, 'every_rounds': None}}
    full, search = campaign(**options), campaign(**options, pruning={'every': 3})
    names = search.task.pool.hashes.tolist()
    verified = names.index(search.advance().round.picks[0].hash)
    full.advance()
    expected = [item.hash for item in full.advance().round.picks]
    rows = [verified, *(names.index(name) for name in expected[:left])]
    search.pruned, search.predicted = Pruned(2, rows), 0
    record = search.advance()
    assert [item.hash for item in record.round.picks] == expected
    if left == 4:
        assert (record.predicted, record.pruned) == (5, Pruned(2, rows, True))
    else:
        assert (record.predicted, record.pruned) == (len(rows) + len(names), Pruned(predicted=True))


def test_a_wide_margin_changes_no_pick():
    wide, all_ = (run_to_end(campaign(pruning=item, batch_size=4))[0] for item in ({'margin': 1000.0}, None))
    assert [record.round for record in wide] == [record.round for record in all_]

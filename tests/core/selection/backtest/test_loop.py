"""One campaign on hidden labels."""

from __future__ import annotations

import pytest

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.backtest import Campaign, make_hidden_pool, make_search_task
from aiida_goectp.core.selection.backtest.loop import RoundRecord, first_model

from .toy import ROWS, LinearModel, toy_dataset, toy_settings


def campaign(model=None, acquisition='greedy', rows=ROWS, copies=0, **values):
    settings, model = toy_settings(**values), model or LinearModel()
    task = make_search_task(make_hidden_pool(toy_dataset(rows, copies), settings), settings, 0)
    return Campaign(task, model, settings, acquisition, 0, first_model(task, model, settings, 0))


def play(made):
    lines = [made.state()]
    while isinstance(done := made.advance(), RoundRecord):
        lines.append(done)
    return lines, done


def test_it_buys_the_budget_in_batches_and_stops():
    made = campaign(budget=20)
    lines, stop = play(made)
    assert [line.labels for line in lines] == [0, 8, 16, 20]
    assert stop.rule == 'max_calculations'
    names = [item.id for line in lines[1:] for item in line.round.picks]
    assert len(set(names)) == 20
    assert not set(names) & set(made.task.start.crystals.ids.tolist())


def test_a_model_that_knows_finds_more_than_chance():
    greedy, random = (play(campaign(acquisition=name))[0] for name in ('greedy', 'random'))
    assert greedy[0].found == random[0].found == 0
    assert greedy[-1].found >= 8 > random[-1].found
    assert [line.found for line in greedy] == sorted(line.found for line in greedy)


def test_values_of_picks_are_the_hidden_labels():
    lines, _ = play(campaign())
    made = campaign()
    values = dict(zip(made.task.pool.ids.tolist(), made.task.hidden.total[:, 0, 0].tolist(), strict=True))
    for item in lines[1].round.picks:
        assert item.value == pytest.approx(values[item.id])
        assert item.outcome == 'accepted'


def test_labels_are_learnt_from_but_the_hold_out_never_grows():
    made = campaign()
    before = made.dataset.splits['campaign'].tolist()
    play(made)
    assert made.dataset.splits['campaign'].tolist()[: len(before)] == before
    assert set(made.dataset.splits['campaign'].tolist()[len(before) :]) <= {'train', ''}
    assert len(made.dataset) == 30 + 32


def test_a_better_model_is_adopted_and_says_why():
    lines, _ = play(campaign())
    first = lines[1].round
    assert first.retrained
    assert first.adopted == ('replaces' in first.retraining_reason)
    assert first.metrics['new labels: rows'] == 8


def test_a_worse_model_is_not_adopted():
    made = campaign(LinearModel(backwards=True))
    begun = made.model
    lines, _ = play(made)
    assert all(line.round.retrained and not line.round.adopted for line in lines[1:])
    assert made.model == begun
    assert 'worse on the hold-out' in lines[1].round.retraining_reason


def test_a_training_that_fails_keeps_the_old_model_and_says_so():
    lines, stop = play(campaign(LinearModel(fail=True)))
    assert stop.rule == 'max_calculations'
    assert 'the retraining failed (the loss became nan)' in lines[1].round.retraining_reason
    assert not lines[1].round.adopted


def test_the_policy_says_when_to_retrain():
    model = LinearModel()
    lines, _ = play(campaign(model, policy={'folds': 2, 'every_rounds': 2}))
    assert [line.round.retrained for line in lines[1:]] == [False, True, False, True]
    assert model.trained == 1 + 2


def test_a_copy_of_a_verified_crystal_is_not_bought_but_found():
    made = campaign(rows=70, copies=30, budget=30, batch_size=15)
    lines, _ = play(made)
    begun = set(made.task.start.crystals.ids.tolist())
    picked = {item.id for line in lines[1:] for item in line.round.picks}
    assert len(picked) == lines[-1].labels
    for name in picked:
        twin = name.replace('copy', 't') if 'copy' in name else name.replace('t', 'copy')
        assert twin not in picked | begun
    bought = made.task.pool.ids[made.task.target]
    assert lines[-1].found >= sum(name in picked for name in bought.tolist())


def test_resumed_after_any_round_it_goes_on_as_if_nothing_had_happened():
    whole, _ = play(campaign(acquisition='upper_confidence_bound'))
    for rounds in range(len(whole)):
        first = campaign(acquisition='upper_confidence_bound')
        for _ in range(rounds):
            first.advance()
        second = campaign(acquisition='upper_confidence_bound')
        second.resume([line.round for line in whole[1 : rounds + 1]], first.model)
        assert second.seen == first.seen
        lines, _ = play(second)
        assert lines == whole[rounds:]


def test_rounds_of_another_backtest_are_refused():
    lines, _ = play(campaign())
    other = campaign()
    picks = (lines[1].round.picks[0].model_copy(update={'hash': 'nothing'}),)
    with pytest.raises(FormatError, match='1 picks are not in the pool'):
        other.resume([lines[1].round.model_copy(update={'picks': picks})], other.model)

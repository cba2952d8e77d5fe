"""A campaign that prunes its pool, with real predictions and trainings."""

import pytest
from aiida.engine import run_get_node

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.core.dielectric.alignment import NOT_PREDICTED_AGAIN
from aiida_goectp.workflows.submit_once import called_by_label
from tests import tiny
from tests.workflows.campaign import searching


def run_pruned(code, every, pool=None, **overrides):
    """Run a campaign that prunes its pool and adopts each new model; return outputs and called processes."""
    tiny.one_thread()
    settings = {
        'retraining': {'mode': 'fine-tune', 'tolerance': 1e3},
        'picking': {'pruning': {'margin': 0.01, 'every': every}},
        **overrides,
    }
    arguments = {} if pool is None else {'pool': pool}
    results, node = run_get_node(searching.campaign(code, **arguments, overrides=settings))
    assert node.is_finished_ok, (node.exit_message, node.exception)
    return results, called_by_label(node)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # of a busy machine
def test_the_second_model_predicts_what_the_first_did_not_rule_out(code):
    results, calls = run_pruned(code, every=2)
    predicted = [name for name in calls if '_predict' in name]
    assert predicted == ['round_01_predict', 'round_02_predict_again', 'round_03_predict']

    # 12 crystals, 2 of them known; two rounds of two picks, twice, set the bound
    pruned = calls['round_02_prune'].outputs.result
    history = read_history(results['history'])
    first, second = ({item.hash for item in one.picks} for one in history.rounds)
    left = set(pruned.crystals.hashes.tolist())
    assert second <= left
    assert not first & left
    assert 8 <= len(left) < 10
    assert calls['round_02_predict_again'].inputs.goectp.crystals.uuid == pruned.uuid
    filled = calls['round_02_fill'].outputs.result.predictions
    assert set(filled.hashes[filled.errors == NOT_PREDICTED_AGAIN].tolist()).isdisjoint(left)
    assert len(filled) == 12
    assert history.rounds[1].model_hash == filled.model_hash == history.rounds[0].new_model_hash

    # the final ranking is that of all crystals, prepared once
    assert calls['rank_verified'].inputs.predictions.uuid == calls['round_03_predict'].outputs.predictions.uuid
    kept = calls['round_01_predict'].outputs.prepared
    assert calls['round_03_predict'].inputs.goectp.prepared.uuid == kept.uuid
    assert results['ranking'].base.attributes.get('ranked') == 12


@pytest.mark.slow
@pytest.mark.timeout(1200)  # of a busy machine
def test_all_crystals_are_predicted_if_the_pruned_pool_has_too_few_candidates(code):
    results, calls = run_pruned(code, every=3, pool=searching.some_pool(5), stop_rules={'max_rounds': 3})
    chosen = [name for name in calls if '_pick' in name or '_predict' in name]
    assert chosen[:4] == ['round_01_predict', 'round_01_pick', 'round_02_predict_again', 'round_02_pick']
    assert chosen[4:8] == ['round_03_predict_again', 'round_03_pick', 'round_03_predict', 'round_03_pick_again']
    candidates = [calls[f'round_03_{name}'].outputs.picks.picks.candidates for name in ('pick', 'pick_again')]
    assert candidates == [1, 1]
    history = read_history(results['history'])
    assert [len(item.picks) for item in history.rounds] == [2, 2, 1]
    assert results['picks']['round_03'].uuid == calls['round_03_pick_again'].outputs.picks.uuid

"""State of a campaign that was killed or whose engine lacks a resource, and its extension."""

from __future__ import annotations

from typing import ClassVar

import pytest
from aiida.engine import run_get_node
from aiida.manage import get_manager
from plumpy import KilledError

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.cli.campaign.extend import Changes, extension_builder
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.campaign.state import campaign_state, last_history
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from aiida_goectp.workflows.failures import MissingResourceError
from aiida_goectp.workflows.submit_once import called_by_label
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import NAME, TableDfptWorkChain


class KillingEngine(TableDfptWorkChain):
    """Engine that kills its campaign in the second round."""

    campaign: ClassVar[ActiveLearningWorkChain]

    def setup(self):
        super().setup()
        if last_history(self.campaign.node).rounds and not self.campaign.has_terminated():
            self.campaign.kill('killed by hand')


@pytest.mark.slow
def test_a_killed_campaign_is_extended(code):
    """Its model, labels, history and predictions are kept, although a killed process has no outputs."""
    builder = searching.campaign(code)
    builder.engine = f'{__name__}:KillingEngine'
    runner = get_manager().get_runner()
    KillingEngine.campaign = runner.instantiate_process(builder)
    with pytest.raises(KilledError):
        KillingEngine.campaign.execute()
    node = KillingEngine.campaign.node
    assert node.is_killed
    assert not {'model', 'dataset', 'history'} & set(node.outputs)
    state = campaign_state(node)
    history = read_history(state['history'])
    assert history == last_history(node)
    assert [[pick.outcome for pick in item.picks] for item in history.rounds] == [['accepted'] * 2]
    assert len(state['dataset'].dataset) == len(builder.dataset.dataset) + 2
    calls, adopted = called_by_label(node), history.rounds[0].adopted
    assert state['model'].uuid == calls['round_01_retrain' if adopted else 'round_00_retrain'].outputs.model.uuid

    extended = extension_builder(node, Changes())
    predicted = calls['round_02_predict' if adopted else 'round_01_predict']
    assert extended.predictions.uuid == predicted.outputs.predictions.uuid
    extended.engine = NAME
    results, later = run_get_node(extended)
    assert later.is_finished_ok, later.exit_message
    first, second = read_history(results['history']).rounds
    assert first == history.rounds[0]
    assert [pick.outcome for pick in second.picks] == ['accepted'] * 2
    assert len(results['dataset'].dataset) == len(builder.dataset.dataset) + 4
    assert 'round_01_verify' not in called_by_label(later)


class LackingEngine(TableDfptWorkChain):
    """Engine whose potentials have been removed."""

    @classmethod
    def get_builder_from_protocol(cls, structure, **arguments):
        raise MissingResourceError('no such family')


def test_a_missing_resource_stops_the_campaign_and_fails_no_crystal(
    aiida_profile, aiida_code_installed, write_model, predict_by_hand
):
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    pool, model = searching.some_pool(), ModelData.get_or_create(write_model('lacking'))
    predictions = PredictionsData(predict_by_hand(pool.crystals, model.content_hash)).store()
    builder = searching.campaign(code, model, pool=pool, predictions=predictions, retrain=False)
    builder.engine = f'{__name__}:LackingEngine'
    results, node = run_get_node(builder)
    assert node.exit_status == 454
    assert 'no such family' in node.exit_message
    (one,) = read_history(results['history']).rounds
    assert [(pick.outcome, pick.inconclusive, pick.submitted) for pick in one.picks] == [
        ('unfinished', True, False)
    ] * 2

    extended = extension_builder(node, Changes())
    extended.engine = NAME
    results, node = run_get_node(extended)
    assert node.is_finished_ok, node.exit_message
    second = read_history(results['history']).rounds[1]
    assert [(pick.id, pick.outcome) for pick in second.picks] == [(pick.id, 'accepted') for pick in one.picks]

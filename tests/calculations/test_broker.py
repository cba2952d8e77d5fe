"""Processes that are loaded while the connection to the broker is closed."""

import kiwipy
import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_goectp.calculations.predict import PredictCalculation
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.predict import PredictWorkChain


class Communicator:
    """Communicator whose subscriptions raise an exception."""

    def __init__(self, error):
        self.error, self.subscriptions = error, []

    def subscribe(self, subscriber, identifier=None):
        self.subscriptions.append(identifier)
        raise self.error

    add_rpc_subscriber = add_broadcast_subscriber = subscribe


@pytest.fixture(params=[PredictWorkChain, PredictCalculation])
def process(request, aiida_profile, aiida_code_installed, crystals, write_model):
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    model = ModelData.get_or_create(write_model())
    inputs = PredictWorkChain.get_builder_from_protocol(code, crystals, model)._inputs(prune=True)
    if request.param is PredictCalculation:
        inputs = inputs['goectp']
    return instantiate_process(get_manager().get_runner(), request.param, **inputs)


def test_a_process_is_loaded_while_the_connection_is_closed(process, monkeypatch):
    error = RuntimeError('Connection was not opened')
    communicator = Communicator(error)
    monkeypatch.setattr(process, '_communicator', communicator)
    process._called = 1
    process.init()
    assert communicator.subscriptions == [str(process.pid)] * 2
    assert process._communicator is communicator
    assert len(orm.Log.collection.get_logs_for(process.node)) == 2


def test_a_process_that_this_worker_runs_already_is_not_loaded_again(process, monkeypatch):
    monkeypatch.setattr(process, '_communicator', Communicator(kiwipy.DuplicateSubscriberIdentifier('1')))
    process._called = 1
    with pytest.raises(kiwipy.DuplicateSubscriberIdentifier):
        process.init()

"""Processes that run while the connection to the broker is closed."""

import kiwipy
import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_goectp.calculations import broker
from aiida_goectp.calculations.predict import PredictCalculation
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.predict import PredictWorkChain


class Communicator:
    """Communicator of a closed connection, on which each call raises an exception."""

    def __init__(self, error):
        self.error, self.calls = error, []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append(name)
            raise self.error

        return call


@pytest.fixture(params=[PredictWorkChain, PredictCalculation])
def process(request, aiida_profile, aiida_code_installed, crystals, write_model):
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    model = ModelData.get_or_create(write_model())
    inputs = PredictWorkChain.get_builder_from_protocol(code, crystals, model)._inputs(prune=True)
    if request.param is PredictCalculation:
        inputs = inputs['goectp']
    return instantiate_process(get_manager().get_runner(), request.param, **inputs)


def initialise(process):
    """Initialise a process, as after it is created or loaded."""
    process._called = 1
    process.init()


def test_a_process_runs_while_the_connection_is_closed(process):
    process._communicator = Communicator(RuntimeError('Connection was not opened'))
    initialise(process)
    process.on_entered(None)  # a change of its state
    assert process._communicator.calls == ['add_rpc_subscriber', 'add_broadcast_subscriber', 'broadcast_send']
    assert len(orm.Log.collection.get_logs_for(process.node)) == 3


def test_a_process_that_this_worker_runs_already_is_not_loaded_again(process):
    process._communicator = Communicator(kiwipy.DuplicateSubscriberIdentifier('1'))
    with pytest.raises(kiwipy.DuplicateSubscriberIdentifier):
        initialise(process)


def test_a_process_without_a_subscription_is_not_loaded_again_while_it_runs(process):
    """RabbitMQ sends its task once more when the connection is back."""
    process._communicator = Communicator(RuntimeError('Connection was not opened'))
    initialise(process)
    with pytest.raises(kiwipy.DuplicateSubscriberIdentifier):
        initialise(process)
    assert str(process.pid) in broker._unsubscribed
    process.close()
    assert str(process.pid) not in broker._unsubscribed


def test_without_a_broker(process):
    process._communicator = None
    assert process._communicator is None
    initialise(process)

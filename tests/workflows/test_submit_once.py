"""Steps that are executed twice, as after the death of a daemon worker, call each process once."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import kiwipy
import pytest
from aiida import orm
from aiida.engine import Process, ProcessState, ToContext, WorkChain, append_, calcfunction, while_
from aiida.engine.processes.functions import FunctionProcess
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.orm.utils.serialize import deserialize_unsafe, serialize

from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows import aiida_private
from aiida_goectp.workflows.committee import TrainCommitteeWorkChain
from aiida_goectp.workflows.evaluate import EvaluateWorkChain
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.screen import ScreenWorkChain
from aiida_goectp.workflows.submit_once import CalledOnceMixin, SubmitOnceMixin, called_by_label
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests import tiny
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import NAME, ReadTable


@calcfunction
def negate(number):
    if number.value == 0:
        raise ValueError('zero')
    return orm.Int(-number.value)


class PluginWorkChain(WorkChain):
    """Work chain of another package, whose steps know nothing of repetition."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.outline(while_(cls.more)(cls.run_next))

    def more(self):
        return True

    def run_next(self):
        self.ctx.iteration = self.ctx.get('iteration', 0) + 1
        structure = orm.load_node(label='structure')
        metadata = {'call_link_label': f'iteration_{self.ctx.iteration:02d}'}
        node = self.submit(ReadTable, structure=structure, table=orm.Dict({}), metadata=metadata)
        return ToContext(children=append_(node))


class ProtectedWorkChain(CalledOnceMixin, PluginWorkChain):
    """The same, protected as those of aiida-vasp and aiida-quantumespresso."""


class CallingWorkChain(SubmitOnceMixin):
    """Work chain whose steps are called by the tests."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.outline(cls.call)

    def call(self):
        return None


@pytest.fixture(autouse=True)
def processes_that_stay_created(monkeypatch):
    """Let no submitted process run; calcfunctions do."""
    run = Process.step_until_terminated

    async def run_functions(process):
        if isinstance(process, FunctionProcess):
            await run(process)

    monkeypatch.setattr(Process, 'step_until_terminated', run_functions)


@pytest.fixture
def instantiate(aiida_profile):
    """Return a function that instantiates a process and makes it the caller of what is submitted."""
    with ExitStack() as stack:

        def make(process, **inputs):
            made = instantiate_process(get_manager().get_runner(), process, **inputs)
            stack.enter_context(made._process_scope())
            return made

        yield make


def execute_twice(process, step):
    """Execute a step as two workers do of which the first one dies within it; both begin with the saved context."""
    saved = serialize(process.ctx)
    getattr(process, step)()
    first = {label: node.pk for label, node in called_by_label(process.node).items()}
    process._context = deserialize_unsafe(saved)
    getattr(process, step)()
    assert {label: node.pk for label, node in called_by_label(process.node).items()} == first
    assert len(process.node.called) == len(first)
    return first.keys()


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true')


@pytest.fixture
def chain(instantiate):
    return instantiate(CallingWorkChain)


def test_submit_once(chain, crystals):
    inputs = {'structure': crystals.structure(0), 'table': orm.Dict({})}
    first = chain.submit_once('first', ReadTable, inputs)
    assert chain.submit_once('first', ReadTable, inputs).pk == first.pk
    second = chain.submit_once('second', ReadTable, inputs)
    assert called_by_label(chain.node).keys() == {'first', 'second'}
    assert {node.pk for node in chain.node.called} == {first.pk, second.pk}
    assert 'metadata' not in inputs


def test_steps_of_another_package(instantiate, crystals):
    structure = crystals.structure(0)
    structure.label = 'structure'
    structure.store()
    process = instantiate(ProtectedWorkChain)
    assert execute_twice(process, 'run_next') == {'iteration_01'}
    process.ctx.children = process.node.called
    assert execute_twice(process, 'run_next') == {'iteration_01', 'iteration_02'}
    # labels begin anew after a pause
    process.ctx.children, process.ctx.iteration = sorted(process.node.called, key=lambda node: node.pk), 0
    process.run_next()
    assert len(process.node.called) == 3
    assert len(process.find_calls('iteration_01')) == 2


def test_a_process_that_was_stored_and_not_saved_is_not_waited_for(chain, crystals, monkeypatch):
    inputs = {'structure': crystals.structure(0), 'table': orm.Dict({})}
    dead = chain.submit_once('child', ReadTable, inputs)
    assert chain.submit_once('child', ReadTable, inputs).pk == dead.pk
    dead.delete_checkpoint()
    monkeypatch.setattr(chain.runner, '_broker_submit', True)
    assert chain.find_calls('child') == []
    dead.set_process_state(ProcessState.FINISHED)
    assert [node.pk for node in chain.find_calls('child')] == [dead.pk]


class Broker:
    """Message broker that refuses tasks a number of times."""

    def __init__(self, refusals):
        self.refusals, self.tasks, self.error = refusals, [], ConnectionError('closed')

    def continue_process(self, pk, nowait, no_reply):
        self.tasks.append(pk)
        if len(self.tasks) <= self.refusals:
            raise self.error


@pytest.fixture
def broker(monkeypatch, chain):
    """Let the runner send tasks to a broker that refuses two of them."""
    monkeypatch.setattr(aiida_private, '_BROKER_SECONDS', 0.01)
    monkeypatch.setattr(aiida_private, '_BROKER_LIMIT', 0.5)
    monkeypatch.setattr(chain.runner, '_broker_submit', True)
    monkeypatch.setattr(chain.runner, '_controller', Broker(2))
    return chain.runner.controller


def test_a_task_that_the_broker_refuses_is_sent_again(chain, crystals, broker):
    node = chain.submit_once('child', ReadTable, {'structure': crystals.structure(0), 'table': orm.Dict({})})
    assert broker.tasks == [node.pk] * 3
    assert [call.pk for call in chain.node.called] == [node.pk]


def test_a_broker_that_does_not_come_back_ends_the_step(chain, crystals, broker):
    broker.refusals = 1000
    with pytest.raises(ConnectionError):
        chain.submit_once('child', ReadTable, {'structure': crystals.structure(0), 'table': orm.Dict({})})
    assert len(set(broker.tasks)) == 1
    assert 1 < len(broker.tasks) < 1000


def test_a_task_without_an_answer_is_sent_once(chain, crystals, broker):
    """The connection sends it when the broker is back; a second one could run the process twice."""
    broker.error = kiwipy.TimeoutError()
    node = chain.submit_once('child', ReadTable, {'structure': crystals.structure(0), 'table': orm.Dict({})})
    assert broker.tasks == [node.pk]


def test_without_the_daemon_no_task_is_sent(chain, crystals, broker, monkeypatch):
    monkeypatch.setattr(chain.runner, '_broker_submit', False)
    monkeypatch.setattr(chain.runner, '_loop', None)  # on which the runner schedules the child
    with pytest.raises(AttributeError):
        chain.submit_once('child', ReadTable, {'structure': crystals.structure(0), 'table': orm.Dict({})})
    assert broker.tasks == []


class ClosedConnection:
    """Communicator that takes no subscription."""

    def __getattr__(self, name):
        def call(*args, **kwargs):
            raise ConnectionError(name)

        return call


def test_without_messages_a_work_chain_asks_the_database(chain, monkeypatch):
    chain.call_once('negate', negate, number=orm.Int(3))
    (node,) = chain.node.called
    chain.to_context(child=node)
    monkeypatch.setattr(chain.runner, '_communicator', ClosedConnection())
    chain._action_awaitables()
    assert chain.ctx.child != node
    chain.runner.loop.run_until_complete(asyncio.sleep(0.2))
    assert chain.ctx.child == node


class LosingConnection:
    """Communicator that keeps a subscription, as kiwipy does, and then loses the connection."""

    def __init__(self):
        self.subscribers = []

    def add_broadcast_subscriber(self, subscriber, identifier):
        self.subscribers.append(subscriber)
        raise ConnectionError(identifier)

    def remove_broadcast_subscriber(self, identifier):
        pass


def test_a_message_and_the_database_resolve_a_child_once(chain, monkeypatch):
    chain.call_once('negate', negate, number=orm.Int(3))
    (node,) = chain.node.called
    chain.to_context(child=node)
    connection = LosingConnection()
    monkeypatch.setattr(chain.runner, '_communicator', connection)
    chain._action_awaitables()
    (subscriber,) = connection.subscribers
    subscriber(connection, None, sender=node.pk, subject='state_changed.running.finished')
    chain.runner.loop.run_until_complete(asyncio.sleep(0.2))
    assert chain.ctx.child == node
    assert chain.state == ProcessState.CREATED


def test_invalid_inputs_are_not_sent(chain, broker):
    with pytest.raises(ValueError, match='structure'):
        chain.submit_once('child', ReadTable, {'table': orm.Dict({})})
    assert broker.tasks == []


def test_call_once(chain):
    assert chain.call_once('negate', negate, number=orm.Int(3)).result.value == -3
    # the result of the first call, whatever the inputs are now
    assert chain.call_once('negate', negate, number=orm.Int(4)).result.value == -3
    assert len(chain.node.called) == 1


def test_call_once_repeats_a_call_that_failed(chain):
    for _ in range(2):
        with pytest.raises(ValueError, match='zero'):
            chain.call_once('negate', negate, number=orm.Int(0))
    assert chain.call_once('negate', negate, number=orm.Int(1)).result.value == -1


def test_labels_that_differ_in_an_underscore(chain):
    chain.call_once('round_01', negate, number=orm.Int(1))
    assert chain.find_calls('round_01')
    assert not chain.find_calls('round__01')
    assert not chain.find_calls('round101')
    chain.call_once('roundX01', negate, number=orm.Int(2))
    assert len(chain.find_calls('round_01')) == 1


def test_screen(instantiate, any_code, crystals, write_model):
    model = ModelData.get_or_create(write_model())
    overrides = {'shard_size': 2, 'max_concurrent_shards': 2, 'filters': {'min_gap': 0.5}}
    process = instantiate(ScreenWorkChain.get_builder_from_protocol(any_code, crystals, model, overrides=overrides))
    assert execute_twice(process, 'filter') == {'filter_crystals'}
    assert execute_twice(process, 'run_shards') == {'filter_crystals', 'shard_00000', 'shard_00001'}


def test_committee(instantiate, any_code):
    dataset = DatasetData(tiny.some_dataset(24).with_split('mine', 'random', 1)).store()
    overrides = {'goectp': {'settings': {'members': 3}}}
    process = instantiate(
        TrainCommitteeWorkChain.get_builder_from_protocol(
            any_code, dataset, overrides=overrides, max_concurrent=2, split=orm.Str('mine')
        )
    )
    process.setup()
    assert execute_twice(process, 'run_members') == {'member_00', 'member_01'}


def test_evaluate(instantiate, any_code, write_model):
    dataset = DatasetData(tiny.some_dataset(20).with_split('mine', seed=2)).store()
    model = ModelData.get_or_create(write_model())
    process = instantiate(EvaluateWorkChain.get_builder_from_protocol(any_code, dataset, model, 'mine'))
    execute_twice(process, 'select_rows')
    assert execute_twice(process, 'run_prediction') == {'dataset_crystals', 'predict'}


def test_verify(instantiate, crystal_set):
    inputs, table = screened(crystal_set)
    numbers = {'max_concurrent': 2, 'max_calculations': 2}
    process = instantiate(VerifyWorkChain, **inputs, engine=NAME, dfpt={'table': orm.Dict(table)}, **numbers)
    process.setup()
    assert execute_twice(process, 'run_calculations') == {'dfpt_rank_00001', 'dfpt_rank_00002'}
    assert process.ctx.submitted == 2


def test_jobs_with_restarts(instantiate, any_code, crystals, write_model):
    model = ModelData.get_or_create(write_model())
    process = instantiate(PredictWorkChain.get_builder_from_protocol(any_code, crystals, model))
    process.setup()
    saved = process.ctx.iteration
    for _ in range(2):
        process.ctx.iteration = saved
        (awaited,) = process.run_process().values()
    assert [node.pk for node in process.node.called] == [awaited.pk]
    assert process.ctx.iteration == 1


def test_jobs_after_a_pause_at_the_maximum_number_of_iterations(instantiate, any_code, crystals, write_model):
    """aiida-core sets its counter to zero, and would inspect the first job again in place of the new one."""
    model = ModelData.get_or_create(write_model())
    overrides = {'max_iterations': 1, 'pause_on_max_iterations': True, 'on_unhandled_failure': 'pause'}
    process = instantiate(PredictWorkChain.get_builder_from_protocol(any_code, crystals, model, overrides=overrides))
    assert process.inputs.pause_on_max_iterations.value is True
    assert process.inputs.on_unhandled_failure.value == 'pause'
    process.setup()
    (first,) = process.run_process().values()
    process.ctx.children, process.ctx.iteration = [orm.load_node(first.pk)], 0
    (second,) = process.run_process().values()
    assert second.pk != first.pk
    assert process.ctx.iteration == 1
    assert process.ctx.children == []
    assert len(process.node.called) == 2

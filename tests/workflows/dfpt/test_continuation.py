"""Processes of interrupted runs that are used in place of new ones, from stored nodes."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.workflows.dfpt.continuation import find_finished, has_working_folder
from tests.workflows.dfpt.table_engine import ReadTable

LABEL = 'dfpt_01'


@pytest.fixture
def inputs(aiida_profile, crystal_set):
    return {'structure': structure_from_crystal(crystal_set[1]).store(), 'table': orm.Dict({}).store()}


@pytest.fixture
def interrupted(inputs, aiida_localhost):
    """Return a function that stores a run with a process whose job is in a state, and returns that process."""

    def make(state, status):
        run = orm.WorkChainNode().store()
        child = orm.WorkChainNode()
        child.base.links.add_incoming(run, link_type=LinkType.CALL_WORK, link_label=LABEL)
        for name, node in inputs.items():
            child.base.links.add_incoming(node, link_type=LinkType.INPUT_WORK, link_label=name)
        child.store()
        job = orm.CalcJobNode(computer=aiida_localhost)
        job.base.links.add_incoming(child, link_type=LinkType.CALL_CALC, link_label='job')
        job.store()
        job.set_process_state(state)
        child.set_process_state(ProcessState.FINISHED)
        job.set_exit_status(status)
        child.set_exit_status(status)
        return child

    return make


@pytest.mark.parametrize(
    ('state', 'status', 'used'),
    [(ProcessState.FINISHED, 0, True), (ProcessState.FINISHED, 312, True), (ProcessState.KILLED, 302, False)],
)
def test_processes_that_came_to_their_own_end_are_used(interrupted, inputs, state, status, used):
    child = interrupted(state, status)
    found = find_finished(child.caller.uuid, LABEL, ReadTable, inputs)
    assert found == ((child, child.caller) if used else None)


def test_the_first_run_with_such_a_process_is_taken(interrupted, inputs):
    older, newer, killed = (interrupted(ProcessState.FINISHED, 0) for _ in range(3))
    runs = [run.uuid for run in (orm.WorkChainNode().store(), newer.caller, older.caller)]
    assert find_finished(runs, LABEL, ReadTable, inputs) == (newer, newer.caller)
    other = inputs | {'table': orm.Dict({'of': 'another'}).store()}
    assert find_finished([killed.caller.uuid], LABEL, ReadTable, other) is None


def test_working_folder(interrupted, aiida_localhost, tmp_path):
    child = interrupted(ProcessState.FINISHED, 0)
    assert not has_working_folder(child)
    job = child.called[0]
    folder = orm.RemoteData(computer=aiida_localhost, remote_path=str(tmp_path))
    folder.base.links.add_incoming(job, link_type=LinkType.CREATE, link_label='remote_folder')
    folder.store()
    assert not has_working_folder(job)
    (tmp_path / 'out').mkdir()
    assert has_working_folder(job)

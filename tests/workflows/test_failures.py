"""Whether and why processes failed, from stored nodes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_goectp.workflows.failures import ended_within_step, failure_reason, last_job


@pytest.fixture
def chain(aiida_profile, aiida_localhost):
    """Return a function that stores a failed work chain with a job in a state."""

    def make(state, status=None):
        node = orm.WorkChainNode().store()
        job = orm.CalcJobNode(computer=aiida_localhost)
        job.base.links.add_incoming(node, link_type=LinkType.CALL_CALC, link_label='job')
        job.store()
        for item, end, code in ((job, state, status), (node, ProcessState.FINISHED, 302)):
            item.set_process_state(end)
            if code is not None:
                item.set_exit_status(code)
        job.set_process_status('Killed through `verdi process kill`' if state == ProcessState.KILLED else None)
        return node, job

    return make


def test_a_work_chain_whose_job_was_killed_did_not_come_to_its_own_end(chain):
    node, job = chain(ProcessState.KILLED)
    assert ended_within_step(job)
    assert ended_within_step(node)
    assert failure_reason(job) == 'killed: Killed through `verdi process kill`'


@pytest.mark.parametrize('status', [0, 312])
def test_a_work_chain_whose_job_ended_by_itself(chain, status):
    node, _ = chain(ProcessState.FINISHED, status)
    assert not ended_within_step(node)


def test_the_last_job_is_the_youngest_one(chain, aiida_localhost):
    """An archive is imported in any order, so that PKs say nothing about time."""
    node, job = chain(ProcessState.FINISHED, 312)
    older = orm.CalcJobNode(computer=aiida_localhost)
    older.base.links.add_incoming(node, link_type=LinkType.CALL_CALC, link_label='first')
    older.store()
    older.backend_entity.model.ctime = job.ctime - timedelta(hours=1)
    assert older.pk > job.pk
    assert last_job(node).uuid == job.uuid

"""A verification whose daemon is killed by SIGKILL while calculations run."""

import pytest

from tests.workflows.daemon import daemon  # noqa: F401

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1500)]

SUBMIT = """
from aiida import orm
from aiida.engine import submit
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.conftest import textbook
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import NAME

computer = orm.load_computer('localhost')
computer.set_minimum_job_poll_interval(2.0)
computer.configure(use_login_shell=False)
code = orm.InstalledCode(label='bash', computer=computer, filepath_executable='/bin/bash').store()
inputs, table = screened(textbook())
dfpt = {'table': orm.Dict(table), 'code': code, 'seconds': orm.Float(20.0)}
print(submit(VerifyWorkChain, **inputs, engine=NAME, dfpt=dfpt, max_concurrent=2).pk)
"""

REPORT = """
import json, sys
from aiida import orm

node = orm.load_node(int(sys.argv[1]))
children = [child for child in node.called if child.process_label == 'TableDfptWorkChain']
jobs = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode)]
# a process that is being stored has no state
states = [item.process_state for item in node.called_descendants]
print(json.dumps({
    'finished': node.is_finished,
    'message': str(node.exception or node.exit_message),
    'status': node.exit_status,
    'structures': sorted(child.inputs.structure.pk for child in children),
    'running': sum(job.get_state() is not None and job.get_state().value == 'withscheduler' for job in jobs),
    'created': sum(state is None or state.value == 'created' for state in states),
    'jobs': len(jobs),
    'accepted': len(node.outputs.accepted) if 'accepted' in node.outputs else 0,
}))
"""


def test_verification_continues_after_the_daemon_is_killed(daemon):  # noqa: F811
    daemon.submit(SUBMIT, REPORT)
    for wanted in (1, 3):  # number of jobs at which the daemon is killed
        # aiida-core loses a process whose task is still in the broker until the next restart of the daemon
        met = lambda report: report['jobs'] >= wanted and report['running'] and not report['created']  # noqa: B023, E731
        report = daemon.report_when(lambda report: met(report) or report['finished'], 300)  # noqa: B023
        assert not report['finished'], report
        daemon.kill_and_restart()
    report = daemon.report_when(lambda report: report['finished'], 500)
    assert report['status'] == 0, report
    assert report['accepted'] == 6
    # each crystal was computed once
    assert len(report['structures']) == len(set(report['structures'])) == 6
    assert report['jobs'] == 6

"""A campaign whose daemon is killed by SIGKILL in each of its stages."""

import pytest

from tests.workflows.campaign.reported import REPORT
from tests.workflows.daemon import daemon  # noqa: F401

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1500)]

COMMITTEE = 'train_committee/member_{:02d}/iteration_01'
STAGES = (
    {f'round_00_retrain/{COMMITTEE.format(member)}' for member in range(2)},
    {'round_01_predict/iteration_01'},
    {f'round_01_verify/dfpt_pick_{pick:05d}/dfpt_01' for pick in (1, 2)},
    {f'round_01_retrain/{COMMITTEE.format(member)}' for member in range(2)},
)
"""Calls, as paths of labels, during which the daemon is killed.

Each stage names all that run in it at the same time: none is about to be submitted, since aiida-core loses a process
whose task is still in the broker until the next restart of the daemon.
"""

SUBMIT = """
import sys
from pathlib import Path

from aiida import orm
from aiida.engine import submit
from tests.workflows.campaign import searching

computer = orm.load_computer('localhost')
computer.set_minimum_job_poll_interval(2.0)
computer.configure(use_login_shell=False)
executable = Path(sys.executable).parent / 'goectp'
code = orm.InstalledCode(label='goectp', computer=computer, filepath_executable=str(executable)).store()
bash = orm.InstalledCode(label='bash', computer=computer, filepath_executable='/bin/bash').store()
# jobs run long enough to be found
searching.OPTIONS['environment_variables']['GOECTP_TEST_FAULT'] = 'slow=15,slow_epoch=8'
overrides = {'stop_rules': {'max_rounds': 1}, 'retraining': {'tolerance': 1e3}}
builder = searching.campaign(code, dfpt={'code': bash, 'seconds': orm.Float(25.0)}, overrides=overrides)
print(submit(builder).pk)
"""


def test_a_daemon_killed_in_each_stage(daemon):  # noqa: F811
    daemon.submit(SUBMIT, REPORT)
    for stage in STAGES:
        met = lambda report: stage <= set(report['running']) and not report['created']  # noqa: B023, E731
        report = daemon.report_when(lambda report: met(report) or report['finished'], 300)  # noqa: B023
        assert not report['finished'], report
        daemon.kill_and_restart()
    report = daemon.report_when(lambda report: report['finished'], 500)
    assert report['status'] == 0, report

    # each call was made once; those within which a worker was killed were repeated
    finished, interrupted = report['finished_calls'], report['interrupted_calls']
    assert len(finished) == len(set(finished)) == report['calls'] - len(interrupted)
    assert {*interrupted}.union(*STAGES) < set(finished)
    assert len(interrupted) <= 2 * len(STAGES)  # each of the two workers runs one calcfunction at a time
    assert report['jobs'] == ['PredictCalculation'] * 2 + ['ReadTableJob'] * 2 + ['TrainCalculation'] * 4
    assert len(set(report['structures'])) == len(report['structures']) == 2
    (one,) = report['history']['rounds']
    assert [item['outcome'] for item in one['picks']] == ['accepted', 'accepted']
    assert one['adopted']

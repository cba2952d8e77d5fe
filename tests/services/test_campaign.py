"""A small campaign on PostgreSQL and RabbitMQ with four workers: on this machine, through Slurm, and through SSH."""

import pytest

from tests.services.profile import COMPUTERS
from tests.workflows.campaign.reported import REPORT

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1200)]

SUBMIT = """
from aiida import orm
from aiida.engine import submit
from tests.workflows.campaign import searching

computer = orm.load_computer(LABEL)
overrides = {'stop_rules': {'max_rounds': 1}, 'retraining': {'tolerance': 1e3}}
dfpt = {'code': orm.load_code(f'bash@{LABEL}'), 'seconds': orm.Float(1.0)}
searching.OPTIONS['max_wallclock_seconds'] = 600
print(submit(searching.campaign(orm.load_code(f'goectp@{LABEL}'), dfpt=dfpt, overrides=overrides)).pk)
"""


@pytest.mark.parametrize('label', COMPUTERS)
def test_a_campaign(services, label):
    services.submit(f'LABEL = {label!r}\n{SUBMIT}', REPORT)
    report = services.report_when(lambda report: report['finished'], 900)
    assert report['status'] == 0, report
    assert len(report['finished_calls']) == len(set(report['finished_calls'])) == report['calls']
    assert report['jobs'] == ['PredictCalculation'] * 2 + ['ReadTableJob'] * 2 + ['TrainCalculation'] * 4
    assert len(set(report['structures'])) == len(report['structures']) == 2
    (one,) = report['history']['rounds']
    assert [item['outcome'] for item in one['picks']] == ['accepted', 'accepted']

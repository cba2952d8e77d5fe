"""``aiida-goectp campaign`` with a daemon: a submitted campaign and its extension."""

import re

import pytest

from tests.workflows.daemon import daemon  # noqa: F401

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1800)]

PREPARE = """
import sys
from pathlib import Path

import yaml
from aiida import orm
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import NAME

computer = orm.load_computer('localhost')
computer.set_minimum_job_poll_interval(2.0)
computer.configure(use_login_shell=False)
code = orm.InstalledCode(label='goectp', computer=computer, filepath_executable=sys.argv[1]).store()
pool = searching.some_pool()
values = {
    'label': 'submitted',
    'pool': pool.pk,
    'dataset': searching.start_dataset().pk,
    'code': code.full_label,
    'engine': NAME,
    'dfpt': {'arguments': {'table': searching.table_of(pool)}},
    'picking': {'batch_size': 2},
    'stop_rules': {'max_rounds': 1},
    'retraining': {'folds': 2, 'tolerance': 1000.0},
    'training': searching.TRAINING,
    'options': {'environment_variables': {'OMP_NUM_THREADS': '1'}},
    'device': 'cpu',
}
Path('campaign.yaml').write_text(yaml.safe_dump(values))
"""

STATE = """
import json, sys
from aiida.orm import load_node

print(json.dumps({'ended': load_node(int(sys.argv[1])).is_terminated}))
"""


def test_submitted_campaign_is_extended(daemon, executable):  # noqa: F811
    (daemon.folder / 'prepare.py').write_text(PREPARE)
    daemon.run('verdi', 'run', 'prepare.py', str(executable))
    first = _submitted(daemon.run('aiida-goectp', 'campaign', 'start', 'campaign.yaml'))
    assert ', "submitted", ' in _ended(daemon, first)
    report = daemon.run('aiida-goectp', 'campaign', 'report', first)
    assert 'end: max_rounds' in report

    more = _submitted(daemon.run('aiida-goectp', 'campaign', 'extend', first, '--max-rounds', '2'))
    assert ', 2 rounds, ' in _ended(daemon, more)


def _submitted(output):
    return re.search(r'submitted ActiveLearningWorkChain<(\d+)>', output).group(1)


def _ended(daemon, pk):  # noqa: F811
    daemon.watch(pk, STATE)  # each command takes seconds
    daemon.report_when(lambda report: report['ended'], 1200)
    line = daemon.run('aiida-goectp', 'campaign', 'status', pk)
    assert f'<{pk}> finished' in line
    assert ' failed' not in line
    return line

"""A verification whose daemon is killed, the hard way, while calculations run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[2]

SUBMIT = """
from aiida import orm
from aiida.engine import submit
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.conftest import textbook
from tests.workflows.campaign import screened
from tests.workflows.dfpt.table_engine import NAME

computer = orm.load_computer('localhost')
computer.set_minimum_job_poll_interval(0.5)
code = orm.InstalledCode(label='bash', computer=computer, filepath_executable='/bin/bash').store()
inputs, table = screened(textbook())
dfpt = {'table': orm.Dict(table), 'code': code, 'seconds': orm.Float(8.0)}
print(submit(VerifyWorkChain, **inputs, engine=NAME, dfpt=dfpt, max_concurrent=2).pk)
"""

REPORT = """
import json, sys
from aiida import orm

node = orm.load_node(int(sys.argv[1]))
children = [child for child in node.called if child.process_label == 'TableDfptWorkChain']
jobs = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode)]
print(json.dumps({
    'finished': node.is_finished,
    'message': str(node.exception or node.exit_message),
    'status': node.exit_status,
    'structures': sorted(child.inputs.structure.pk for child in children),
    'running': sum(job.get_state() is not None and job.get_state().value == 'withscheduler' for job in jobs),
    'jobs': len(jobs),
    'accepted': len(node.outputs.accepted) if 'accepted' in node.outputs else 0,
}))
"""


@pytest.fixture
def profile(tmp_path):
    """Return a function that runs a command in a profile of its own; its daemon is stopped at the end."""
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path), 'PYTHONPATH': str(ROOT)}
    environment.pop('AIIDA_PROFILE', None)

    def run(*command):
        path = Path(sys.executable).parent / command[0]
        result = subprocess.run(
            [path, *command[1:]], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run('verdi', 'presto')
    run('verdi', 'config', 'set', 'daemon.timeout', '30')
    run('verdi', 'daemon', 'start', '2')
    yield run
    run('verdi', 'daemon', 'stop')


def daemon_processes(folder):
    """Return the processes of the daemon of the profile in a folder, its supervisor first; none may stay behind."""
    (pid_file,) = (folder / '.aiida' / 'daemon').glob('circus-*.pid')
    supervisor = psutil.Process(int(pid_file.read_text()))
    children = supervisor.children(recursive=True)
    # jobs go on when the daemon dies, as they do on a cluster; circus's watcher of loads has no other end
    return [
        supervisor,
        *(child for child in children if {'daemon', 'from circus import stats; stats.main()'} & {*child.cmdline()}),
    ]


def test_a_killed_daemon_loses_nothing(profile, tmp_path):
    (tmp_path / 'submit.py').write_text(SUBMIT)
    (tmp_path / 'report.py').write_text(REPORT)
    pk = profile('verdi', 'run', 'submit.py').split()[-1]

    def report_when(condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition(report := json.loads(profile('verdi', 'run', 'report.py', pk).splitlines()[-1])):
            assert time.monotonic() < deadline, report
            time.sleep(1)
        return report

    for wanted in (1, 3):  # while the first run, and once more on the way
        report_when(lambda report: report['jobs'] >= wanted and (report['running'] or report['finished']), 200)  # noqa: B023
        processes = daemon_processes(tmp_path)
        assert len(processes) >= 3  # the supervisor, its workers, the broker
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, 30)
        profile('verdi', 'daemon', 'start', '2')
    report = report_when(lambda report: report['finished'], 400)
    assert report['status'] == 0, report
    assert report['accepted'] == 6
    # every crystal was computed once, and no more than once
    assert len(report['structures']) == len(set(report['structures'])) == 6
    assert report['jobs'] == 6

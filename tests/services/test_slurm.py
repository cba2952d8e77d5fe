"""Jobs that Slurm kills, and what is requested from it, by the local transport and by SSH."""

import numpy as np
import pytest

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]

FAULTS = {
    # the executable sleeps, also when Slurm asks it to end
    'walltime': 'export GOECTP_TEST_FAULT=slow=300\nexec $GOECTP "$@"',
    # another process of the job takes the memory, as a device driver or a preparing process would
    'memory': 'echo "a module says something" >&2\nGOECTP_TEST_FAULT=slow=300 $GOECTP "$@" &\n'
    'until grep -q \'"rows_done": [1-9]\' *.status.json 2>/dev/null; do sleep 0.2; done\n'
    'exec $PYTHON -c "import time; x = b\'x\' * (2000 << 20); time.sleep(300)"',
}
"""what the first job does instead"""

SUBMIT = """
import json, sys
from pathlib import Path

from aiida import orm
from aiida.engine import submit
from aiida_goectp.calculations.structures import import_structures
from aiida_goectp.workflows.predict import PredictWorkChain
from tests import tiny
from tests.workflows.campaign.searching import file_of

goectp = orm.load_code(f'goectp@{LABEL}')
crystals = import_structures(file_0=file_of(tiny.some_crystals(), 'crystals.npz'))
model = str(tiny.write_model(Path('tiny.safetensors')))
pks = {}
for fault, script in FAULTS.items():
    path = Path(f'goectp-{fault}-{LABEL}').absolute()
    programs = f'GOECTP={goectp.filepath_executable} PYTHON={sys.executable}'
    head = f'#!/bin/bash\\n{programs}\\nif mkdir {path}.once 2>/dev/null; then\\n{script}\\nfi\\n'
    path.write_text(head + 'exec $GOECTP "$@"\\n')
    path.chmod(0o755)
    code = orm.InstalledCode(label=fault, computer=goectp.computer, filepath_executable=str(path)).store()
    options = {'max_wallclock_seconds': 120 if fault == 'walltime' else 900, 'max_memory_kb': 1_500_000}
    overrides = {'goectp': {'device': 'cpu', 'batch_atoms': 256}}
    builder = PredictWorkChain.get_builder_from_protocol(code, crystals, model, 'fast', overrides, options)
    pks[fault] = submit(builder).pk
builder = PredictWorkChain.get_builder_from_protocol(
    goectp, crystals, model, 'fast', {'goectp': {'device': 'cpu'}}, {'max_wallclock_seconds': 600}, gpus=1
)
pks['gpu'] = submit(builder).pk
print(json.dumps(pks).replace(' ', ''))
"""

REPORT = """
import json, sys
from aiida import orm

reports = {}
for name, pk in json.loads(sys.argv[1]).items():
    node = orm.load_node(pk)
    jobs = [job for job in sorted(node.called, key=lambda job: job.pk) if isinstance(job, orm.CalcJobNode)]
    predictions = node.outputs.predictions.predictions if 'predictions' in node.outputs else None
    script = '_aiidasubmit.sh'
    reports[name] = {
        'finished': node.is_terminated,
        'status': node.exit_status,
        'message': str(node.exception or node.exit_message),
        'jobs': [job.exit_status for job in jobs],
        'batches': [job.inputs.batch_atoms.value if 'batch_atoms' in job.inputs else None for job in jobs],
        'scripts': [job.base.repository.get_object_content(script) for job in jobs if job.is_finished],
        'accounting': [(job.get_detailed_job_info() or {}).get('stdout', '') for job in jobs],
        'total': [] if predictions is None else predictions.total.tolist(),
    }
print(json.dumps(reports))
"""


@pytest.fixture(scope='module', params=['slurm', 'ssh'])
def reports(request, services):
    """What became of a job beyond its time, a job beyond its memory, and a job that asked for a GPU."""
    services.submit(f'LABEL = {request.param!r}\nFAULTS = {FAULTS!r}\n{SUBMIT}', REPORT)
    return services.report_when(lambda found: all(item['finished'] for item in found.values()), 600)


def test_a_job_beyond_its_walltime_is_continued(reports):
    found = reports['walltime']
    assert (found['status'], found['jobs']) == (0, [322, 0]), found
    assert 'TIMEOUT' in found['accounting'][0]
    np.testing.assert_allclose(found['total'], reports['gpu']['total'], rtol=1e-5)


def test_a_job_beyond_its_memory_is_continued_with_smaller_batches(reports):
    found = reports['memory']
    assert (found['status'], found['jobs']) == (0, [321, 0]), found
    assert found['batches'] == [256, 64]
    assert 'CANCELLED' in found['accounting'][0]
    np.testing.assert_allclose(found['total'], reports['gpu']['total'], rtol=1e-5)


def test_a_gpu_is_requested(reports):
    found = reports['gpu']
    assert (found['status'], found['jobs']) == (0, [0]), found
    assert '#SBATCH --gres=gpu:1\n' in found['scripts'][0]
    assert 'gres/gpu=1' in found['accounting'][0]

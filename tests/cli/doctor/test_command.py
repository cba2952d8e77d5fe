"""``aiida-goectp doctor``: what works, what fails, and the exit status."""

import json

import numpy as np
import pytest
import yaml
from aiida import orm
from aiida.engine import ProcessState
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.datasets.dataset import Dataset
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import NAME


def doctor(*arguments, status=0):
    result = CliRunner().invoke(main, ['doctor', '--json', *map(str, arguments)])
    assert result.exit_code == status, result.output
    return {check['subject']: check for check in json.loads(result.stdout)}


def nodes():
    return orm.QueryBuilder().append(orm.Node).count()


def test_an_installation_without_prediction(code):
    before = nodes()
    checks = doctor('--no-prediction', '--code', code.full_label)
    assert nodes() == before
    assert checks['profile']['result'] == checks[f'code {code.full_label}']['result'] == 'ok'
    assert checks['broker']['result'] == checks['daemon']['result'] == 'warning'
    assert 'verdi profile' in checks['broker']['remedy']
    assert {name for name in checks if name.startswith('disk')} == {
        'disk, AiiDA folder',
        f'disk, work directory of {code.computer.label}',
    }


def test_paused_jobs_are_named(code):
    job = orm.CalcJobNode()
    job.set_process_label('PwCalculation')
    job.set_process_state(ProcessState.WAITING)
    job.store().pause()
    check = doctor('--no-prediction', '--code', code.full_label)['processes']
    assert check['result'] == 'warning'
    assert f'PwCalculation<{job.pk}>' in check['found']
    assert f'verdi process play {job.pk}' in check['remedy']
    job.set_process_state(ProcessState.KILLED)
    assert doctor('--no-prediction', '--code', code.full_label)['processes']['result'] == 'ok'


def test_a_code_without_program(aiida_code_installed):
    broken = aiida_code_installed(
        label='broken', filepath_executable='/no/goectp', default_calc_job_plugin='goectp.predict'
    )
    check = doctor('--code', broken.full_label, status=1)[f'code {broken.full_label}']
    assert check['result'] == 'failed'
    assert '/no/goectp' in check['found']
    assert 'verdi code' in check['remedy']


@pytest.mark.slow
def test_a_prediction_with_a_code(code):
    found = doctor('--code', code.full_label)[f'code {code.full_label}']['found']
    assert 'on cpu' in found or 'on cuda' in found
    (job,) = orm.QueryBuilder().append(orm.CalcJobNode, filters={'label': 'aiida-goectp doctor'}).all(flat=True)
    assert job.outputs.predictions.predictions.ids.tolist() == ['MgO']
    assert job.inputs.crystals.label == 'aiida-goectp doctor'


def test_the_stages_of_a_campaign(tmp_path, write_model, code, aiida_code_installed):
    searching.crystals(range(1, 24, 2)).save(tmp_path / 'pool.npz')
    known = searching.crystals(range(0, 54, 2), 's')
    electronic = np.array([searching.epsilon(crystal) * np.eye(3) for crystal in known])
    Dataset(known, electronic, 0.5 * electronic, functional=np.array(['PBE'] * len(known))).save(tmp_path / 's.npz')
    write_model('search').rename(tmp_path / 'search.safetensors')
    values = {
        'pool': 'pool.npz',
        'dataset': 's.npz',
        'engine': NAME,
        'model': 'search.safetensors',
        'code': code.full_label,
        'dfpt': {'arguments': {'table': {}}},
    }
    config = tmp_path / 'campaign.yaml'
    config.write_text(yaml.safe_dump(values))
    before = nodes()
    checks = doctor(config, '--no-prediction', '--code', code.full_label)
    assert nodes() == before
    assert 'crystals.npz' in checks['stage predict']['found']
    assert 'dataset.npz' in checks['stage retrain']['found']
    assert checks['stage pick']['found'].startswith('12 candidates')
    config.write_text(yaml.safe_dump({**values, 'pool': 'none.npz', 'seed': -1}))
    arguments = ['doctor', str(config), '--no-prediction', '--code', code.full_label, '--json']
    checks = json.loads(CliRunner().invoke(main, arguments).stdout)
    wrong = [check['found'] for check in checks if check['result'] == 'failed']
    assert [text.split(': ')[:2] for text in wrong] == [['campaign.yaml:8', 'pool'], ['campaign.yaml:9', 'seed']]

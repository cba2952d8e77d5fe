"""``aiida-goectp train``, and the status line of trainings."""

import json

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_goectp.cli.views.training import training_line
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.workflows.train import TrainWorkChain
from tests import tiny
from tests.cli.runner import flat, invoke

STATUS = {
    'version': 1, 'state': 'running', 'error': None, 'epochs_done': 12, 'epochs_total': 40, 'member': 1, 'members': 2,
    'epoch': 2, 'epochs': 20, 'loss': 0.21432, 'best_epoch': 1, 'best_validation': {'electronic': 0.312, 'ionic': None},
    'seconds_left': 3725.0,
}  # fmt: skip


@pytest.fixture
def dataset(aiida_profile):
    return DatasetData(tiny.some_dataset(24).with_split('mine', 'random', 1)).store()


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true').full_label


@pytest.fixture
def running(any_code, dataset, aiida_localhost, tmp_path):
    """A work chain, its job, and the status file of the job."""
    process = instantiate_process(
        get_manager().get_runner(), TrainWorkChain.get_builder_from_protocol(any_code, dataset)
    )
    job = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:goectp.train')
    job.base.links.add_incoming(process.node, link_type=LinkType.CALL_CALC, link_label='iteration_01')
    job.set_process_label('TrainCalculation')
    job.store()
    job.set_remote_workdir(str(tmp_path))
    return process.node, job, tmp_path / 'model.safetensors.status.json'


def test_status_of_a_running_training(running):
    chain, job, status = running
    assert f'TrainWorkChain<{chain.pk}> running, ' in invoke('show', chain.pk)
    assert 'epoch 2' not in invoke('show', chain.pk)
    status.write_text(json.dumps(STATUS))
    line = 'member 2 of 2, epoch 2 of 20, loss 0.2143, best validation MAE electronic 0.312 (epoch 1), 1:02:05 left, '
    assert line in flat(invoke('show', chain.pk))
    assert f'TrainCalculation<{job.pk}> running, member 2 of 2' in flat(invoke('show', job.pk))


def test_incomplete_status_file_is_no_status(running):
    _, job, status = running
    without_file = training_line(job)
    status.write_text('{"torn')
    assert training_line(job) == without_file
    status.write_text(json.dumps(STATUS))
    assert training_line(job) != without_file


def test_status_of_a_finished_job_is_read_from_its_outputs(running):
    chain, job, _ = running
    parameters = orm.Dict(STATUS | {'members': 1})
    parameters.base.links.add_incoming(job, link_type=LinkType.CREATE, link_label='output_parameters')
    parameters.store()
    assert training_line(chain).startswith('epoch 2 of 20, loss 0.2143, best validation MAE electronic 0.312')


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (['--split', 'other'], "'other'"),
        (['--learning-rate', '-1'], 'learning_rate'),
        (['--set', 'speed', '1'], 'speed'),
        (['--set', 'schedule', 'cosine'], '--set schedule'),
        (['--protocol', 'quick'], "'quick'"),
        (['--device', 'gpu'], "'gpu'"),
        (['--members', '2', '--parallel', '2'], 'split'),
        (['--split', 'mine', '--parallel', '2'], 'members'),
        (['--model', 'no-such-model'], 'no-such-model'),
        (['999999'], '999999'),
    ],
)
def test_invalid_values_are_named(any_code, dataset, arguments, name):
    before = orm.QueryBuilder().append(TrainWorkChain).count()
    target = [] if arguments[0].isdigit() else [dataset.pk]
    assert name in flat(invoke('train', *target, '--code', any_code, *arguments, status=2))
    assert orm.QueryBuilder().append(TrainWorkChain).count() == before


def test_training_in_an_empty_profile(aiida_profile_clean):
    assert 'aiida-goectp dataset' in invoke('train', status=2)


def test_submission_requires_the_daemon(any_code, dataset):
    assert '--run' in invoke('train', dataset.pk, '--code', any_code, '--submit', status=2)


def test_training_runs(code, dataset):
    options = '--split mine --name mine --epochs 2 --batch-size 8 --device cpu --licence CC0 --label here'
    network = json.dumps({'width': 8, 'layers': 1, 'bins': 16})
    output = invoke('train', dataset.pk, '--code', code.full_label, *options.split(), '--set', 'options', network)
    node = orm.QueryBuilder().append(TrainWorkChain, filters={'label': 'here'}).first(flat=True)
    model = node.outputs.model
    assert (model.card.name, model.card.licence) == ('mine', 'CC0')
    assert node.inputs.goectp.settings.get_dict()['epochs'] == 2
    assert f'model {model.pk}' in output
    assert 'finished, epoch 2 of 2, loss' in flat(output)

"""``aiida-goectp train``, and ``show`` on trainings."""

import json

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.views.training import training_line
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.workflows.train import TrainWorkChain
from tests import tiny

STATUS = {
    'version': 1, 'state': 'running', 'error': None, 'epochs_done': 12, 'epochs_total': 40, 'member': 1, 'members': 2,
    'epoch': 2, 'epochs': 20, 'loss': 0.21432, 'best_epoch': 1, 'best_validation': {'electronic': 0.312, 'ionic': None},
    'seconds_left': 3725.0,
}  # fmt: skip


def invoke(*arguments):
    return CliRunner().invoke(main, [str(item) for item in arguments])


@pytest.fixture
def dataset(aiida_profile):
    return DatasetData(tiny.some_dataset(24).with_split('mine', 'random', 1)).store()


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true').full_label


@pytest.fixture
def running(any_code, dataset, aiida_localhost, tmp_path):
    """A work chain with a job that runs in a folder."""
    process = instantiate_process(
        get_manager().get_runner(), TrainWorkChain.get_builder_from_protocol(any_code, dataset)
    )
    job = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:goectp.train')
    job.base.links.add_incoming(process.node, link_type=LinkType.CALL_CALC, link_label='iteration_01')
    job.set_process_label('TrainCalculation')
    job.store()
    job.set_remote_workdir(str(tmp_path))
    return process.node, job, tmp_path / 'model.safetensors.status.json'


def test_show_on_a_running_training(running):
    chain, job, status = running
    assert f'TrainWorkChain<{chain.pk}> running, no epoch done yet, for 0:00:' in invoke('show', chain.pk).output
    status.write_text(json.dumps(STATUS))
    words = 'member 2 of 2, epoch 2 of 20, loss 0.2143, best validation MAE electronic 0.312 (epoch 1), 1:02:05 left, '
    assert words in ' '.join(invoke('show', chain.pk).output.split())
    assert f'TrainCalculation<{job.pk}> running, member 2 of 2' in ' '.join(invoke('show', job.pk).output.split())
    status.write_text('{"torn')
    assert training_line(job) == 'no epoch done yet'


def test_what_a_job_that_has_ended_said_of_itself(running):
    chain, job, _ = running
    parameters = orm.Dict(STATUS | {'members': 1})
    parameters.base.links.add_incoming(job, link_type=LinkType.CREATE, link_label='output_parameters')
    parameters.store()
    assert training_line(chain).startswith('epoch 2 of 20, loss 0.2143, best validation MAE electronic 0.312')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--split', 'other'], "split 'other': the dataset has mine"),
        (['--learning-rate', '-1'], 'settings.learning_rate: Input should be greater than 0'),
        (['--set', 'speed', '1'], 'settings.speed: Extra inputs are not permitted'),
        (['--set', 'schedule', 'cosine'], '--set schedule: not JSON'),
        (['--protocol', 'quick'], "no protocol is named 'quick'"),
        (['--device', 'gpu'], "device 'gpu': give auto, cpu, cuda or cuda:N"),
        (['--members', '2', '--parallel', '2'], 'would hold out different rows'),
        (['--split', 'mine', '--parallel', '2'], 'a committee has two or more'),
        (['--model', 'no-such-model'], 'no-such-model'),
        (['999999'], '999999'),
    ],
)
def test_what_is_wrong_is_said(any_code, dataset, arguments, message):
    before = orm.QueryBuilder().append(TrainWorkChain).count()
    target = [] if arguments[0].isdigit() else [dataset.pk]
    result = invoke('train', *target, '--code', any_code, *arguments)
    assert result.exit_code == 2, result.output
    assert message in ' '.join(result.output.split())
    assert orm.QueryBuilder().append(TrainWorkChain).count() == before


def test_nothing_is_there_yet(aiida_profile_clean):
    result = invoke('train')
    assert result.exit_code == 2
    assert 'make one with `aiida-goectp dataset`' in result.output


def test_submit_needs_a_daemon(any_code, dataset):
    result = invoke('train', dataset.pk, '--code', any_code, '--submit')
    assert result.exit_code == 2
    assert 'use --run' in result.output


def test_a_training_from_the_command_line(code, dataset):
    options = '--split mine --name mine --epochs 2 --batch-size 8 --device cpu --licence CC0 --label here'
    network = json.dumps({'width': 8, 'layers': 1, 'bins': 16})
    result = invoke('train', dataset.pk, '--code', code.full_label, *options.split(), '--set', 'options', network)
    assert result.exit_code == 0, result.output
    node = orm.QueryBuilder().append(TrainWorkChain, filters={'label': 'here'}).first(flat=True)
    model = node.outputs.model
    assert (model.card.name, model.card.licence) == ('mine', 'CC0')
    assert node.inputs.goectp.settings.get_dict()['epochs'] == 2
    assert f'model {model.pk}' in result.output
    assert 'finished, epoch 2 of 2, loss' in ' '.join(result.output.split())

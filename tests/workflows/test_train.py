"""``TrainWorkChain``: each error handler on a job with its exit code, then real jobs with injected faults."""

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_goectp.calculations.train import TrainCalculation
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.workflows.train import TrainWorkChain
from tests import tiny
from tests.workflows.jobs import end_job, faulty_once, jobs_of

CODES = TrainCalculation.spec().exit_codes
NETWORK = {'options': {'width': 8, 'layers': 1, 'bins': 16}, 'layer_augmentation_copies': 0}
SMALL = NETWORK | {'batch_size': 8, 'epochs': 4, 'keep': 'last'}
ONE_CORE = {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 1}


@pytest.fixture
def dataset(aiida_profile):
    return DatasetData(tiny.some_dataset(24).with_split('mine', 'random', 1)).store()


@pytest.fixture
def chain(aiida_code_installed, dataset):
    """Return a function that instantiates a work chain and executes its first step."""

    def make(**overrides):
        code = aiida_code_installed(label='any', filepath_executable='/bin/true')
        builder = TrainWorkChain.get_builder_from_protocol(code, dataset, overrides=overrides)
        process = instantiate_process(get_manager().get_runner(), builder)
        process.setup()
        process.ctx.children = []
        return process

    return make


@pytest.fixture
def ended(aiida_localhost):
    """Return a function that adds a job with an exit code to a work chain, and executes ``inspect_process``."""

    def end(process, code, epochs=0, **status):
        parameters = {'epochs_done': epochs, 'epochs_total': 60, 'device': 'cuda:0', 'since_best': 0} | status
        return end_job(process, aiida_localhost, 'goectp.train', code, output_parameters=orm.Dict(parameters))

    return end


def test_protocols(aiida_code_installed, dataset):
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    assert set(TrainWorkChain.get_available_protocols()) == {'fast', 'balanced', 'stringent'}
    builder = TrainWorkChain.get_builder_from_protocol(
        code,
        dataset,
        'stringent',
        {'goectp': {'settings': {'epochs': 7}, 'monitors': {'training': {'kwargs': {'patience': 3}}}}},
        {'queue_name': 'gpu'},
        gpus=1,
        split=orm.Str('mine'),
    )
    job = builder.goectp
    assert job.settings.get_dict() == {'epochs': 7, 'keep': 'best', 'members': 4}
    assert job.monitors['training'].get_dict()['kwargs'] == {'patience': 3}
    assert job.metadata.options.queue_name == 'gpu'
    assert job.split.value == 'mine'
    with pytest.raises(ValueError, match=r'settings\.speed'):
        TrainWorkChain.get_builder_from_protocol(code, dataset, overrides={'goectp': {'settings': {'speed': 1}}})
    with pytest.raises(ValueError, match='colour'):
        TrainWorkChain.get_builder_from_protocol(code, dataset, colour=1)
    without = TrainWorkChain.get_builder_from_protocol(
        code, dataset, overrides={'goectp': {'monitors': {'training': None}}}
    )
    assert not without.goectp.monitors


@pytest.mark.parametrize('code', [CODES.ERROR_BAD_INPUT, CODES.ERROR_BAD_MODEL])
def test_refused_input(chain, ended, code):
    _, result = ended(chain(), code.format(message='in row 7'))
    assert result.status == 212
    assert 'in row 7' in result.message


def test_a_diverged_training_restarts_with_a_lower_learning_rate(chain, ended):
    process = chain(goectp={'settings': {'learning_rate': 0.1}})
    ended(process, CODES.ERROR_INTERRUPTED, epochs=3)
    assert 'parent_folder' in process.ctx.inputs
    rates = []
    for _ in range(3):
        assert ended(process, CODES.ERROR_DIVERGED, epochs=5)[1].status == 0
        rates.append(process.ctx.inputs.settings['learning_rate'])
        # a saved state belongs to its learning rate
        assert 'parent_folder' not in process.ctx.inputs
    assert rates == pytest.approx([0.03, 0.009, 0.0027])
    _, result = ended(process, CODES.ERROR_DIVERGED, epochs=5)
    assert result.status == 415
    assert '0.0027' in result.message
    process = chain()
    ended(process, CODES.ERROR_DIVERGED)
    assert process.ctx.inputs.settings['learning_rate'] == pytest.approx(0.3 * 2e-3)


def test_a_plateau_ends_the_training(chain, ended):
    process = chain()
    node, result = ended(process, CODES.ERROR_PLATEAU, epochs=20, since_best=12)
    assert result.status == 0
    assert process.ctx.inputs.settings['patience'] == 12
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    assert not process.ctx.inputs.monitors
    process = chain(goectp={'settings': {'patience': 5}})
    ended(process, CODES.ERROR_PLATEAU, epochs=20, since_best=12)
    assert process.ctx.inputs.settings['patience'] == 5


def test_out_of_memory_halves_the_batch_size(chain, ended):
    process = chain()
    sizes = []
    for _ in range(3):
        assert ended(process, CODES.ERROR_OUT_OF_MEMORY, epochs=1)[1].status == 0
        sizes.append(process.ctx.inputs.settings['batch_size'])
        assert 'parent_folder' not in process.ctx.inputs
    assert sizes == [16, 8, 4]
    _, result = ended(process, CODES.ERROR_OUT_OF_MEMORY)
    assert result.status == 412


def test_a_lost_gpu_is_retried_once(chain, ended):
    process = chain()
    node, result = ended(process, CODES.ERROR_NO_DEVICE.format(message='gone'), epochs=2)
    assert result.status == 0
    assert process.ctx.inputs.device == 'auto'
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    _, result = ended(process, CODES.ERROR_NO_DEVICE.format(message='gone'), epochs=3)
    assert result.status == 413


def test_interrupted_and_killed_jobs_continue_while_epochs_are_added(chain, ended):
    process = chain()
    for epochs, code in ((1, CODES.ERROR_INTERRUPTED), (3, CODES.ERROR_KILLED), (4, CODES.ERROR_INTERRUPTED)):
        node, result = ended(process, code, epochs=epochs)
        assert result.status == 0
        assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    # a job that is killed before it reads the state reports no epoch; the state of the job before it counts
    assert ended(process, CODES.ERROR_KILLED, epochs=0)[1].status == 0
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    _, result = ended(process, CODES.ERROR_KILLED, epochs=4)
    assert result.status == 414


def test_an_unhandled_exit_code(chain, ended):
    assert ended(chain(), CODES.ERROR_INTERNAL)[1].status == 402


def test_docstrings_of_handlers_give_error_and_action():
    handlers = [getattr(TrainWorkChain, name) for name in dir(TrainWorkChain) if name.startswith('handle_')]
    assert len(handlers) == 8
    assert all(': ' in handler.__doc__ for handler in handlers)


@pytest.fixture
def run_broken(code, dataset, tmp_path, aiida_code_installed):
    """Return a function that runs the work chain with a fault in its first job."""

    def run(fault, data=dataset, monitors=None, options=None, **settings):
        broken = faulty_once(code, fault, tmp_path, aiida_code_installed)
        job = {'settings': SMALL | settings, 'device': 'cpu', 'monitors': {'training': monitors}}
        builder = TrainWorkChain.get_builder_from_protocol(
            broken, data, overrides={'goectp': job}, options={'resources': ONE_CORE, **(options or {})}, split='mine'
        )
        return run_get_node(builder)[1]

    return run


def exit_statuses(node):
    assert node.is_finished_ok, node.exit_message
    return [job.exit_status for job in jobs_of(node)]


@pytest.mark.slow
def test_a_resumed_training_has_the_weights_of_an_uninterrupted_one(run_broken):
    from aiida_goectp.core.learning.settings import TrainSettings
    from aiida_goectp.core.learning.train import train_committee
    from aiida_goectp.core.network.checkpoint import load_model

    data = DatasetData(tiny.some_dataset(200).with_split('mine', 'random', 1)).store()
    node = run_broken('kill_after_epochs=2', data)
    assert exit_statuses(node) == [323, 0]
    killed, resumed = jobs_of(node)
    assert resumed.inputs.parent_folder.uuid == killed.outputs.remote_folder.uuid
    assert killed.outputs.history.get_array('epoch').tolist() == [1, 2]
    assert resumed.outputs.history.get_array('epoch').tolist() == [1, 2, 3, 4]
    assert node.outputs.model.creator.uuid == resumed.uuid
    assert node.outputs.model.card.training['rows']['train'] == 160

    tiny.one_thread()
    parts = [data.dataset.part('mine', part) for part in ('train', 'validation')]
    uninterrupted = train_committee(*parts, TrainSettings(**SMALL))[0].state_dict()
    with node.outputs.model.as_path() as path:
        weights = load_model(path).networks[0].state_dict()
    trained = [name for name in uninterrupted if 'whitening' not in name]  # computed after the training
    assert len(trained) > 10
    assert all(weights[name].equal(uninterrupted[name]) for name in trained)


@pytest.mark.slow
def test_job_that_diverges(run_broken):
    node = run_broken('nan_at_epoch=2', learning_rate=0.01)
    assert exit_statuses(node) == [325, 0]
    first, second = jobs_of(node)
    assert first.outputs.history.get_array('epoch').tolist() == [1]
    assert second.inputs.settings['learning_rate'] == pytest.approx(0.003)
    assert 'parent_folder' not in second.inputs


@pytest.mark.slow
def test_job_out_of_memory(run_broken):
    node = run_broken('oom_above=7')
    assert exit_statuses(node) == [321, 0]
    assert jobs_of(node)[1].inputs.settings['batch_size'] == 4


@pytest.mark.slow
def test_job_that_loses_its_gpu(run_broken):
    assert exit_statuses(run_broken('gpu_lost')) == [320, 0]


@pytest.mark.slow
def test_job_that_reaches_its_wall_time(run_broken):
    node = run_broken('slow_epoch=20', options={'max_wallclock_seconds': 60})
    assert exit_statuses(node)[:2] == [322, 0]
    first, second = jobs_of(node)
    assert 0 < first.outputs.output_parameters['epochs_done'] < 4
    assert second.outputs.history.get_array('epoch').tolist() == [1, 2, 3, 4]


@pytest.mark.slow
def test_job_that_the_monitor_stops(run_broken):
    # with this learning rate the validation error does not improve after the first epochs
    monitor = {'entry_point': 'goectp.training', 'kwargs': {'patience': 3}, 'minimum_poll_interval': None}
    rate = {'learning_rate': 0.5, 'schedule': 'constant', 'keep': 'best', 'epochs': 500}
    node = run_broken('slow_epoch=0.5', monitors=monitor, **rate)
    assert exit_statuses(node) == [326, 0]
    second = jobs_of(node)[1]
    assert second.inputs.settings['patience'] >= 3
    assert second.outputs.output_parameters['epoch'] < 500

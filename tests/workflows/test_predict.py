"""``PredictWorkChain``: each error handler on a job with its exit code, then real jobs with injected faults."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import ExitCode, ProcessHandlerReport, run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_goectp.calculations.predict import PredictCalculation
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.predict import PredictWorkChain
from tests.workflows.jobs import end_job, faulty_once, jobs_of, raise_before_submission

CODES = PredictCalculation.spec().exit_codes


@pytest.fixture
def chain(aiida_profile, aiida_code_installed, crystals, write_model):
    """Return a function that instantiates a work chain and executes its first step."""

    def make(**inputs):
        code = aiida_code_installed(label='any', filepath_executable='/bin/true')
        model = ModelData.get_or_create(write_model())
        builder = PredictWorkChain.get_builder_from_protocol(code, crystals, model, overrides=inputs)
        process = instantiate_process(get_manager().get_runner(), builder)
        process.setup()
        process.ctx.children = []
        return process

    return make


@pytest.fixture
def ended(aiida_localhost):
    """Return a function that adds a job with an exit code to a work chain, and executes ``inspect_process``."""

    def end(process, code, rows=0, predictions=None, **status):
        reported = {'rows_done': rows, 'rows_total': 6, 'batch_atoms': 1024, 'device': 'cuda:0'} | status
        more = {'predictions': predictions} if predictions is not None else {}
        return end_job(process, aiida_localhost, 'goectp.predict', code, status=orm.Dict(reported), **more)

    return end


@pytest.mark.parametrize('code', [CODES.ERROR_BAD_INPUT, CODES.ERROR_BAD_MODEL])
def test_refused_input(chain, ended, code):
    _, result = ended(chain(), code.format(message='in row 7'))
    assert result.status == 212
    assert 'in row 7' in result.message


def test_outputs_that_a_killed_worker_has_linked_are_outputs(chain, ended, crystals, predict_by_hand):
    """The last step is executed again, by a process without outputs."""
    process = chain()
    predictions = PredictionsData(predict_by_hand(crystals.crystals))
    ended(process, ExitCode(0), predictions=predictions)
    process.results()
    process.update_outputs()
    linked = {name: output.uuid for name, output in process.outputs.items()}
    process._outputs.clear()
    process.results()
    assert {name: output.uuid for name, output in process.outputs.items()} == linked
    assert linked['predictions'] == predictions.uuid


@pytest.mark.parametrize(('faults', 'status'), [(1, 0), (2, 301)])
def test_a_job_that_raises_before_it_is_submitted_is_replaced_once(code, crystals, model, monkeypatch, faults, status):
    raise_before_submission(monkeypatch, PredictCalculation, faults)
    builder = PredictWorkChain.get_builder_from_protocol(code, crystals, model)
    _, node = run_get_node(builder)
    assert node.exit_status == status
    assert [job.is_excepted for job in jobs_of(node)] == ([True, False] if status == 0 else [True, True])


def test_too_many_failed_rows_keep_the_outputs(chain, ended, crystals, predict_by_hand):
    process = chain()
    predictions = PredictionsData(predict_by_hand(crystals.crystals, failed=[1, 2]))
    _, result = ended(process, CODES.ERROR_TOO_MANY_FAILED_ROWS, predictions=predictions)
    assert result.status == 410
    assert '2 of 6' in result.message
    assert process.outputs['predictions'].uuid == predictions.uuid


def test_out_of_memory_reduces_the_batch(chain, ended):
    process = chain()
    node, result = ended(process, CODES.ERROR_OUT_OF_MEMORY, rows=3)
    assert result.status == 0
    assert process.ctx.inputs.batch_atoms == 256
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    ended(process, CODES.ERROR_OUT_OF_MEMORY, batch_atoms=256)
    assert process.ctx.inputs.batch_atoms == 64
    # the rows of an earlier job are kept after a job that finished none
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid


def test_out_of_memory_at_the_smallest_batch_moves_to_the_cpu(chain, ended):
    process = chain(goectp={'batch_atoms': 64})
    _, result = ended(process, CODES.ERROR_OUT_OF_MEMORY, batch_atoms=64)
    assert result.status == 0
    assert process.ctx.inputs.device == 'cpu'
    assert 'batch_atoms' not in process.ctx.inputs


@pytest.mark.parametrize(('allow_cpu', 'device'), [(False, 'cuda:0'), (True, 'cpu')])
def test_out_of_memory_without_an_alternative(chain, ended, allow_cpu, device):
    process = chain(goectp={'batch_atoms': 64}, allow_cpu=allow_cpu)
    _, result = ended(process, CODES.ERROR_OUT_OF_MEMORY, batch_atoms=64, device=device)
    assert result.status == 412


def test_a_lost_gpu(chain, ended):
    process = chain()
    node, result = ended(process, CODES.ERROR_NO_DEVICE, rows=2)
    assert result.status == 0
    assert process.ctx.inputs.device == 'cpu'
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    _, result = ended(process, CODES.ERROR_NO_DEVICE, rows=2)
    assert result.status == 413
    _, result = ended(chain(allow_cpu=False), CODES.ERROR_NO_DEVICE)
    assert result.status == 413


def test_an_interrupted_job_is_continued(chain, ended):
    process = chain()
    for rows in (1, 3, 5):
        node, result = ended(process, CODES.ERROR_INTERRUPTED, rows=rows)
        assert result.status == 0
        assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    assert 'batch_atoms' not in process.ctx.inputs


def test_jobs_without_progress(chain, ended):
    process = chain()
    assert ended(process, CODES.ERROR_INTERRUPTED, rows=2)[1].status == 0
    assert ended(process, CODES.ERROR_INTERRUPTED, rows=2)[1].status == 0
    _, result = ended(process, CODES.ERROR_KILLED, rows=2)
    assert result.status == 414


def test_a_killed_job_is_continued_with_smaller_batches_if_it_made_no_progress(chain, ended):
    process = chain()
    node, result = ended(process, CODES.ERROR_KILLED, rows=4)
    assert result.status == 0
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
    assert 'batch_atoms' not in process.ctx.inputs
    ended(process, CODES.ERROR_KILLED, rows=4)
    assert process.ctx.inputs.batch_atoms == 256


def test_a_full_disk_ends_the_work_chain(chain, ended):
    process = chain()
    node, result = ended(process, CODES.ERROR_CANNOT_WRITE.format(message='No space left on device'), rows=4)
    assert result.status == 416
    assert f'node {node.outputs.remote_folder.pk},' in result.message
    assert 'No space left' in result.message


def test_a_full_disk_pauses_the_work_chain_if_failures_do(chain, ended):
    process = chain(on_unhandled_failure='pause')
    process.pause = lambda message: pauses.append(message)
    pauses = []
    node, result = ended(process, CODES.ERROR_CANNOT_WRITE.format(message='No space left on device'), rows=4)
    assert result.status == 0
    assert len(pauses) == 1
    assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid


def test_an_unhandled_exit_code(chain, ended):
    _, result = ended(chain(), CODES.ERROR_INTERNAL)
    assert result.status == 402


def test_maximum_number_of_jobs(chain, ended):
    process = chain(max_iterations=2)
    ended(process, CODES.ERROR_INTERRUPTED, rows=1)
    assert ended(process, CODES.ERROR_INTERRUPTED, rows=2)[1].status == 401


def test_docstrings_of_handlers_give_error_and_action():
    handlers = [getattr(PredictWorkChain, name) for name in dir(PredictWorkChain) if name.startswith('handle_')]
    assert len(handlers) == 7
    assert all(PredictWorkChain.is_process_handler(handler.__name__) for handler in handlers)
    assert all(': ' in handler.__doc__ for handler in handlers)
    assert ProcessHandlerReport(True).exit_code.status == 0


@pytest.fixture
def run_broken(code, crystals, model, tmp_path, aiida_code_installed):
    """Return a function that runs the work chain with a fault in its first job."""

    def run(fault, **overrides):
        broken = faulty_once(code, fault, tmp_path, aiida_code_installed)
        builder = PredictWorkChain.get_builder_from_protocol(broken, crystals, model, overrides=overrides)
        return run_get_node(builder)

    return run


@pytest.fixture
def expected(crystals, model):
    from aiida_goectp.core.learning.predict import predict_crystals

    return predict_crystals(crystals.crystals, model.content, device='cpu')


def check(node, expected):
    predictions = node.outputs.predictions.predictions
    np.testing.assert_allclose(predictions.total, expected.total, rtol=1e-5, atol=1e-9)
    assert list(predictions.hashes) == list(expected.hashes)


@pytest.mark.slow
def test_job_that_cannot_write_is_not_restarted_and_can_be_continued(
    code, crystals, model, tmp_path, aiida_code_installed, expected
):
    script = tmp_path / 'goectp-with-small-files'
    script.write_text(f'#!/bin/bash\nulimit -f 4\nexec {code.filepath_executable} "$@"\n')
    script.chmod(0o755)
    limited = aiida_code_installed(label=f'limited-{tmp_path.name}', filepath_executable=str(script))
    overrides = {'goectp': {'batch_atoms': 2, 'device': 'cpu'}}
    builder = PredictWorkChain.get_builder_from_protocol(limited, crystals, model, overrides=overrides)
    _, node = run_get_node(builder)
    assert node.exit_status == 416
    (job,) = jobs_of(node)
    assert job.exit_status == 327
    assert 0 < job.outputs.status['rows_done'] <= 6  # the partial file fits, the result does not
    builder.goectp.code = code
    builder.goectp.parent_folder = job.outputs.remote_folder
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    check(node, expected)


@pytest.mark.slow
def test_job_that_is_killed(run_broken, expected, crystals):
    _, node = run_broken('kill_after=3', goectp={'batch_atoms': 4, 'device': 'cpu'})
    assert node.is_finished_ok, node.exit_message
    jobs = jobs_of(node)
    assert [job.exit_status for job in jobs] == [323, 0]
    assert jobs[0].outputs.status['rows_done'] >= 3
    assert jobs[1].inputs.parent_folder.uuid == jobs[0].outputs.remote_folder.uuid
    check(node, expected)


@pytest.mark.slow
def test_job_out_of_memory(run_broken, expected):
    _, node = run_broken('oom_above=1', goectp={'device': 'cpu'})
    assert node.is_finished_ok, node.exit_message
    jobs = jobs_of(node)
    assert [job.exit_status for job in jobs] == [321, 0]
    assert jobs[1].inputs.batch_atoms < 1024
    check(node, expected)


@pytest.mark.slow
def test_job_that_reaches_its_wall_time(run_broken, expected):
    overrides = {'batch_atoms': 4, 'device': 'cpu', 'metadata': {'options': {'max_wallclock_seconds': 60}}}
    _, node = run_broken('slow=20', goectp=overrides)
    assert node.is_finished_ok, node.exit_message
    jobs = jobs_of(node)
    assert [job.exit_status for job in jobs] == [322, 0]
    assert 0 < jobs[0].outputs.status['rows_done'] < 6
    check(node, expected)


@pytest.mark.slow
def test_job_without_a_gpu(run_broken, expected):
    _, node = run_broken('no_device', goectp={'device': 'cuda'})
    assert node.is_finished_ok, node.exit_message
    jobs = jobs_of(node)
    assert [job.exit_status for job in jobs] == [320, 0]
    assert jobs[1].inputs.device == 'cpu'
    check(node, expected)

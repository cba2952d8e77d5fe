"""Exit codes and outputs of the parser of ``goectp.predict``."""

import io
import json

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.parsers.predict import PredictParser

STATUS = {
    'version': 1,
    'state': 'finished',
    'rows_done': 6,
    'rows_total': 6,
    'rows_failed': 0,
    'device': 'cpu',
    'batch_atoms': 1024,
    'crystals_per_second': 10.0,
    'error': None,
}


@pytest.fixture
def tiny(aiida_profile, write_model):
    return ModelData.get_or_create(write_model())


@pytest.fixture
def parse(aiida_profile, aiida_localhost, crystal_set, tiny):
    """Return a function that parses files as if a job had left them."""

    def run(files, shard=None, fraction=1.0, scheduler_status=None, details=None):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:goectp.predict')
        inputs = {'crystals': CrystalsData(crystal_set), 'model': tiny, 'max_failed_fraction': orm.Float(fraction)}
        for name, value in (shard or {}).items():
            inputs[f'shard__{name}'] = orm.Int(value)
        for name, item in inputs.items():
            node.base.links.add_incoming(item.store(), link_type=LinkType.INPUT_CALC, link_label=name)
        if scheduler_status is not None:
            node.set_exit_status(scheduler_status)
        if details is not None:
            node.set_detailed_job_info(details)
        node.set_option('scheduler_stderr', '_scheduler-stderr.txt')
        node.store()
        retrieved = orm.FolderData()
        for name, content in files.items():
            retrieved.base.repository.put_object_from_bytes(content, name)
        retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='retrieved')
        retrieved.store()
        return PredictParser.parse_from_node(node, store_provenance=False)

    return run


def status(**changes):
    return json.dumps(STATUS | changes).encode()


def output(predictions):
    stream = io.BytesIO()
    predictions.save(stream)
    return stream.getvalue()


def files(predictions, **changes):
    return {'predictions.npz.status.json': status(**changes), 'predictions.npz': output(predictions)}


def test_finished_job(parse, crystal_set, predict_by_hand, tiny):
    results, node = parse(files(predict_by_hand(crystal_set, tiny.content_hash)))
    assert node.is_finished_ok, node.exit_message
    assert results['status'].get_dict() == STATUS
    assert list(results['predictions'].predictions.ids) == list(crystal_set.ids)


def test_shard(parse, crystal_set, predict_by_hand, tiny):
    part = crystal_set.take(range(2, 5))
    results, node = parse(files(predict_by_hand(part, tiny.content_hash)), shard={'start': 2, 'stop': 5})
    assert node.is_finished_ok, node.exit_message
    assert len(results['predictions']) == 3
    _, node = parse(files(predict_by_hand(part, tiny.content_hash)), shard={'start': 1, 'stop': 4})
    assert node.exit_status == 314
    assert [text in node.exit_message for text in ('row 1', 'GaAs', 'MgO')] == [True] * 3


def test_maximum_fraction_of_failed_rows(parse, crystal_set, predict_by_hand, tiny):
    predictions = predict_by_hand(crystal_set, tiny.content_hash, failed=[0, 4])
    _, node = parse(files(predictions), fraction=0.34)
    assert node.is_finished_ok
    results, node = parse(files(predictions), fraction=0.33)
    assert node.exit_status == 410
    assert '2 of 6' in node.exit_message
    assert results['predictions'].base.attributes.get('failed') == 2


@pytest.mark.parametrize(
    ('content', 'number', 'message'),
    [
        ({}, 310, 'stderr'),
        ({'goectp.err': b'bash: goectp: command not found'}, 310, 'command not found'),
        ({'predictions.npz.status.json': b'{"version": 1, "sta'}, 311, 'JSON'),
        ({'predictions.npz.status.json': b'{"version": 2}'}, 311, 'version 1'),
        ({'predictions.npz.status.json': b'{"version": 1, "state": "finished"}'}, 311, 'error, rows_done'),
        ({'predictions.npz.status.json': status()}, 312, 'predictions'),
        ({'predictions.npz.status.json': status(), 'predictions.npz': b'PK\x03\x04torn'}, 313, 'predictions'),
        ({'predictions.npz.status.json': status(state='running', rows_done=4)}, 323, '4 of 6 rows'),
        ({'predictions.npz.status.json': status(state='interrupted', rows_done=4)}, 322, '4 of 6 rows'),
    ],
)
def test_missing_and_invalid_files(parse, content, number, message):
    _, node = parse(content)
    assert node.exit_status == number
    assert message in node.exit_message


@pytest.mark.parametrize(
    ('code', 'number'),
    [
        ('bad_input', 210),
        ('bad_model', 211),
        ('no_device', 320),
        ('out_of_memory', 321),
        ('internal', 324),
        ('something new', 324),
    ],
)
def test_error_codes_of_the_executable(parse, code, number):
    results, node = parse(
        {'predictions.npz.status.json': status(state='failed', error={'code': code, 'message': 'why'})}
    )
    assert node.exit_status == number
    assert 'why' in node.exit_message
    assert results['status']['state'] == 'failed'


@pytest.mark.parametrize(('scheduler_status', 'number'), [(110, 321), (120, 322), (140, 323)])
def test_exit_codes_of_the_scheduler(parse, scheduler_status, number):
    _, node = parse(
        {'predictions.npz.status.json': status(state='running', rows_done=2)}, scheduler_status=scheduler_status
    )
    assert node.exit_status == number


@pytest.mark.parametrize(
    ('line', 'number'),
    [
        ('slurmstepd: error: StepId=1.batch exceeded memory limit (150712320 > 104857600), being killed', 321),
        ('slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some tasks have been OOM Killed.', 321),
        ('slurmstepd: error: *** JOB 2 ON node CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***', 322),
        ('slurmstepd: error: *** JOB 2 ON node CANCELLED AT 2026-01-01T00:00:00 ***', 323),
    ],
)
def test_messages_of_the_scheduler_after_those_of_the_environment(parse, line, number):
    """Slurm without accounting, or with state FAILED for a job beyond its memory; aiida-core reads one line."""
    _, node = parse(
        {
            'predictions.npz.status.json': status(state='running', rows_done=2),
            '_scheduler-stderr.txt': f'loading modules\n{line}\n'.encode(),
        }
    )
    assert node.exit_status == number


def test_predictions_of_other_crystals_or_models(parse, crystal_set, predict_by_hand, tiny):
    _, node = parse(files(predict_by_hand(crystal_set.take([1, 0, 2, 3, 4, 5]), tiny.content_hash)))
    assert node.exit_status == 314
    assert [text in node.exit_message for text in ('row 0', 'MgO', 'Si')] == [True] * 3
    _, node = parse(files(predict_by_hand(crystal_set.take(range(5)), tiny.content_hash)))
    assert '5 rows' in node.exit_message
    _, node = parse(files(predict_by_hand(crystal_set, 'b' * 40)))
    assert node.exit_status == 315


CANNOT_WRITE = b'goectp: cannot_write: predictions.npz.partial: cannot be written (No space left on device)'


@pytest.mark.parametrize(
    'content',
    [
        {'goectp.err': CANNOT_WRITE},
        {'predictions.npz.status.json': b''},
        {'predictions.npz.status.json': b'', 'goectp.err': CANNOT_WRITE},
        {
            'predictions.npz.status.json': status(
                state='failed', error={'code': 'cannot_write', 'message': CANNOT_WRITE.decode()}
            )
        },
    ],
)
def test_a_folder_that_cannot_be_written_to(parse, content):
    _, node = parse(content)
    assert node.exit_status == 327


def test_a_folder_to_which_nothing_could_be_written(parse):
    """Only the scheduler knows the exit status; the status file is that of a running job."""
    details = {'stdout': 'AllocCPUS|ExitCode|State|\n1|73:0|FAILED|\n1|73:0|FAILED|\n'}
    _, node = parse({'predictions.npz.status.json': status(state='running', rows_done=4)}, details=details)
    assert node.exit_status == 327
    details = {'stdout': 'AllocCPUS|ExitCode|State|\n1|0:9|FAILED|\n'}
    _, node = parse({'predictions.npz.status.json': status(state='running', rows_done=4)}, details=details)
    assert node.exit_status == 323


@pytest.mark.parametrize(
    'content',
    [
        b'[' * 100_000,
        status(rows_done='4'),
        status(rows_done=None),
        status(error=['x']),
        b' ' * 2**21,
        json.dumps({**STATUS, 'x': 0}).encode().replace(b'"x": 0', b'"x": ' + b'[' * 900 + b']' * 900),
    ],
)
def test_hostile_status_files(parse, content):
    _, node = parse({'predictions.npz.status.json': content})
    assert node.exit_status == 311

"""Exit codes and outputs of the parser of ``goectp.train``."""

import json

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.parsers.train import TrainParser
from tests import tiny

STATUS = {
    'version': 1, 'state': 'finished', 'error': None, 'epochs_done': 3, 'epochs_total': 3, 'epoch': 3, 'epochs': 3,
    'member': 0, 'members': 1, 'loss': 0.1, 'best_epoch': 2, 'since_best': 1, 'device': 'cpu',
}  # fmt: skip
NAME = 'model.safetensors'


def status(**changes):
    return json.dumps(STATUS | changes).encode()


def log(maes, losses=None):
    best, lines = float('inf'), []
    for epoch, (mae, loss) in enumerate(zip(maes, losses or [0.5] * len(maes), strict=True), start=1):
        validation = {'electronic': {'mae': mae, 'rows': 2}}
        line = {'member': 0, 'members': 1, 'epoch': epoch, 'epochs': 9, 'loss': loss, 'learning_rate': 0.1}
        lines.append(json.dumps({**line, 'seconds': 2.0, 'validation': validation, 'best': bool(mae and mae < best)}))
        best = min(best, mae or best)
    return '\n'.join(lines).encode()


@pytest.fixture
def parse(aiida_profile, aiida_localhost):
    """Return a function that parses files as if a job had left them."""

    def run(files, settings=None, patience=None, scheduler_status=None):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:goectp.train')
        inputs = {'dataset': DatasetData(tiny.some_dataset(4)), 'settings': orm.Dict(settings or {})}
        if patience is not None:
            monitor = {'entry_point': 'goectp.training', 'kwargs': {'patience': patience}}
            inputs |= {'monitors__training': orm.Dict(monitor), 'monitors__other': orm.Dict({'entry_point': 'x'})}
        for name, item in inputs.items():
            node.base.links.add_incoming(item.store(), link_type=LinkType.INPUT_CALC, link_label=name)
        if scheduler_status is not None:
            node.set_exit_status(scheduler_status)
        node.store()
        retrieved = orm.FolderData()
        for suffix, content in files.items():
            name = suffix if suffix.startswith('goectp') else NAME + suffix
            retrieved.base.repository.put_object_from_bytes(content, name)
        retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='retrieved')
        retrieved.store()
        return TrainParser.parse_from_node(node, store_provenance=False)

    return run


def test_finished_job(parse, write_model):
    model = write_model('trained', metrics={'test': {'electronic': {'mae': 0.5}}}).read_bytes()
    results, node = parse({'.status.json': status(), '.log.jsonl': log([3.0, 1.0, 2.0]), '': model})
    assert node.is_finished_ok, node.exit_message
    assert results['model'].card.name == 'trained'
    assert results['model'].content == model
    parameters = results['output_parameters'].get_dict()
    assert parameters['metrics'] == {'test': {'electronic': {'mae': 0.5}}}
    assert parameters['seconds'] == 6
    assert parameters | STATUS == parameters
    history = results['history']
    np.testing.assert_array_equal(history.get_array('epoch'), [1, 2, 3])
    np.testing.assert_array_equal(history.get_array('validation_electronic_mae'), [3, 1, 2])
    np.testing.assert_array_equal(history.get_array('best'), [True, True, False])


def test_equal_stored_model_is_another_node(parse, write_model):
    path = write_model('again')
    there = ModelData.get_or_create(path)
    results, _ = parse({'.status.json': status(), '': path.read_bytes()})
    assert results['model'].uuid != there.uuid
    assert results['model'].content_hash == there.content_hash
    assert 'history' not in results


@pytest.mark.parametrize(
    ('content', 'number', 'message'),
    [
        ({}, 310, 'stderr'),
        ({'goectp.err': b'bash: goectp: command not found'}, 310, 'command not found'),
        ({'.status.json': b'{"version": 1, "sta'}, 311, 'JSON'),
        ({'.status.json': b'{"version": 1, "state": "finished", "error": null}'}, 311, 'epochs_done, epochs_t'),
        ({'.status.json': status()}, 312, 'model'),
        ({'.status.json': status(), '': b'\x80\x02torn'}, 313, 'not a safetensors file'),
        ({'.status.json': status(state='running', epochs_done=2)}, 323, '2 of 3 epochs'),
        ({'.status.json': status(state='interrupted', epochs_done=2)}, 322, '2 of 3 epochs'),
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
        ('diverged', 325),
        ('something new', 324),
    ],
)
def test_error_codes_of_the_executable(parse, code, number):
    failed = status(state='failed', error={'code': code, 'message': 'why'})
    results, node = parse({'.status.json': failed, '.log.jsonl': log([1.0])}, patience=1)
    assert node.exit_status == number
    assert 'why' in node.exit_message
    assert results['output_parameters']['state'] == 'failed'
    assert results['history'].get_array('epoch').tolist() == [1]


@pytest.mark.parametrize(('scheduler_status', 'number'), [(110, 321), (120, 322), (140, 323)])
def test_exit_codes_of_the_scheduler(parse, scheduler_status, number):
    _, node = parse({'.status.json': status(state='running')}, scheduler_status=scheduler_status)
    assert node.exit_status == number


@pytest.mark.parametrize('state', ['running', 'interrupted'])
def test_exit_codes_of_the_monitor(parse, state):
    files = {'.status.json': status(state=state), '.log.jsonl': log([3.0, 1.0, 2.0, 2.0])}
    _, node = parse(files, patience=2)
    assert node.exit_status == 326
    assert '2' in node.exit_message
    assert parse(files, patience=3)[1].exit_status in (322, 323)
    assert parse(files)[1].exit_status in (322, 323)
    files['.log.jsonl'] = log([3.0, 1.0], [0.5, None])
    _, node = parse(files, patience=9)
    assert node.exit_status == 325
    assert 'epoch 2' in node.exit_message


def test_number_of_members_differs_from_the_settings(parse, write_model):
    files = {'.status.json': status(), '': write_model().read_bytes()}
    _, node = parse(files, settings={'members': 3})
    assert node.exit_status == 315
    assert '1 members, not 3' in node.exit_message

"""``goectp train``: from labelled crystals to a model file with its card, through a kill if need be."""

from __future__ import annotations

import gzip
import json
import signal
import time

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.model_card import model_hash, read_card
from aiida_goectp.core.formats.training_log import TrainingLog
from tests import tiny

SMALL = ['--width', 16, '--layers', 1, '--batch-size', 8, '--device', 'cpu', '--threads', 1]


@pytest.fixture
def data(tmp_path):
    data = tiny.some_dataset(24)
    data.save(tmp_path / 'data.npz')
    return data


@pytest.fixture
def split(data, tmp_path):
    """A split file whose parts are told apart by their ids."""
    ids = data.crystals.ids.tolist()
    parts = {'train': ids[4:], 'validation': ids[:2], 'test': ids[2:4]}
    (tmp_path / 'splits.json').write_text(json.dumps({'splits': {'mine': parts, 'bad': {'train': ['nobody']}}}))
    return parts


def test_the_model_and_its_card(goectp, data, split, tmp_path):
    arguments = ['--split-file', 'splits.json', '--split', 'mine', '--epochs', 2, '--seed', 3, '--name', 'first']
    prose = ['--functional', 'PBEsol', '--licence', 'CC-BY-4.0', '--citation', 'somebody', '--notes', 'a try']
    said = goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, *arguments, *prose).output
    assert '20 crystals to learn from, 2 to validate, cpu' in said
    assert 'epoch 2/2: loss' in said
    assert 'test electronic: rows 2' in said
    card = read_card(tmp_path / 'model.safetensors')
    assert (card.name, card.preset, card.targets, card.members) == ('first', 'goectp', ['electronic', 'ionic'], 1)
    assert (card.functional, card.licence, card.citation, card.notes) == ('PBEsol', 'CC-BY-4.0', 'somebody', 'a try')
    assert card.elements == np.unique(data.crystals.take(range(4, 24)).atomic_numbers).tolist()
    assert card.training['rows'] == {'train': 20, 'validation': 2, 'test': 2}
    assert card.training['data'] == 'data.npz, split mine'
    assert card.training['settings']['seed'] == 3
    assert len(card.training['hash']) == 64
    assert set(card.metrics['test']) == {'electronic', 'ionic', 'total'}
    assert card.metrics['test']['electronic']['rows'] == 2
    assert card.architecture['options'] == {'width': 16, 'layers': 1, 'bins': 128}
    log = [json.loads(line) for line in (tmp_path / 'model.safetensors.log.jsonl').read_text().splitlines()]
    assert [(line['member'], line['epoch']) for line in log] == [(0, 1), (0, 2)]
    assert {'loss', 'learning_rate', 'seconds', 'validation', 'best', 'members', 'epochs'} <= set(log[0])
    assert not (tmp_path / 'model.safetensors.state').exists()
    # what was trained predicts
    data.crystals.save(tmp_path / 'crystals.npz')
    arguments = ['--model', 'model.safetensors', '--output', 'out.npz', '--device', 'cpu', '--quiet']
    goectp('predict', 'crystals.npz', *arguments)
    assert 'first: preset goectp' in goectp('info', 'model.safetensors').output


def test_the_status_file_says_everything(goectp, data, status, tmp_path):
    goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 3, '--quiet')
    fields = status('model.safetensors')
    assert (fields['version'], fields['state'], fields['error']) == (1, 'finished', None)
    assert (fields['epochs_done'], fields['epochs_total'], fields['epoch'], fields['epochs']) == (3, 3, 3, 3)
    assert (fields['member'], fields['members']) == (0, 1)
    assert (fields['device'], fields['batch_size']) == ('cpu', 8)
    assert fields['rows'] == {'train': 20, 'validation': 2, 'test': 2}
    assert fields['loss'] > 0
    assert fields['seconds_left'] == 0
    log = [json.loads(line) for line in (tmp_path / 'model.safetensors.log.jsonl').read_text().splitlines()]
    best = [line for line in log if line['best']][-1]
    assert fields['best_epoch'] == best['epoch']
    assert fields['since_best'] == 3 - best['epoch']
    assert fields['best_validation']['electronic'] == best['validation']['electronic']['mae']


def test_a_killed_training_ends_with_the_same_weights(goectp, start, data, status, tmp_path):
    arguments = ['train', 'data.npz', *SMALL, '--epochs', 3, '--members', 2]
    process = start(*arguments, '--output', 'killed.safetensors', fault='kill_after_epochs=4')
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / 'killed.safetensors').exists()
    fields = status('killed.safetensors')
    assert (fields['state'], fields['member'], fields['epoch'], fields['epochs_done']) == ('running', 1, 1, 4)
    said = goectp(*arguments, '--output', 'killed.safetensors').output
    assert 'member 1/2' not in said
    assert 'member 2/2, epoch 1/3' not in said
    assert 'member 2/2, epoch 3/3' in said
    goectp(*arguments, '--output', 'unbroken.safetensors')
    assert model_hash(tmp_path / 'killed.safetensors') == model_hash(tmp_path / 'unbroken.safetensors')
    assert read_card(tmp_path / 'killed.safetensors').members == 2
    logs = [
        TrainingLog.read(tmp_path / f'{name}.safetensors.log.jsonl').columns()['loss']
        for name in ('killed', 'unbroken')
    ]
    np.testing.assert_array_equal(*logs)


def test_asked_to_stop_and_going_on(goectp, start, data, status, tmp_path):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 4]
    process = start(*arguments, fault='slow_epoch=0.5')
    log, until = tmp_path / 'model.safetensors.log.jsonl', time.monotonic() + 300
    while not log.exists():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.terminate()
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 75
    assert 'interrupted: stopped after epoch' in said
    assert 'the same command goes on' in said
    fields = status('model.safetensors')
    assert (fields['state'], fields['error']['code']) == ('interrupted', 'interrupted')
    assert 0 < fields['epochs_done'] < 4
    goectp(*arguments)
    assert status('model.safetensors')['state'] == 'finished'
    assert [line['epoch'] for line in TrainingLog.read(log).lines] == [1, 2, 3, 4]


def test_the_time_is_up_before_an_epoch_that_would_not_be_done(goectp, data, status):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 3]
    goectp(*arguments, '--time-limit', 0.001, status=75)
    assert status('model.safetensors')['epochs_done'] == 1
    goectp(*arguments, '--time-limit', 0.001, status=75)
    assert status('model.safetensors')['epochs_done'] == 2
    goectp(*arguments, '--no-resume')
    assert status('model.safetensors')['state'] == 'finished'


def test_a_training_that_diverges(goectp, data, status, tmp_path):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 4]
    said = goectp(*arguments, status=5, fault='nan_at_epoch=3').output
    assert 'diverged: the loss became nan in epoch 3; lower the learning rate' in said
    fields = status('model.safetensors')
    assert (fields['state'], fields['error']['code'], fields['epochs_done']) == ('failed', 'diverged', 2)
    assert not (tmp_path / 'model.safetensors').exists()


def test_memory_that_does_not_suffice(goectp, data, status):
    said = goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, status=4, fault='oom_above=7').output
    assert 'out_of_memory: the memory of cpu does not suffice' in said
    assert status('model.safetensors')['error']['code'] == 'out_of_memory'


def test_a_gpu_lost_on_the_way(goectp, data, status):
    goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, status=3, fault='gpu_lost')
    assert status('model.safetensors')['error']['code'] == 'no_device'


def test_patience_ends_it_and_the_best_weights_are_kept(goectp, data, status, tmp_path):
    # a learning rate that hurts: nothing gets better after the first epochs
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--keep', 'best', '--epochs', 60]
    goectp(*arguments, '--patience', 2, '--learning-rate', 0.5, '--schedule', 'constant')
    fields = status('model.safetensors')
    assert fields['epoch'] < 60
    assert fields['since_best'] == 2
    assert fields['state'] == 'finished'


def test_going_on_from_a_model(goectp, data, tmp_path):
    first = ['train', 'data.npz', '--output', 'first.safetensors', *SMALL, '--epochs', 4, '--functional', 'PBE']
    goectp(*first)
    # network and preset are those of the model, although nothing names them
    more = ['--batch-size', 8, '--device', 'cpu', '--threads', 1, '--epochs', 1, '--learning-rate', 1e-5]
    said = goectp('train', 'data.npz', '--output', 'more.safetensors', '--initial', 'first.safetensors', *more).output
    log = [TrainingLog.read(tmp_path / f'{name}.safetensors.log.jsonl') for name in ('first', 'more')]
    assert 'epoch 1/1' in said
    assert log[1].lines[0]['loss'] < log[0].lines[0]['loss']
    card = read_card(tmp_path / 'more.safetensors')
    assert card.architecture == read_card(tmp_path / 'first.safetensors').architecture
    assert card.training['parent'] == model_hash(tmp_path / 'first.safetensors')


def test_a_model_of_two_functionals_predicts_the_one_it_was_tuned_to(goectp, data, tmp_path):
    tiny.write_mixed_model(tmp_path / 'two.safetensors', ['PBEsol', 'PBE'])
    more = ['--initial', 'two.safetensors', '--functional', 'PBE', '--epochs', 1, '--output', 'tuned.safetensors']
    goectp('train', 'data.npz', *more, '--device', 'cpu', '--quiet')
    card = read_card(tmp_path / 'tuned.safetensors')
    assert (card.functional, card.members) == ('PBE', 2)
    assert [item['functionals'] for item in card.architectures] == [['PBE', 'PBEsol']] * 2


def test_a_random_split_holds_out_rows_with_any_label(goectp, data, tmp_path):
    electronic, ionic = data.electronic.copy(), data.ionic.copy()
    electronic[:2], ionic[2:4] = np.nan, np.nan
    electronic[5], ionic[5] = np.nan, np.nan  # nothing to learn here; row 0 has no label either
    Dataset(data.crystals, electronic, ionic).save(tmp_path / 'data.npz')
    said = goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 1).output
    assert '18 crystals to learn from, 2 to validate' in said
    assert read_card(tmp_path / 'model.safetensors').training['data'] == 'data.npz, split random, seed 0'


def test_json_lines_as_data(goectp, data, tmp_path):
    symbols = {3: 'Li', 8: 'O', 11: 'Na', 12: 'Mg', 13: 'Al', 14: 'Si', 19: 'K', 20: 'Ca'} | {22: 'Ti', 31: 'Ga'}
    symbols |= {33: 'As', 38: 'Sr'}
    with gzip.open(tmp_path / 'data.jsonl.gz', 'wt') as stream:
        for row, crystal in enumerate(data.crystals):
            line = {
                'id': crystal.id,
                'lattice': crystal.lattice.tolist(),
                'species': [symbols[int(z)] for z in crystal.atomic_numbers],
                'frac_coords': crystal.fractional_positions.tolist(),
                'eps_electronic': data.electronic[row].tolist(),
                'eps_ionic_fd': data.ionic[row].tolist() if row % 5 else None,
            }
            stream.write(json.dumps(line) + '\n')
    goectp('train', 'data.jsonl.gz', '--output', 'lines.safetensors', *SMALL, '--epochs', 1)
    goectp('train', 'data.npz', '--output', 'table.safetensors', *SMALL, '--epochs', 1)
    lines, table = (read_card(tmp_path / f'{name}.safetensors') for name in ('lines', 'table'))
    assert lines.training['hash'] == table.training['hash']
    assert lines.metrics == table.metrics


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        (['--split', 'mine'], 2, "the dataset has no split 'mine'"),
        (['--split-file', 'splits.json'], 2, 'name a split of splits.json with --split'),
        (['--settings', 'splits.json'], 2, 'settings: splits: Extra inputs are not permitted'),
        (['--settings', 'data.npz'], 2, 'data.npz: no JSON'),
        (['--initial', 'data.npz'], 2, 'bad_model: data.npz: not a safetensors file'),
        (['--initial', 'nobody'], 2, 'bad_model: nobody: no such model file'),
        (['--split-file', 'splits.json', '--split', 'other'], 2, "no split 'other' with a part train; has mine, bad"),
        (['--split-file', 'splits.json', '--split', 'bad'], 2, 'not in the dataset: nobody'),
        (['--split-file', 'data.npz', '--split', 'mine'], 2, 'no JSON of the form splits'),
        (['--preset', 'other'], 2, "'other' is not one of"),
        (['--batch-size', '1'], 2, 'not in the range x>=2'),
        (['--learning-rate', '-1'], 2, 'learning_rate'),
        (['--device', 'cuda'], 3, 'no_device: device cuda is not there'),
    ],
)
def test_what_is_refused(goectp, split, arguments, status, words):
    fault = 'no_device' if status == 3 else None
    output = ['--output', 'model.safetensors', '--epochs', 1]
    assert words in goectp('train', 'data.npz', *output, *arguments, status=status, fault=fault).output


def test_too_little_to_learn_from(goectp, data, tmp_path):
    unknown = np.full((24, 3, 3), np.nan)
    Dataset(data.crystals, unknown, unknown).save(tmp_path / 'empty.npz')
    said = goectp('train', 'empty.npz', '--output', 'model.safetensors', *SMALL, status=2).output
    assert 'empty.npz: 0 labelled crystals to learn from' in said


def test_the_state_of_other_data_is_refused(goectp, data, tmp_path):
    output = tmp_path / 'model.safetensors'
    output.with_name('model.safetensors.state').write_bytes(b'something else')
    said = goectp('train', 'data.npz', '--output', output, *SMALL, status=2).output
    assert 'model.safetensors.state: not the state of a training' in said
    assert not output.exists()

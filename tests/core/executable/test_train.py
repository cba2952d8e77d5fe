"""``goectp train``: from labelled crystals to a model file with its card; killed and interrupted trainings."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from aiida_goectp.core.executable.status import EXIT_STATUS
from aiida_goectp.core.formats.model_card import model_hash, read_card, read_trained_on
from aiida_goectp.core.formats.training_log import TrainingLog
from aiida_goectp.core.learning import calibrate
from tests import tiny

SMALL = ['--width', 16, '--layers', 1, '--batch-size', 8, '--device', 'cpu', '--threads', 1]


@pytest.fixture
def data(tmp_path):
    data = tiny.some_dataset(24)
    data.save(tmp_path / 'data.npz')
    return data


@pytest.fixture
def split(data, tmp_path):
    """A split file."""
    ids = data.crystals.ids.tolist()
    parts = {'train': ids[4:], 'validation': ids[:2], 'test': ids[2:4]}
    (tmp_path / 'splits.json').write_text(json.dumps({'splits': {'mine': parts, 'bad': {'train': ['nobody']}}}))
    return parts


def test_the_model_and_its_card(goectp, data, split, tmp_path):
    arguments = ['--split-file', 'splits.json', '--split', 'mine', '--epochs', 2, '--seed', 3, '--name', 'first']
    texts = ['--functional', 'PBEsol', '--licence', 'CC-BY-4.0', '--citation', 'somebody', '--notes', 'a try']
    output = goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, *arguments, *texts).output
    assert 'epoch 2/2: loss' in output
    assert 'test electronic: rows 2' in output
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
    data.crystals.save(tmp_path / 'crystals.npz')
    arguments = ['--model', 'model.safetensors', '--output', 'out.npz', '--device', 'cpu', '--quiet']
    goectp('predict', 'crystals.npz', *arguments)
    assert 'first: preset goectp' in goectp('info', 'model.safetensors').output


def test_the_status_file_of_a_finished_training(goectp, data, status, tmp_path):
    goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 3, '--quiet')
    fields = status('model.safetensors')
    assert (fields['version'], fields['state'], fields['error']) == (1, 'finished', None)
    assert (fields['epochs_done'], fields['epochs_total'], fields['epoch'], fields['epochs']) == (3, 3, 3, 3)
    assert (fields['member'], fields['members']) == (0, 1)
    assert (fields['device'], fields['batch_size']) == ('cpu', 8)
    assert fields['rows'] == {'train': 19, 'validation': 2, 'test': 3}  # three rows of one crystal
    assert fields['loss'] > 0
    assert fields['seconds_left'] == 0
    log = [json.loads(line) for line in (tmp_path / 'model.safetensors.log.jsonl').read_text().splitlines()]
    best = [line for line in log if line['best']][-1]
    assert fields['best_epoch'] == best['epoch']
    assert fields['since_best'] == 3 - best['epoch']
    assert fields['best_validation']['electronic'] == best['validation']['electronic']['mae']


def test_a_resumed_training_gives_the_same_weights(goectp, start, data, status, tmp_path):
    arguments = ['train', 'data.npz', *SMALL, '--epochs', 3, '--members', 2]
    process = start(*arguments, '--output', 'killed.safetensors', fault='kill_after_epochs=4')
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / 'killed.safetensors').exists()
    fields = status('killed.safetensors')
    assert (fields['state'], fields['member'], fields['epoch'], fields['epochs_done']) == ('running', 1, 1, 4)
    output = goectp(*arguments, '--output', 'killed.safetensors').output
    assert 'member 1/2' not in output
    assert 'member 2/2, epoch 1/3' not in output
    assert 'member 2/2, epoch 3/3' in output
    goectp(*arguments, '--output', 'uninterrupted.safetensors')
    assert model_hash(tmp_path / 'killed.safetensors') == model_hash(tmp_path / 'uninterrupted.safetensors')
    assert read_card(tmp_path / 'killed.safetensors').members == 2
    logs = [
        TrainingLog.read(tmp_path / f'{name}.safetensors.log.jsonl').columns()['loss']
        for name in ('killed', 'uninterrupted')
    ]
    np.testing.assert_array_equal(*logs)


@pytest.mark.slow
def test_a_signal_interrupts_a_training_cleanly(goectp, start, data, status, tmp_path):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 4]
    process = start(*arguments, fault='slow_epoch=0.5')
    log, until = tmp_path / 'model.safetensors.log.jsonl', time.monotonic() + 300
    while not log.exists():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=300)
    assert process.returncode == 75
    fields = status('model.safetensors')
    assert (fields['state'], fields['error']['code']) == ('interrupted', 'interrupted')
    assert 0 < fields['epochs_done'] < 4
    goectp(*arguments)
    assert status('model.safetensors')['state'] == 'finished'
    assert [line['epoch'] for line in TrainingLog.read(log).lines] == [1, 2, 3, 4]


def test_an_epoch_that_would_exceed_the_time_limit_is_not_begun(goectp, data, status):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 3]
    goectp(*arguments, '--time-limit', 0.001, status=75)
    assert status('model.safetensors')['epochs_done'] == 1
    goectp(*arguments, '--time-limit', 0.001, status=75)
    assert status('model.safetensors')['epochs_done'] == 2
    goectp(*arguments, '--no-resume')
    assert status('model.safetensors')['state'] == 'finished'


def test_a_training_that_diverges(goectp, data, status, tmp_path):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 4]
    goectp(*arguments, status=5, fault='nan_at_epoch=3')
    fields = status('model.safetensors')
    assert (fields['state'], fields['error']['code'], fields['epochs_done']) == ('failed', 'diverged', 2)
    assert not (tmp_path / 'model.safetensors').exists()


def test_lack_of_memory(goectp, data, status):
    goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, status=4, fault='oom_above=7')
    assert status('model.safetensors')['error']['code'] == 'out_of_memory'


def test_lack_of_memory_after_the_last_epoch(goectp, data, status, monkeypatch, tmp_path):
    def calibrate_committee(*arguments, **options):
        raise torch.OutOfMemoryError('CUDA out of memory.')

    monkeypatch.setattr(calibrate, 'calibrate_committee', calibrate_committee)
    goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, status=4)
    assert status('model.safetensors')['error']['code'] == 'out_of_memory'
    assert (tmp_path / 'model.safetensors.state').exists()


def test_a_gpu_that_fails(goectp, data, status):
    goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, status=3, fault='gpu_lost')
    assert status('model.safetensors')['error']['code'] == 'no_device'


def test_patience_ends_a_training_without_improvement(goectp, data, status, tmp_path):
    # with this learning rate the score improves in the first epochs only
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--keep', 'best', '--epochs', 60]
    goectp(*arguments, '--patience', 2, '--learning-rate', 0.5, '--schedule', 'constant')
    fields = status('model.safetensors')
    assert fields['epoch'] < 60
    assert fields['since_best'] == 2
    assert fields['state'] == 'finished'


def test_fine_tuning(goectp, data, tmp_path):
    first = ['train', 'data.npz', '--output', 'first.safetensors', *SMALL, '--epochs', 4, '--functional', 'PBE']
    goectp(*first)
    # network and preset are those of the initial model
    more = ['--batch-size', 8, '--device', 'cpu', '--threads', 1, '--epochs', 1, '--learning-rate', 1e-5]
    goectp('train', 'data.npz', '--output', 'more.safetensors', '--initial', 'first.safetensors', *more)
    log = [TrainingLog.read(tmp_path / f'{name}.safetensors.log.jsonl') for name in ('first', 'more')]
    assert len(log[1]) == 1
    assert log[1].lines[0]['loss'] < log[0].lines[0]['loss']
    card = read_card(tmp_path / 'more.safetensors')
    assert card.architecture == read_card(tmp_path / 'first.safetensors').architecture
    assert card.training['parent'] == model_hash(tmp_path / 'first.safetensors')
    seen = [read_trained_on(tmp_path / f'{name}.safetensors') for name in ('first', 'more')]
    np.testing.assert_array_equal(*seen)
    assert np.isin(seen[0], crystal_fingerprints(data.crystals)).all()


@pytest.mark.parametrize('known', [True, False])
def test_a_fine_tuned_model_was_trained_on_the_crystals_of_its_parent_as_well(goectp, data, split, tmp_path, known):
    tiny.write_model(tmp_path / 'parent.safetensors', trained_on=data.crystals.take([0]) if known else None)
    numbers = crystal_fingerprints(data.crystals)
    arguments = ['--split-file', 'splits.json', '--split', 'mine', '--epochs', 1, '--batch-size', 8, '--quiet']
    goectp('train', 'data.npz', '--output', 'm.safetensors', '--initial', 'parent.safetensors', *arguments)
    found = read_trained_on(tmp_path / 'm.safetensors')
    if known:
        assert set(found.tolist()) == set(numbers[[0, *range(4, 24)]].tolist())
    else:
        assert found is None


def test_a_model_of_two_functionals_predicts_that_of_the_labels(goectp, data, tmp_path):
    tiny.write_mixed_model(tmp_path / 'two.safetensors', ['PBEsol', 'PBE'])
    more = ['--initial', 'two.safetensors', '--functional', 'PBE', '--epochs', 1, '--output', 'tuned.safetensors']
    goectp('train', 'data.npz', *more, '--device', 'cpu', '--quiet')
    card = read_card(tmp_path / 'tuned.safetensors')
    assert (card.functional, card.members) == ('PBE', 2)
    assert [item['functionals'] for item in card.architectures] == [['PBE', 'PBEsol']] * 2


def test_a_random_split_holds_out_rows_with_any_label(goectp, data, tmp_path):
    electronic, ionic = data.electronic.copy(), data.ionic.copy()
    electronic[:2], ionic[2:4] = np.nan, np.nan
    electronic[5], ionic[5] = np.nan, np.nan  # no label; nor has row 0
    Dataset(data.crystals, electronic, ionic).save(tmp_path / 'data.npz')
    goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 1)
    training = read_card(tmp_path / 'model.safetensors').training
    assert (training['rows']['train'], training['rows']['validation']) == (17, 3)
    assert training['data'] == 'data.npz, split random, seed 0'


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
    ('arguments', 'code', 'name'),
    [
        (['--split', 'mine'], 'bad_input', "'mine'"),
        (['--split-file', 'splits.json'], 'bad_input', '--split'),
        (['--settings', 'splits.json'], 'bad_input', 'splits'),
        (['--settings', 'data.npz'], 'bad_input', 'data.npz'),
        (['--settings', 'options.json'], 'bad_input', 'widht'),
        (['--initial', 'data.npz'], 'bad_model', 'data.npz'),
        (['--initial', 'nobody'], 'bad_model', 'nobody'),
        (['--split-file', 'splits.json', '--split', 'other'], 'bad_input', 'mine, bad'),
        (['--split-file', 'splits.json', '--split', 'bad'], 'bad_input', 'nobody'),
        (['--split-file', 'data.npz', '--split', 'mine'], 'bad_input', 'data.npz'),
        (['--learning-rate', '-1'], 'bad_input', 'learning_rate'),
        (['--device', 'cuda'], 'no_device', 'cuda'),
    ],
)
def test_invalid_input(goectp, split, tmp_path, arguments, code, name):
    (tmp_path / 'options.json').write_text('{"options": {"widht": 8}}')
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', '--epochs', 1, *arguments]
    output = goectp(*arguments, status=EXIT_STATUS[code], fault='no_device').output
    assert output.splitlines()[-1].startswith(f'goectp: {code}: ')
    assert name in output


@pytest.mark.parametrize('arguments', [['--preset', 'other'], ['--batch-size', '1']])
def test_invalid_options(goectp, data, arguments):
    output = goectp('train', 'data.npz', '--output', 'model.safetensors', *arguments, status=2).output
    assert arguments[0] in output


def test_a_dataset_without_labels(goectp, data, tmp_path):
    unknown = np.full((24, 3, 3), np.nan)
    Dataset(data.crystals, unknown, unknown).save(tmp_path / 'empty.npz')
    output = goectp('train', 'empty.npz', '--output', 'model.safetensors', *SMALL, status=2).output
    assert 'bad_input: empty.npz: 0' in output


@pytest.mark.parametrize('known', ['electronic', 'ionic'])
def test_a_tensor_without_labels_is_learnt_by_fine_tuning_only(goectp, data, tmp_path, known):
    """A model that was trained from random weights would predict the other tensor all the same."""
    Dataset(data.crystals, **{known: getattr(data, known)}).save(tmp_path / 'part.npz')
    arguments = ['train', 'part.npz', '--output', 'model.safetensors', '--epochs', 1, '--device', 'cpu']
    missing = {'electronic': 'ionic', 'ionic': 'electronic'}[known]
    output = goectp(*arguments, '--width', 16, '--layers', 1, status=2).output
    assert f'bad_input: part.npz: no training row has an {missing} label' in output
    assert not (tmp_path / 'model.safetensors.log.jsonl').exists()
    goectp(*arguments, '--initial', tiny.write_model(tmp_path / 'initial.safetensors'))
    assert read_card(tmp_path / 'model.safetensors').targets == ['electronic', 'ionic']


def test_an_invalid_state_file(goectp, data, tmp_path):
    output = tmp_path / 'model.safetensors'
    output.with_name('model.safetensors.state').write_bytes(b'something else')
    assert 'model.safetensors.state' in goectp('train', 'data.npz', '--output', output, *SMALL, status=2).output
    assert not output.exists()


def test_a_damaged_state_file(goectp, data, tmp_path):
    """Torch itself does not notice a flipped bit."""
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 3]
    goectp(*arguments, '--time-limit', 0.001, status=75)
    state = tmp_path / 'model.safetensors.state'
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    output = goectp(*arguments, status=2).output
    assert 'bad_input: model.safetensors.state' in output
    assert not (tmp_path / 'model.safetensors.lock').exists()


def test_the_state_of_an_older_and_of_a_later_version(goectp, status, tmp_path):
    """The fixture is a state after the first of two epochs, without a version."""
    rows = tiny.some_dataset(10)  # in the random split of that version, which separated rows of one crystal
    parts = {'train': [f'c{row}' for row in (0, 1, 2, 4, 5, 6, 8, 9)], 'validation': ['c7'], 'test': ['c3']}
    rows.with_given_split('old', parts).save(tmp_path / 'data.npz')
    arguments = ['train', 'data.npz', '--output', 'out.safetensors', '--preset', 'descriptors', '--width', 4]
    arguments += ['--split', 'old', '--epochs', 2, '--threads', 1, '--device', 'cpu', '--batch-size', 8]
    state = tmp_path / 'out.safetensors.state'
    old = Path(__file__).parents[2] / 'data' / 'old_versions' / 'v1.model.safetensors.state'
    torch.save({**torch.load(old, weights_only=True), 'version': 2}, state)
    later = state.read_bytes()
    assert 'unknown version 2' in goectp(*arguments, status=2).output
    assert state.read_bytes() == later
    shutil.copy(old, state)
    goectp(*arguments)
    epochs = [entry['epoch'] for entry in map(json.loads, (tmp_path / 'out.safetensors.log.jsonl').open())]
    assert (epochs, status('out.safetensors')['state']) == ([2], 'finished')

"""``goectp train``: from labelled crystals to a model file with its card, through a kill if need be."""

from __future__ import annotations

import gzip
import json
import signal
import time

import numpy as np
import pytest

from aiida_goectp.dataset import Dataset
from aiida_goectp.modelcard import model_hash, read_card
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
    assert (card.training['data'], card.training['split']) == ('data.npz', 'mine')
    assert card.training['settings']['seed'] == 3
    assert len(card.training['hash']) == 64
    assert set(card.metrics['test']) == {'electronic', 'ionic', 'total'}
    assert card.metrics['test']['electronic']['rows'] == 2
    assert card.architecture['options'] == {'width': 16, 'layers': 1, 'bins': 128}
    log = [json.loads(line) for line in (tmp_path / 'model.safetensors.log.jsonl').read_text().splitlines()]
    assert [line['epoch'] for line in log] == [1, 2]
    assert set(log[0]) == {'epoch', 'loss', 'seconds', 'validation'}
    assert not (tmp_path / 'model.safetensors.state').exists()
    # what was trained predicts
    data.crystals.save(tmp_path / 'crystals.npz')
    arguments = ['--model', 'model.safetensors', '--output', 'out.npz', '--device', 'cpu', '--quiet']
    goectp('predict', 'crystals.npz', *arguments)
    assert 'first: preset goectp' in goectp('info', 'model.safetensors').output


def test_a_killed_training_ends_with_the_same_weights(goectp, start, data, tmp_path):
    arguments = ['train', 'data.npz', *SMALL, '--epochs', 5]
    process = start(*arguments, '--output', 'killed.safetensors')
    log, until = tmp_path / 'killed.safetensors.log.jsonl', time.monotonic() + 120
    while not log.exists() or log.read_text().count('\n') < 2:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / 'killed.safetensors').exists()
    said = goectp(*arguments, '--output', 'killed.safetensors').output
    assert 'epoch 1/5' not in said
    assert 'epoch 5/5' in said
    goectp(*arguments, '--output', 'unbroken.safetensors')
    assert model_hash(tmp_path / 'killed.safetensors') == model_hash(tmp_path / 'unbroken.safetensors')


def test_a_random_split_holds_out_rows_with_any_label(goectp, data, tmp_path):
    electronic, ionic = data.electronic.copy(), data.ionic.copy()
    electronic[:2], ionic[2:4] = np.nan, np.nan
    electronic[5], ionic[5] = np.nan, np.nan  # nothing to learn here; row 0 has no label either
    Dataset(data.crystals, electronic, ionic).save(tmp_path / 'data.npz')
    said = goectp('train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 1).output
    assert '18 crystals to learn from, 2 to validate' in said
    assert read_card(tmp_path / 'model.safetensors').training['split'] == 'random, seed 0'


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
        (['--split', 'mine'], 2, 'give --split-file and --split together'),
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

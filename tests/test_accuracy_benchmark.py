"""Accuracy benchmark: a run, its repetition, and the table with a joined model."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from aiida_goectp.core.executable.main import main as goectp
from aiida_goectp.core.formats.model_card import read_card
from tests import tiny

BENCHMARKS = Path(__file__).parents[1] / 'benchmarks'
SMALL = '{"options": {"width": 8, "layers": 1, "bins": 16}, "batch_size": 16, "layer_augmentation_copies": 0}'


@pytest.fixture
def benchmark(tmp_path, monkeypatch, capsys):
    """Return a function that runs the program on a small dataset in a temporary folder."""
    data = tiny.some_dataset(40).with_split('mine', 'random', 1, (0.6, 0.2, 0.2))
    data.save(tmp_path / 'data.npz')
    parts = {part: data.part('mine', part).crystals.ids.tolist() for part in ('train', 'validation', 'test')}
    (tmp_path / 'splits.json').write_text(json.dumps({'splits': {'random-0': parts}}))

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(BENCHMARKS)
    specification = importlib.util.spec_from_file_location('accuracy', BENCHMARKS / 'accuracy.py')
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)

    def run(*arguments):
        command = ['accuracy.py', *arguments[:1], 'data.npz', 'splits.json', *arguments[1:]]
        monkeypatch.setattr(sys, 'argv', command)
        program.main()
        return capsys.readouterr().out

    return run


def test_run_and_table(benchmark, tmp_path):
    benchmark('run', '--epochs', '1', '--settings', SMALL)
    weights = tmp_path / 'runs' / 'accuracy' / 'goectp.random-0.safetensors'
    first = weights.read_bytes()
    card = read_card(weights)
    assert card.training['rows'] == {'train': 23, 'validation': 9, 'test': 8}
    assert card.training['settings']['epochs'] == 1
    benchmark('run', '--epochs', '1', '--settings', SMALL)  # finished, so nothing is trained
    assert weights.read_bytes()[-1000:] == first[-1000:]
    join = ['join', weights, '--dataset', 'data.npz', '--split', 'random-0', '--split-file', 'splits.json', '--quiet']
    output = ['--output', 'both.safetensors', '--functional', card.functional]
    done = CliRunner().invoke(goectp, [str(item) for item in (*join, *output)])
    assert done.exit_code == 0, done.output
    lines = benchmark('table', '--model', 'random-0=both.safetensors').splitlines()
    cells = {tuple(cell.strip() for cell in line.split('|')[1:5]) for line in lines if line.startswith('|')}
    assert ('goectp', '23', '1', 'ionic') in cells
    assert ('both', '23', '1 × 1', 'total') in cells
    assert ('constant', '23', '', 'electronic') in cells

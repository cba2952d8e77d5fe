"""Benchmarks compare equal graphs and equal gradients, and the figures are drawn."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.executable import predict
from aiida_goectp.core.learning.calibrate import calibrate_committee
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.train import train_committee
from aiida_goectp.core.network.checkpoint import save_model
from aiida_goectp.core.network.graph import build_graphs
from aiida_goectp.data.pymatgen_convert import to_pymatgen
from tests import tiny
from tests.conftest import textbook

FOLDER = Path(__file__).parents[1] / 'benchmarks'


def script(name):
    specification = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def published():
    return script('published_graph')


@pytest.mark.parametrize('crystal', [*textbook(), *tiny.some_crystals(8)], ids=lambda crystal: crystal.id)
def test_edges_of_the_published_graph(published, crystal):
    fractional = crystal.fractional_positions - np.floor(crystal.fractional_positions)
    crystal = crystal._replace(fractional_positions=fractional)
    *expected, references = published.published_graph(to_pymatgen(crystal))
    offsets = np.array([0, len(fractional)])
    graph = build_graphs(crystal.lattice[None], offsets, fractional, references[None], double_self_images=True)
    directed = (
        np.r_[graph.source, graph.target],
        np.r_[graph.target, graph.source],
        np.r_[graph.vectors, -graph.vectors],
    )
    found = published.multiset(crystal.lattice, fractional, *directed)
    assert found == published.multiset(crystal.lattice, fractional, *expected)
    assert max(found.values()) <= 2


def test_reading_of_structure_files(tmp_path):
    """All formats give all crystals."""
    textbook().save(tmp_path / 'pool.npz')
    words = [sys.executable, FOLDER / 'reading.py', tmp_path / 'pool.npz', '--json', tmp_path / 'found.json']
    subprocess.run(words, check=True, capture_output=True)
    found = json.loads((tmp_path / 'found.json').read_text())['reading']
    assert {item['format']: item['crystals'] for item in found} == dict.fromkeys(('jsonl', 'extxyz', 'cif'), 6)


def test_readme_has_the_command_of_each_benchmark():
    readme = (FOLDER / 'README.md').read_text(encoding='utf-8')
    commands = [path for path in FOLDER.glob('*.py') if '__main__' in path.read_text(encoding='utf-8')]
    assert len(commands) > 8
    assert [path.name for path in commands if f'python benchmarks/{path.name} ' not in readme] == []


def test_gradients_of_fast_evaluation_and_plain_formulas(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    tiny.one_thread()
    lines = script('train_step').measured_variants(tiny.some_crystals(4), 'cpu', 4, compiled=False)
    assert [(line['preset'], line['evaluation']) for line in lines] == [
        (preset, kind) for preset in ('published', 'goectp') for kind in ('plain', 'fast')
    ]
    assert all(float(line['gradients differ by']) < 1e-3 for line in lines)
    assert all(line['ms per crystal'] > 0 for line in lines)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('graph', ''),
        ('main_process', ''),
        ('predict', '--batch-atoms 64 --model goectp-small'),
        ('predict', '--kept goectp-small'),
    ],
)
def test_measured_times(name, options, monkeypatch, tmp_path, capsys):
    """The scripts call the package in ways that no other test does."""
    tiny.one_thread()
    monkeypatch.syspath_prepend(str(FOLDER))
    for variable in script('common')._THREADS:  # else the script restarts this process
        monkeypatch.setenv(variable, '1')
    monkeypatch.setattr(predict, '_load_predictor', predict._load_predictor)  # which a script replaces
    monkeypatch.chdir(tmp_path)
    CrystalSet.from_crystals(textbook()).save(tmp_path / 'crystals.npz')
    arguments = f'{name}.py {tmp_path}/crystals.npz --limit 3 --json {tmp_path}/times.json {options}'
    monkeypatch.setattr(sys, 'argv', arguments.split())
    script(name).main()
    times = json.loads((tmp_path / 'times.json').read_text())
    assert times['crystals'] == 3
    assert len(times) > 3  # machine, file, number of crystals, and what was measured
    assert 'nan' not in capsys.readouterr().out


def test_figures_of_a_model(monkeypatch, tmp_path, capsys):
    tiny.one_thread()
    data = tiny.some_dataset(80)
    ids = data.crystals.ids.tolist()
    rows = {'train': ids[:20], 'validation': ids[20:60], 'test': ids[60:]}
    parts = {part: data.take(data.rows_of(names)) for part, names in rows.items()}
    settings = TrainSettings(epochs=1, options={'width': 16, 'layers': 2, 'bins': 32}, batch_size=8)
    networks, card = calibrate_committee(
        train_committee(parts['train'], None, settings), parts, settings, name='m', data='tiny', functional='PBEsol'
    )
    save_model(tmp_path / 'm.safetensors', networks, card)
    data.save(tmp_path / 'data.npz')
    (tmp_path / 'splits.json').write_text(json.dumps({'splits': {'random-0': rows}}))
    monkeypatch.chdir(tmp_path)
    arguments = 'figures.py m.safetensors data.npz splits.json --out drawn --learning-curve m.safetensors'
    monkeypatch.setattr(sys, 'argv', arguments.split())
    script('figures').main()
    written = capsys.readouterr().out.split()
    assert written == [
        f'drawn/{name}' for name in ('parity.png', 'calibration.png', 'learning_curve.png', 'examples.md')
    ]
    assert all(Path(name).stat().st_size > 500 for name in written)
    table = Path('drawn/examples.md').read_text()
    assert '| cubic | ' in table
    assert ' ± ' in table

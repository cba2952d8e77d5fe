"""Ids, labels, messages and names that contain escape sequences, markup or formulas: no command prints them raw."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.calculations.rank import rank_crystals
from aiida_goectp.calculations.select import select_top
from aiida_goectp.cli.data import data_goectp
from aiida_goectp.core.crystals import CrystalSet, Failure
from aiida_goectp.core.executable.main import main as goectp
from aiida_goectp.core.selection import KnownCrystals, PickSettings, pick
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.dfpt.gates import evaluate_gates
from tests import tiny
from tests.cli.runner import invoke
from tests.conftest import textbook
from tests.core.datasets.test_responses import response

BAD = '=[red]a[/red]\x1b[31m\x9b2J\u202e\r\nSuccess:\t'
CLEAN = r'=[red]a[/red]\x1b[31m\x9b2J\u202e\r\nSuccess:\t'


@pytest.fixture(scope='module')
def hostile() -> CrystalSet:
    """The textbook crystals with one bad id, bad property names and values, and a bad failure."""
    crystal_set = textbook()
    ids = crystal_set.ids.astype('<U80')
    ids[1] = BAD
    texts = np.array([BAD] * 6)
    failure = Failure(BAD, 'unreadable_file', BAD)
    return replace(crystal_set, ids=ids, properties={**crystal_set.properties, BAD: texts}, failures=(failure,))


@pytest.fixture(scope='module')
def nodes(empty_profile, hostile, predict_by_hand, write_model):
    crystals = CrystalsData(hostile).store()
    table = predict_by_hand(hostile, failed=[2])
    predictions = PredictionsData(replace(table, errors=np.array(['', '', BAD, '', '', '']))).store()
    ranking = rank_crystals(crystals, predictions)
    card = {'functional': BAD, 'notes': BAD, 'licence': BAD, 'metrics': {BAD: {'total': {'mae': 1.0}}, 'b': {BAD: BAD}}}
    path = write_model('=[red]a\x1b[31m', value=0.75, training={BAD: BAD}, **card)
    data = tiny.some_dataset(6)
    data = replace(
        data,
        crystals=replace(data.crystals, ids=hostile.ids, failures=hostile.failures),
        functional=np.array([BAD] * 6),
        origin=np.array([BAD] * 6),
        splits={BAD: np.array(['train'] * 6)},
        split_settings={BAD: {'kind': BAD}},
    )
    known = KnownCrystals.empty()
    measured = DielectricData(replace(response(), functional=BAD, engine=BAD)).store()
    found = {
        'crystals': crystals,
        'predictions': predictions,
        'ranking': ranking,
        'picks': PicksData(pick(hostile, table, known, PickSettings(batch_size=2))).store(),
        'model': ModelData(path).store(),
        'dataset': DatasetData(data).store(),
        'dielectric': measured,
        'quality': evaluate_gates(measured),
    }
    for node in found.values():
        node.label = BAD
    return found | {'selection': select_top(ranking, crystals, 6)['selection']}


def check_printed(output):
    """Assert that an output contains only printable characters."""
    assert output.replace('\n', '').isprintable()
    assert not any(line.startswith('Success') and '\\' not in line for line in output.splitlines()[1:])


@pytest.mark.parametrize(
    'kind', ['crystals', 'predictions', 'ranking', 'picks', 'model', 'dataset', 'dielectric', 'quality', 'selection']
)
def test_show(nodes, kind):
    output = invoke('show', nodes[kind].pk)
    check_printed(output)
    if kind not in ('quality', 'picks'):
        assert r'\x1b' in output
    if kind != 'quality':
        assert '[red]' in output


@pytest.mark.parametrize('kind', ['crystals', 'predictions', 'ranking', 'model', 'dataset'])
def test_list(nodes, kind):
    check_printed(invoke(kind, 'list', command=data_goectp))
    raw = invoke(kind, 'list', '--raw', command=data_goectp)
    check_printed(raw.replace('\t', ' '))
    assert CLEAN in raw


def test_models(nodes):
    check_printed(invoke('model', 'list'))
    check_printed(invoke('model', 'show', nodes['model'].pk))


@pytest.mark.parametrize('kind', ['crystals', 'predictions', 'ranking', 'dataset'])
def test_csv(nodes, kind, tmp_path):
    invoke(kind, 'export', nodes[kind].pk, '-F', 'csv', '-o', tmp_path / 'out.csv', command=data_goectp)
    lines = list(csv.DictReader(io.StringIO((tmp_path / 'out.csv').read_text(), newline='')))
    assert "'" + CLEAN in [line['id'] for line in lines]
    for line in lines:
        for cell in (*line, *line.values()):
            assert cell.isprintable()
            assert not cell.startswith(('=', '@'))
            if cell.startswith(('+', '-')):
                float(cell)


@pytest.mark.parametrize('kind', ['crystals', 'ranking'])
def test_json_keeps_the_text(nodes, kind, tmp_path):
    invoke(kind, 'export', nodes[kind].pk, '-F', 'json', '-o', tmp_path / 'out.json', command=data_goectp)
    text = (tmp_path / 'out.json').read_text()
    assert text.replace('\n', '').isprintable()
    assert BAD in [row['id'] for row in json.loads(text)]


def test_extended_xyz_stays_readable(nodes, tmp_path):
    import ase.io

    invoke('crystals', 'export', nodes['crystals'].pk, '-F', 'extxyz', '-o', tmp_path / 'o.xyz', command=data_goectp)
    assert len(ase.io.read(tmp_path / 'o.xyz', index=':')) == 6


def test_errors(tmp_path, hostile):
    check_printed(invoke('show', BAD, status=2))
    check_printed(invoke('model', 'import', tmp_path / 'no\x1b[31m', status=2))
    hostile.save(tmp_path / 'crystals.npz')
    check_printed(invoke('predict', tmp_path / 'crystals.npz', '--model', BAD, status=2, command=goectp))


def test_executable(write_model):
    path = write_model('plain', value=0.5, functional=BAD, notes=BAD, metrics={BAD: {BAD: {BAD: BAD}}})
    output = invoke('info', path, command=goectp)
    check_printed(output)
    assert r'\x1b[31m' in output
    text = invoke('info', path, '--json', command=goectp)
    check_printed(text)
    assert json.loads(text)['functional'] == BAD

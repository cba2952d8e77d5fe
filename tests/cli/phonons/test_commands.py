"""``aiida-goectp phonons`` on predictions, DFPT responses and processes; phonopy reads what is written."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from aiida import orm

from aiida_goectp.calculations.inprocess import predict_crystals
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.gamma_modes import WAVENUMBER
from aiida_goectp.core.dielectric.infrared import InfraredSpectra
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from tests import tiny
from tests.cli.runner import flat, invoke, line_with
from tests.workflows.dfpt.quantumespresso.test_collect import collect


@pytest.fixture(scope='module')
def force_constants(tmp_path_factory):
    tiny.one_thread()
    return tiny.write_model(tmp_path_factory.mktemp('models') / 'p.safetensors', preset='force_constants', members=2)


@pytest.fixture
def predictions(crystals, force_constants):
    return predict_crystals(crystals, ModelData.get_or_create(force_constants), 'cpu', True)


@pytest.fixture
def single(crystal_set, force_constants):
    """Predictions of MgO alone, made stable."""
    table = predict_crystals(
        CrystalsData(crystal_set.take([1])).store(), ModelData.get_or_create(force_constants), 'cpu', True
    ).predictions
    cell = table.phonon_cell(0)
    spring = np.kron([[9.0, -9.0], [-9.0, 9.0]], np.eye(3))
    phonons = type(table.phonons).from_cells(
        [cell._replace(force_constants=spring, born_charges=np.array([2.0, -2.0])[:, None, None] * np.eye(3))],
        [np.arange(2)],
    )
    flags = np.zeros(1, dtype=np.uint32)
    return PredictionsData(replace(table, phonons=phonons, flags=flags, stability=np.array([0.97]))).store()


@pytest.fixture
def response(aiida_profile):
    return DielectricData(collect()).store()


def test_modes_of_a_prediction(single):
    output = invoke('phonons', 'show', single.pk, '--direction', '1', '0', '0')
    assert invoke('phonons', 'show', single.pk, '--direction', '1e-200', '0', '0') == output
    cell = single.predictions.phonon_cell(0)
    transverse, longitudinal = cell.modes().frequencies[0], cell.longitudinal(np.array([1.0, 0, 0]))[-1]
    line = line_with(output, 'active')
    static = np.trace(cell.modes().contributions.sum(axis=0)) / 3
    assert line.split()[:5] == [
        f'{transverse:.3f}', f'{transverse * WAVENUMBER:.1f}', '3', 'active', f'{static:.4g}'
    ]  # fmt: skip
    assert line.endswith(f'{transverse:.3f} ×2, {longitudinal:.3f}')
    assert '0.97' in output
    assert '-2.00' in line_with(output, 'O').split()
    assert 'no static permittivity' not in output
    assert invoke('phonons', 'show', single.pk, 'MgO') == invoke('phonons', 'show', single.pk, '0')
    raw = invoke('phonons', 'show', single.pk, '--raw').splitlines()
    assert any(cells.split('\t')[0] == f'{transverse:.3f}' for cells in raw)
    plain = json.loads(invoke('phonons', 'show', single.pk, '--direction', '1', '0', '0', '--json'))
    np.testing.assert_allclose(plain['frequencies'], cell.modes().frequencies)
    assert plain['longitudinal'][-1] == pytest.approx(longitudinal)
    assert (plain['id'], plain['pk'], plain['stability'], plain['species']) == ('MgO', single.pk, 0.97, ['Mg', 'O'])
    spectra = json.loads(invoke('phonons', 'infrared', single.pk, '--points', '3', '--json'))
    assert len(spectra['frequencies']) == 3


def test_unstable_crystals_are_named(predictions, single):
    table = predictions.predictions
    row = int(np.flatnonzero(table.unstable)[0])
    name = str(table.ids[row])
    output = invoke('phonons', 'show', predictions.pk, name)
    assert 'unstable' in output
    assert f'{-table.phonon_cell(row).modes().frequencies[0]:.3f}i' in output
    assert 'no static permittivity' in output
    assert 'no static permittivity' in invoke('show', predictions.pk)
    shown = invoke('show', single.pk)
    assert 'no static permittivity' not in shown
    assert '0.97' in line_with(shown, 'MgO').split()[-1]
    assert f'aiida-goectp phonons show {single.pk}' in shown


def test_modes_of_a_response_and_of_processes(response, predictions):
    output = invoke('phonons', 'show', response.pk)
    assert f'{response.dielectric.frequencies[-1]:.2f}'[:-1] in line_with(output, 'active')
    shown = invoke('show', response.pk)
    assert f'aiida-goectp phonons show {response.pk}' in shown
    assert f'lowest optical frequency (THz) {response.dielectric.frequencies[3]:.4g}' in flat(shown)
    creator = predictions.creator
    assert invoke('phonons', 'show', creator.pk, 'MgO') == invoke('phonons', 'show', predictions.pk, 'MgO')


@pytest.fixture
def refused(crystals, predict_by_hand, response):
    """Nodes without phonons by name."""
    plain = PredictionsData(predict_by_hand(crystals.crystals, failed=[2])).store()
    bare = DielectricData(replace(response.dielectric, force_constants=None)).store()
    charges = DielectricData(replace(response.dielectric, born_charges=None)).store()
    process = orm.CalcFunctionNode().store()
    return {'plain': plain, 'bare': bare, 'charges': charges, 'process': process, 'crystals': crystals}


@pytest.mark.parametrize(
    ('node', 'which', 'words'),
    [
        ('plain', ['MgO'], ['--phonons', 'force_constants']),
        ('plain', ['GaAs'], ['made to fail']),
        ('plain', ['MgP'], ["'MgO'"]),
        ('plain', ['Sr'], ["'SrTiO3'"]),
        ('plain', ['6'], ['nearest']),
        ('plain', [], ['6 crystals']),
        ('bare', [], ['force constants', 'MgO']),
        ('charges', [], ['Born charges']),
        ('bare', ['Si'], ["'MgO'"]),
        ('process', [], ['neither']),
        ('crystals', [], ['CrystalsData']),
    ],
)
def test_nodes_without_phonons_are_refused(refused, node, which, words):
    for command in ('show', 'phonopy', 'infrared'):
        output = flat(invoke('phonons', command, refused[node].pk, *which, status=2))
        for word in words:
            assert word in output


def test_rows_without_phonons_are_refused(force_constants):
    from aiida_goectp.core.crystals.layers import find_layers, with_vacuum_scaled
    from tests.core.crystals.builders import mos2, rocksalt

    far = with_vacuum_scaled(mos2(), find_layers(mos2()), 2.0)
    crystals = CrystalsData(CrystalSet.from_crystals([far, rocksalt()])).store()
    node = predict_crystals(crystals, ModelData.get_or_create(force_constants), 'cpu', True)
    assert 'layers' in flat(invoke('phonons', 'show', node.pk, far.id, status=2))
    invoke('phonons', 'show', node.pk, 'MgO')


def test_phonopy_runs_with_the_written_folder(response, tmp_path):
    pytest.importorskip('phonopy')
    folder = tmp_path / 'a b'
    output = invoke('phonons', 'phonopy', response.pk, '--output', folder)
    assert {path.name for path in folder.iterdir()} >= {'POSCAR', 'BORN', 'FORCE_CONSTANTS'}
    printed = output.splitlines()[-1].partition(': ')[2].split(' && ')
    assert shlex.split(printed[0]) == ['cd', str(folder)]
    environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'}
    subprocess.run(shlex.split(printed[1]), cwd=folder, env=environment, check=True, capture_output=True, timeout=120)
    found = yaml.safe_load((folder / 'qpoints.yaml').read_text())['phonon'][0]['band']
    cell = response.dielectric.phonon_cell()
    direction = np.linalg.inv(cell.lattice) @ [1.0, 0, 0]
    expected = np.sort(np.r_[0, 0, 0, cell.longitudinal(direction)])
    np.testing.assert_allclose(sorted(item['frequency'] for item in found), expected, atol=1e-3)


def test_files_are_not_overwritten(single, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke('phonons', 'phonopy', single.pk)
    assert (tmp_path / 'phonopy-MgO' / 'BORN').is_file()
    assert '--force' in flat(invoke('phonons', 'phonopy', single.pk, status=2))
    invoke('phonons', 'phonopy', single.pk, '--force')
    for option, name in (('--output', 's.csv'), ('--figure', 's.svg')):
        (tmp_path / name).write_text('mine')
        assert '--force' in flat(invoke('phonons', 'infrared', single.pk, option, name, status=2))
        assert (tmp_path / name).read_text() == 'mine'
        invoke('phonons', 'infrared', single.pk, option, name, '--force')
        assert (tmp_path / name).read_text() != 'mine'


def test_infrared_spectra_of_prediction_and_response(single, response, tmp_path):
    arguments = ['--compare', response.pk, '--range', 0, 25, '--points', 251, '--damping', 0.3]
    for name in ('s.csv', 's.json', 's.npz'):
        output = invoke(
            'phonons', 'infrared', single.pk, *arguments, '--output', tmp_path / name, '--figure', tmp_path / 'f.png',
            '--force',
        )  # fmt: skip
    spectra = InfraredSpectra.load(tmp_path / 's.npz')
    labels = ['prediction', 'DFPT (PBEsol, quantumespresso)']
    assert spectra.labels.tolist() == labels
    assert spectra.damping == 0.3
    assert spectra.frequencies[[0, -1]].tolist() == [0, 25]
    static = response.dielectric.total
    assert spectra.permittivity[1, 0, 0].real == pytest.approx(np.trace(static) / 3, rel=1e-3)
    assert line_with(output, 'DFPT').split()[-1] == f'{spectra.reflectivity[1, :, 0].max():.3f}'
    rows = list(csv.DictReader((tmp_path / 's.csv').open()))
    assert [row['source'] for row in rows[::251]] == labels
    assert [item['label'] for item in json.loads((tmp_path / 's.json').read_text())['sources']] == labels
    assert (tmp_path / 'f.png').read_bytes()[:4] == b'\x89PNG'


def test_crystals_of_one_node_are_compared_by_id(crystal_set, force_constants, tmp_path):
    pair = CrystalSet.from_crystals([crystal_set[1]._replace(id=name) for name in ('a', 'b')])
    node = predict_crystals(CrystalsData(pair).store(), ModelData.get_or_create(force_constants), 'cpu', True)
    path = tmp_path / 's.npz'
    invoke('phonons', 'infrared', node.pk, 'a', '--compare', node.pk, '--compare-id', 'b', '--output', path)
    assert [label.split()[1] for label in InfraredSpectra.load(path).labels] == ['a', 'b']
    assert 'itself' in flat(invoke('phonons', 'infrared', node.pk, 'a', '--compare', node.pk, status=2))


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (['--range', 5, 5], '--range'),
        (['--range', -1, 5], '--range'),
        (['--damping', 0], '--damping'),
        (['--damping', 'nan'], '--damping'),
        (['--points', 1], '--points'),
        (['--output', 'x.txt'], '.csv'),
        (['--figure', 'x.gif'], '.svg'),
        (['--compare-id', 'x'], '--compare'),
    ],
)
def test_invalid_values_are_refused(single, arguments, word):
    assert word in flat(invoke('phonons', 'infrared', single.pk, *arguments, status=2))
    assert '--direction' in flat(invoke('phonons', 'show', single.pk, '--direction', 0, 0, 0, status=2))


def test_another_crystal_is_not_compared(predictions, response):
    output = flat(invoke('phonons', 'infrared', predictions.pk, 'AlN', '--compare', response.pk, status=2))
    assert 'AlN' in output
    assert 'MgO' in output

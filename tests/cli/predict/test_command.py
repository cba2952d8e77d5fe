"""``aiida-goectp predict``: files, folders and nodes; table, JSON, files; nothing stored for invalid input."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.data.crystals import CrystalsData, structure_from_crystal
from aiida_goectp.data.predictions import PredictionsData
from tests import tiny
from tests.cli.runner import invoke


@pytest.fixture(scope='module')
def small_model(tmp_path_factory, aiida_profile):
    """A model file with random weights, which is evaluated in a fraction of a second."""
    return tiny.write_model(tmp_path_factory.mktemp('models') / 'tiny.safetensors')


@pytest.fixture
def cif(tmp_path):
    path = tmp_path / 'MgO.cif'
    path.write_text(tiny.CIF)
    return path


def stored():
    return orm.QueryBuilder().append(orm.Node).count()


def test_a_file_is_predicted_with_provenance(code, small_model, cif, tmp_path):
    result = CliRunner().invoke(main, ['predict', str(cif), '--model', str(small_model), '--device', 'cpu', '--json'])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    node = orm.load_node(content['outputs']['predictions'])
    assert node.creator.process_label == 'PredictCalculation'
    assert node.creator.inputs.crystals.creator.process_label == 'import_structures'
    (row,) = content['results']['predictions']['rows']
    assert (row['id'], row['formula']) == ('MgO', 'MgO')
    np.testing.assert_allclose(row['total'], node.predictions.total[0])
    csv = CliRunner().invoke(main, ['show', str(node.pk), '--raw']).stdout.splitlines()
    assert csv[0].split('\t')[:2] == ['MgO', 'MgO']


def test_inputs_that_are_no_crystals_are_named(code, small_model, cif, tmp_path):
    (tmp_path / 'cut.cif').write_text(tiny.CIF[: tiny.CIF.index('O1')])
    arguments = ['predict', str(cif), str(tmp_path / 'cut.cif'), '--model', str(small_model), '--raw']
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert 'cut.cif' not in result.stdout
    assert '1 of 2 inputs' in ' '.join(result.stderr.split())
    assert 'cut.cif' in result.stderr


@pytest.mark.slow
def test_a_structure_and_a_folder(code, small_model, crystal_set, cif, tmp_path):
    structure = structure_from_crystal(crystal_set[1]).store()
    options = ['--model', small_model, '--device', 'cpu']
    output = invoke('predict', structure.pk, *options)
    assert 'electronic: average' in output
    folder = tmp_path / 'structures'
    folder.mkdir()
    for name in ('one', 'two'):
        (folder / f'{name}.cif').write_text(tiny.CIF)
    arguments = ['predict', str(folder), *map(str, options), '-o', '-']
    table = Predictions.load(io.BytesIO(CliRunner().invoke(main, arguments).stdout_bytes))
    assert table.ids.tolist() == ['one', 'two']
    pk = orm.QueryBuilder().append(PredictionsData, tag='node').order_by({'node': {'id': 'desc'}}).first(flat=True).pk
    assert 'two' in invoke('show', pk)


@pytest.mark.parametrize(
    'arguments',
    [
        ['no-such-file.cif'],
        ['{empty}'],
        ['{crystals}', '{cif}'],
        ['{cif}', '{code}'],
        ['{cif}', '--output', '{cif}', '--force'],
        ['{cif}', '--output', '{empty}.xlsx'],
    ],
)
def test_invalid_input_stores_nothing(code, small_model, crystals, cif, tmp_path, aiida_code_installed, arguments):
    empty = tmp_path / 'empty.cif'
    empty.write_text('data_')
    moved = aiida_code_installed(label='moved', filepath_executable='/no/such/goectp', default_calc_job_plugin='goectp')
    before = stored()
    words = {'empty': empty, 'crystals': crystals.pk, 'cif': cif, 'code': f'--code={moved.full_label}'}
    model = ['--model', 'goectp']
    invoke('predict', *(item.format(**words) for item in arguments), *model, status=2)
    after = stored()
    assert after - before in (0, 1)  # the shipped model is stored when it is first used
    invoke('predict', *(item.format(**words) for item in arguments), *model, status=2)
    assert stored() == after


def test_the_newest_of_several_labels(crystals):
    crystals.label = 'twice'
    newer = CrystalsData(crystals.crystals.take([0])).store()
    newer.label = 'twice'
    result = CliRunner().invoke(main, ['show', 'twice', '--json'])
    assert json.loads(result.stdout)['pk'] == newer.pk
    assert str(crystals.pk) in result.stderr

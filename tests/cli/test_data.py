"""``verdi data goectp``."""

import csv
import io
import json
from dataclasses import replace

import ase.io
import gemmi
import numpy as np
import pytest

from aiida_goectp.calculations.rank import rank_crystals
from aiida_goectp.cli.data import data_goectp
from aiida_goectp.cli.options import write_output
from aiida_goectp.cli.views import export_columns, exports
from aiida_goectp.cli.views.exports import export_pieces, exported_rows
from aiida_goectp.core.crystals import CrystalSet, read_bytes
from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons, PhononCell
from aiida_goectp.core.executable.output import json_lines
from aiida_goectp.core.formats.model_card import model_hash
from aiida_goectp.core.formats.terminal import json_text
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData
from tests.cli import runner


@pytest.fixture
def nodes(crystals, predict_by_hand, write_model):
    predictions = PredictionsData(predict_by_hand(crystals.crystals, failed=[2])).store()
    model = ModelData.get_or_create(write_model('tiny', value=0.25))  # no other test stores these weights
    return {
        'crystals': crystals,
        'predictions': predictions,
        'model': model,
        'ranking': rank_crystals(crystals, predictions),
    }


def invoke(*arguments, status=0):
    return runner.invoke(*arguments, status=status, command=data_goectp)


_COLUMNS = ('id', 'hash', 'error', 'electronic', 'ionic', 'total', 'stability', 'flags')
_NEW_COLUMNS = ('formula', 'electronic_std', 'ionic_std', 'total_std')


@pytest.mark.parametrize(
    ('kind', 'text'),
    [('crystals', '6'), ('predictions', 'aaaaaaa'), ('model', 'tiny'), ('ranking', 'total')],
)
def test_list(nodes, kind, text):
    output = invoke(kind, 'list')
    assert str(nodes[kind].pk) in output
    assert text in output
    raw = invoke(kind, 'list', '--raw').splitlines()
    assert str(nodes[kind].pk) in [line.split('\t')[0] for line in raw]


@pytest.mark.parametrize(
    ('kind', 'texts'),
    [
        ('crystals', ['SrTiO3', 'band_gap', '7.8', 'broken.cif', 'unreadable file', 'cut off']),
        ('predictions', ['made to fail', '1 of 6 rows failed', '10.5']),
        ('model', ['tiny', 'goectp', '"width": 1']),
        ('ranking', ['AlN', 'prediction failed', 'import failed', '10.5']),
    ],
)
def test_show(nodes, kind, texts):
    output = invoke(kind, 'show', nodes[kind].pk)
    for text in texts:
        assert text in output


def test_export_of_the_stored_file(nodes, tmp_path):
    path = tmp_path / 'c.npz'
    invoke('crystals', 'export', nodes['crystals'].pk, '-o', path)
    assert list(CrystalSet.load(path).hashes) == list(nodes['crystals'].crystals.hashes)
    assert '--force' in invoke('crystals', 'export', nodes['crystals'].pk, '-o', path, status=2)
    invoke('crystals', 'export', nodes['crystals'].pk, '-o', path, '-f')
    path = tmp_path / 'm.safetensors'
    invoke('model', 'export', nodes['model'].pk, '-o', path)
    assert model_hash(path) == nodes['model'].content_hash


def test_export_for_other_programs(nodes, tmp_path):
    def export(kind, file_format):
        path = tmp_path / f'{kind}.{file_format}'
        invoke(kind, 'export', nodes[kind].pk, '-F', file_format, '-o', path)
        return path

    rows = json.loads(export('crystals', 'json').read_text())
    assert rows[3]['species'] == ['Sr', 'Ti', 'O', 'O', 'O']
    assert rows[1]['band_gap'] == 7.8
    rows = json.loads(export('predictions', 'json').read_text())
    assert rows[0]['total'][1][1] == 3.0
    assert rows[2] | {'hash': ''} == rows[2] | {'hash': '', 'error': 'made to fail'}
    assert rows[2]['total'] == [[None] * 3] * 3
    lines = export('predictions', 'csv').read_text().splitlines()
    assert lines[0].split(',') == [*_COLUMNS, *_NEW_COLUMNS]
    assert lines[1].split(',')[3:7] == ['2.0', '1.0', '3.0', '']
    lines = export('ranking', 'csv').read_text().splitlines()
    assert len(lines) == 8
    assert lines[6].startswith('AlN,')
    assert json.loads(export('model', 'json').read_text())['name'] == 'tiny'
    frames = ase.io.read(export('crystals', 'extxyz'), ':')
    crystal = nodes['crystals'].crystals[5]
    np.testing.assert_allclose(frames[5].cell[:], crystal.lattice, atol=1e-7)
    assert frames[5].info['band_gap'] == 6.0
    cells = ase.io.read(export('crystals', 'cif'), ':')
    assert [len(atoms) for atoms in cells] == [2, 2, 2, 5, 6, 4]


def test_the_file_name_determines_the_format(nodes, tmp_path):
    pk = nodes['predictions'].pk
    for name, start in [('p.csv', b'id,'), ('p.JSON', b'['), ('p.npz', b'PK'), ('plain', b'PK')]:
        invoke('predictions', 'export', pk, '-o', tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    invoke('predictions', 'export', pk, '-F', 'csv', '-o', tmp_path / 'p.txt')
    assert (tmp_path / 'p.txt').read_bytes() == (tmp_path / 'p.csv').read_bytes()
    assert '--format' in invoke('predictions', 'export', pk, '-o', tmp_path / 'p.xlsx', status=2)
    assert not (tmp_path / 'p.xlsx').exists()


@pytest.mark.parametrize(
    ('kind', 'file_format'),
    [(kind, name) for kind in ('crystals', 'predictions', 'ranking') for name in ('csv', 'json', 'npz')]
    + [('crystals', 'cif'), ('crystals', 'extxyz')],
)
def test_blocks_do_not_change_the_file(nodes, monkeypatch, kind, file_format):
    whole = b''.join(export_pieces(nodes[kind], file_format))
    for module in (export_columns, exports):
        monkeypatch.setattr(module, 'BLOCK', 2)
    monkeypatch.setattr(exports, '_BYTES', 100)
    pieces = list(export_pieces(nodes[kind], file_format))
    assert len(pieces) > 1
    assert b''.join(pieces) == whole
    if file_format == 'json':
        assert whole.decode() == json_text(list(exported_rows(nodes[kind])), 1) + '\n'


def test_properties_do_not_replace_columns(crystal_set):
    names = ('id', 'hash', 'atoms', 'lattice', 'species', 'frac_coords', 'formula', 'phonons', 'average_std')
    plain = exported_rows(CrystalsData(replace(crystal_set, properties={})).store())
    properties = {name: np.arange(6) for name in names}
    node = CrystalsData(replace(crystal_set, properties=properties)).store()
    renamed = [{f'property_{name}': row for name in names} for row in range(6)]
    assert list(exported_rows(node)) == [row | more for row, more in zip(plain, renamed, strict=True)]
    lines = list(csv.DictReader(b''.join(export_pieces(node, 'csv')).decode().splitlines()))
    assert [line['id'] for line in lines] == crystal_set.ids.tolist()
    assert [[line[f'property_{name}'] for name in names] for line in lines] == [[str(row)] * 9 for row in range(6)]


def test_extended_xyz_is_read_with_ids_and_properties(crystal_set):
    ids = np.array(['007', '1e5', 'T', 'a b', 'mp-1', '12'])
    properties = {'icsd': np.array(['', '7', 'x', '', '1 2', 'y']), 'stress': np.arange(6.0), 'ok': np.arange(6) < 3}
    node = CrystalsData(replace(crystal_set, ids=ids, properties=properties, failures=())).store()
    back = read_bytes('q.extxyz', b''.join(export_pieces(node, 'extxyz')))
    assert back.failures == ()
    assert back.ids.tolist() == ids.tolist()
    assert {name: column.tolist() for name, column in back.properties.items()} == {
        'icsd': properties['icsd'].tolist(),
        'property_stress': properties['stress'].tolist(),
        'ok': properties['ok'].tolist(),
    }


def test_blocks_of_a_cif_have_unique_names_and_keep_the_ids(crystal_set):
    ids = np.array(['a/b', 'a_b', 'A_B', 'a_b_2', 'ü', 'it\'s "#" _'])
    node = CrystalsData(replace(crystal_set, ids=ids, failures=())).store()
    content = b''.join(export_pieces(node, 'cif'))
    blocks = list(gemmi.cif.read_string(content.decode()))
    assert [block.name for block in blocks] == ['a_b', 'a_b_2', 'A_B_3', 'a_b_2_2', '_', 'it_s______']
    assert [gemmi.cif.as_string(block.find_value('_goectp_id')) for block in blocks] == ids.tolist()
    assert len(read_bytes('a.cif', content)) == len(ids)
    assert len(ase.io.read(io.BytesIO(content), ':', format='cif')) == len(ids)


def test_csv_is_the_table_of_json(nodes, tmp_path):
    """Cells are numbers as Python writes them: averages of tensors, nothing for what is missing."""
    for kind in ('predictions', 'ranking'):
        (tmp_path / kind).write_bytes(b''.join(export_pieces(nodes[kind], 'csv')))
        lines = list(csv.DictReader((tmp_path / kind).open(newline='')))
        for row, line in zip(exported_rows(nodes[kind]), lines, strict=True):
            for name, value in row.items():
                if isinstance(value, list) and name in ('electronic', 'ionic', 'total'):
                    trace = [value[axis][axis] for axis in range(3)]
                    assert line[name] == ('' if None in trace else str(sum(trace) / 3))
                elif name in line and not isinstance(row.get('total'), list | None):
                    cell = ' '.join(value) if isinstance(value, list) else value
                    assert line[name] == ('' if cell is None else str(cell))


def test_ids_of_equal_crystals(crystals, predict_by_hand):
    table = rank_crystals(crystals, PredictionsData(predict_by_hand(crystals.crystals)).store()).ranking
    rows = np.flatnonzero(table.rank)[:2]
    joined = table.joined_to.copy()
    joined[rows[0]] = rows[1]
    changed = replace(
        table,
        joined_to=joined,
        rank=np.where(np.arange(len(table)) == rows[0], 0, table.rank - (table.rank > table.rank[rows[0]])),
        reason=np.where(np.arange(len(table)) == rows[0], 'equal crystal', table.reason),
    )
    found = {row['id']: row['joined'] for row in exported_rows(RankingData(changed).store())}
    assert found[str(table.ids[rows[1]])] == [str(table.ids[rows[0]])]
    assert sum(map(len, found.values())) == 1


def test_no_rows(predict_by_hand):
    node = PredictionsData(predict_by_hand(CrystalSet.from_crystals([]))).store()
    assert b''.join(export_pieces(node, 'csv')) == b'\r\n'
    assert b''.join(export_pieces(node, 'json')) == b'[]\n'


def test_a_failed_export_leaves_the_old_file(tmp_path):
    def pieces():
        yield b'new'
        raise ValueError('damaged')

    path = tmp_path / 'out.csv'
    for before in ([], ['out.csv']):
        with pytest.raises(ValueError, match='damaged'):
            write_output(path, pieces(), force=True)
        assert [item.name for item in tmp_path.iterdir()] == before
        path.write_bytes(b'old')
    assert path.read_bytes() == b'old'


def test_links_and_devices_are_kept(tmp_path):
    (tmp_path / 'file').write_bytes(b'old')
    (tmp_path / 'link').symlink_to('file')
    write_output(tmp_path / 'link', [b'a', b'b'], force=True)
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'file').read_bytes() == b'ab'
    (tmp_path / 'null').symlink_to('/dev/null')
    write_output(tmp_path / 'null', b'x', force=True)
    assert (tmp_path / 'null').is_char_device()


def test_export_of_phonons(nodes, tmp_path):
    """JSON has the phonons as the executable prints them; CSV stays scalar."""
    table, rng = nodes['predictions'].predictions, np.random.default_rng(0)
    blocks = rng.normal(size=(2, 2, 3, 3))
    matrix = np.kron([[1.0, -1.0], [-1.0, 1.0]], blocks[0, 0] @ blocks[0, 0].T)
    charges = np.array([1, -1])[:, None, None] * blocks[1, 1]
    crystal = nodes['crystals'].crystals[1]
    cell = PhononCell(crystal.lattice, crystal.atomic_numbers, crystal.fractional_positions, np.eye(3), charges, matrix)
    cells = [None, cell, *[None] * 4]
    phonons = GammaPhonons.from_cells(cells, [None if item is None else np.arange(2) for item in cells])
    stability = np.array([np.nan, 0.75, *[np.nan] * 4])
    node = PredictionsData(replace(table, phonons=phonons, stability=stability)).store()
    invoke('predictions', 'export', node.pk, '-F', 'json', '-o', tmp_path / 'p.json')
    rows = json.loads((tmp_path / 'p.json').read_text())
    printed = [json.loads(line) for line in json_lines(nodes['crystals'].crystals, node.predictions)]
    for row, line in zip(rows, printed, strict=False):
        assert {name: row[name] for name in ('born_charges', 'phonons', 'stability')} == {
            name: line[name] for name in ('born_charges', 'phonons', 'stability')
        }
    assert [row['phonons'] is None for row in rows] == [True, False, True, True, True, True]
    assert rows[1]['phonons']['species'] == ['Mg', 'O']
    invoke('predictions', 'export', node.pk, '-F', 'csv', '-o', tmp_path / 'p.csv')
    lines = list(csv.DictReader((tmp_path / 'p.csv').open()))
    assert list(lines[0]) == [*_COLUMNS, *_NEW_COLUMNS]
    assert [line['stability'] for line in lines] == ['', '0.75', '', '', '', '']
    assert '0.75' in runner.line_with(invoke('predictions', 'show', node.pk), 'MgO').split()


def test_node_of_another_type_is_refused(nodes):
    invoke('ranking', 'show', nodes['model'].pk, status=2)

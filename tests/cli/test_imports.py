"""``aiida-goectp import``."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.tools.archive import create_archive
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.queries import latest_import, latest_node
from aiida_goectp.data.crystals import structure_from_crystal
from tests.calculations.test_structures import CIF
from tests.cli.runner import flat, invoke

POSCAR = 'Po\n1.0\n3.3 0 0\n0 3.3 0\n0 0 3.3\nPo\n1\nDirect\n0 0 0\n'

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def test_files_and_folders(tmp_path, crystal_set):
    folder = tmp_path / 'cifs'
    folder.mkdir()
    (folder / 'b.cif').write_text(CIF)
    (folder / 'a.cif').write_text(CIF)
    (folder / 'cut.cif').write_text(CIF[:120])
    (folder / 'notes.txt').write_text('no structure')
    crystal_set.save(tmp_path / 'more.npz')
    output = invoke('import', folder, tmp_path / 'more.npz', '--label', 'mine')
    node = latest_node('goectp.crystals')
    assert list(node.crystals.ids) == ['a', 'b', *crystal_set.ids]
    assert node.label == 'mine'
    assert f'crystals node {node.pk}: 8 crystals, 2 failures' in output
    assert 'cut.cif' in output
    files = node.creator.base.links.get_incoming().all_nodes()
    assert sorted(file.filename for file in files) == ['a.cif', 'b.cif', 'cut.cif', 'more.npz']


def test_large_folder_is_one_node(tmp_path):
    for index in range(201):
        (tmp_path / f'c{index:03d}.cif').write_text(CIF)
    invoke('import', tmp_path)
    node = latest_node('goectp.crystals')
    assert len(node) == 201
    assert node.crystals.ids[7] == 'c007'
    assert [type(item) for item in node.creator.base.links.get_incoming().all_nodes()] == [orm.FolderData]


def test_property_table(tmp_path):
    (tmp_path / 'MgO.cif').write_text(CIF)
    (tmp_path / 'gaps.csv').write_text('id,band_gap\nMgO,7.8\n')
    assert 'band_gap' in invoke('import', tmp_path / 'MgO.cif', '--properties', tmp_path / 'gaps.csv')
    assert latest_node('goectp.crystals').crystals.properties['band_gap'].tolist() == [7.8]
    (tmp_path / 'wrong.csv').write_text('id,band_gap\nMgS,7.8\n')


def count_nodes():
    return orm.QueryBuilder().append(orm.Node).count()


@pytest.mark.parametrize(
    ('table', 'options', 'named'),
    [
        ('id,band_gap\nMgS,7.8\n', [], 'MgS'),
        ('id,band_gap\nMgO,N/A\n', [], "line 2: 'N/A'"),
        ('id,gap\nMgO,3.0 eV\n', [], "'3.0 eV'"),
        ('name,gap\nMgO,3.0\n', [], '--id-column'),
        ('id,gap\nMgO,3.0\nMgO,2\n', [], 'lines 2 and 3'),
        ('id;gap\nMgO;3,0\n', [], 'decimal point'),
        ('id,gap\nMgO,3.0\n', ['--text-column', 'gaps'], "'gap'"),
    ],
)
def test_invalid_property_tables_store_nothing(tmp_path, table, options, named):
    (tmp_path / 'MgO.cif').write_text(CIF)
    (tmp_path / 't.csv').write_text(table)
    output = flat(invoke('import', tmp_path / 'MgO.cif', '--properties', tmp_path / 't.csv', *options, status=2))
    assert '--properties' in output
    assert named in output
    assert count_nodes() == 0


def test_options_of_the_property_table(tmp_path):
    (tmp_path / 'MgO.cif').write_text(CIF)
    (tmp_path / 't.csv').write_text('material;band_gap;group\nMgO;N/A;225\nMgS;4.5;1\n')
    options = ['--id-column', 'material', '--ignore-unknown', '--missing', 'N/A', '--text-column', 'group']
    output = invoke('import', tmp_path / 'MgO.cif', '--properties', tmp_path / 't.csv', *options)
    node = latest_node('goectp.crystals')
    assert np.isnan(node.crystals.properties['band_gap'][0])
    assert node.crystals.properties['group'].tolist() == ['225']
    assert node.creator.inputs.table.get_dict()['id_column'] == 'material'
    lines = [' '.join(line.split()) for line in output.splitlines()]
    assert 'rows of the table left out: unknown id 1 MgS' in lines
    assert 'property band_gap: numbers 0' in lines
    assert 'requires --properties' in invoke('import', tmp_path / 'MgO.cif', '--missing', 'x', status=2)


def test_what_is_left_out_is_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path('all')  # a long path would break the lines of the table
    for name in ('a', 'b', 'c/d'):
        (folder / name).mkdir(parents=True)
        (folder / name / 'POSCAR').write_text(POSCAR)
    for name, text in (('x.cif', CIF), ('empty.cif', ''), ('notes.txt', 'x'), ('more.txt', 'x'), ('.hidden', 'x')):
        (folder / name).write_text(text)
    lines = [' '.join(line.split()) for line in invoke('import', folder).splitlines()]
    node = latest_node('goectp.crystals')
    assert list(node.crystals.ids) == ['x']
    assert [failure.code for failure in node.crystals.failures] == ['empty_file']
    assert 'crystals 1' in lines
    assert 'failed empty file 1 empty' in lines
    for text in (
        'left out subfolder, read it with --recursive 3',
        'left out unknown kind of file 2',
        'left out hidden 1',
    ):
        assert any(line.startswith(text) for line in lines), text
    invoke('import', folder, '--recursive')
    assert list(latest_node('goectp.crystals').crystals.ids) == ['a', 'b', 'd', 'x']


def test_import_as_json_and_as_tabs(tmp_path):
    for name, text in (('a.cif', CIF), ('cut.cif', CIF[:120]), ('notes.txt', 'x'), ('a.cif.lock', '')):
        (tmp_path / name).write_text(text)
    printed = {
        option: CliRunner().invoke(main, ['import', str(tmp_path), '--label', 'mine', option]).stdout
        for option in ('--json', '--raw')
    }
    found = json.loads(printed['--json'])
    assert (found['label'], found['crystals'], found['property_table']) == ('mine', 1, None)
    assert [failure['id'] for failure in found['failures']] == ['cut']
    assert [item['reason'] for item in found['left_out']] == ['run_file', 'unknown_kind']
    lines = [line.split('\t') for line in printed['--raw'].splitlines()]
    node = latest_node('goectp.crystals')
    assert lines[0] == [str(node.pk), node.uuid, 'CrystalsData', 'mine']
    assert ['crystals', '', '1', ''] in lines


def test_poscar_files_take_the_name_of_their_folder(tmp_path, monkeypatch):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'POSCAR').write_text(POSCAR)
        (tmp_path / name / 'CONTCAR').write_text(POSCAR)
    invoke('import', tmp_path / 'a' / 'POSCAR', tmp_path / 'b' / 'POSCAR')
    node = latest_node('goectp.crystals')
    assert list(node.crystals.ids) == ['a', 'b']
    inputs = node.creator.base.links.get_incoming().all_nodes()
    assert {name for item in inputs for name in item.base.repository.list_object_names()} == {'a', 'b'}
    monkeypatch.chdir(tmp_path / 'a')
    invoke('import', 'POSCAR')
    assert list(latest_node('goectp.crystals').crystals.ids) == ['a']
    invoke('import', '.')
    assert list(latest_node('goectp.crystals').crystals.ids) == ['a']  # the CONTCAR
    invoke('import', 'POSCAR', 'CONTCAR')
    assert list(latest_node('goectp.crystals').crystals.ids) == ['a', 'a#2']


def test_large_folder_with_subfolders(tmp_path):
    for index in range(102):
        for name in ('p', 'q'):
            (tmp_path / name / f'c{index:03d}').mkdir(parents=True)
            (tmp_path / name / f'c{index:03d}' / 'POSCAR').write_text(POSCAR)
    invoke('import', tmp_path, '--recursive')
    node = latest_node('goectp.crystals')
    assert len(node) == 204
    assert {'c000', 'c101', 'c000#2'} <= set(node.crystals.ids)
    assert [type(item) for item in node.creator.base.links.get_incoming().all_nodes()] == [orm.FolderData]


def test_group(crystal_set):
    group = orm.Group('oxides').store()
    structures = [structure_from_crystal(crystal_set[row]).store() for row in (1, 3)]
    group.add_nodes([*structures, orm.Int(1).store()])
    invoke('import', '--group', 'oxides')
    node = latest_node('goectp.crystals')
    assert sorted(node.crystals.ids) == sorted([f'MgO_{structures[0].uuid[:8]}', f'O3SrTi_{structures[1].uuid[:8]}'])
    assert set(node.creator.base.links.get_incoming().all_nodes()) == set(structures)
    np.testing.assert_allclose(node.crystals.lattices.sum(), crystal_set.lattices[[1, 3]].sum())


def test_group_of_structures_cifs_and_crystals(crystals, crystal_set):
    structure = structure_from_crystal(crystal_set[1]).store()
    cifs = [
        orm.CifData(file=io.BytesIO(text.encode()), filename=name).store()
        for name, text in (('1000041.cif', CIF), ('cut.cif', 'data_MgO\n_cell_length_a 4.2\n'))
    ]
    group = orm.Group('all kinds').store()
    group.add_nodes([structure, crystals, *cifs])
    invoke('import', '--group', 'all kinds')
    node = latest_node('goectp.crystals')
    names = [f'MgO_{structure.uuid[:8]}', f'cif_1000041_{cifs[0].uuid[:8]}', *crystal_set.ids]
    assert node.crystals.ids.tolist() == names
    failures = [*(failure.id for failure in crystal_set.failures), f'cut_{cifs[1].uuid[:8]}']
    assert [failure.id for failure in node.crystals.failures] == failures
    np.testing.assert_array_equal(node.crystals.properties['band_gap'][2:], crystal_set.properties['band_gap'])
    assert {item.pk for item in node.creator.base.links.get_incoming().all_nodes()} == {item.pk for item in group.nodes}


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [([], 'PATHS'), (['--group', 'nothing'], '--group'), (['does-not-exist.cif'], 'does-not-exist.cif')],
)
def test_invalid_arguments(arguments, name):
    assert name in invoke('import', *arguments, status=2)


def test_empty_folder_stores_nothing(tmp_path):
    assert 'PATHS' in invoke('import', tmp_path, status=2)
    assert orm.QueryBuilder().append(orm.Data).count() == 0


def test_import_without_readable_crystal_fails(tmp_path):
    (tmp_path / 'cut.cif').write_text(CIF[:120])
    assert 'cut.cif' in invoke('import', tmp_path, status=1)
    assert len(latest_node('goectp.crystals')) == 0


def test_archive(tmp_path, crystal_set, aiida_profile_clean):
    structure = structure_from_crystal(crystal_set[1]).store()
    uuid = structure.uuid
    create_archive([structure], filename=tmp_path / 'some.aiida')
    aiida_profile_clean.reset_storage()
    invoke('import', '--archive', tmp_path / 'some.aiida')
    node = latest_node('goectp.crystals')
    assert node.crystals.ids.tolist() == [f'MgO_{uuid[:8]}']
    assert [item.uuid for item in node.creator.base.links.get_incoming().all_nodes()] == [uuid]
    (tmp_path / 'no.aiida').write_text('text')
    assert '--archive' in flat(invoke('import', '--archive', tmp_path / 'no.aiida', status=2))
    assert '--archive' in flat(invoke('import', '--group', 'x', '--archive', tmp_path / 'some.aiida', status=2))


def test_crystals_are_reduced_to_their_primitive_cells(tmp_path):
    """The next screen takes them, and their provenance begins with the files."""
    doubled = POSCAR.replace('3.3 0 0', '6.6 0 0').replace('Po\n1\n', 'Po\n2\n') + '0.5 0 0\n'
    (tmp_path / 'large.vasp').write_text(doubled)
    (tmp_path / 'small.vasp').write_text(POSCAR)
    (tmp_path / 'table.csv').write_text('id,band_gap\nlarge,7.8\n')
    (tmp_path / 'cut.cif').write_text(CIF[:120])
    found = json.loads(
        CliRunner()
        .invoke(
            main,
            [
                *('import', str(tmp_path), '--primitive', '--properties', str(tmp_path / 'table.csv')),
                *('--label', 'reduced', '--json'),
            ],
        )
        .stdout
    )
    assert (found['crystals'], found['reduced']) == (2, ['large'])
    node = latest_import()
    assert (node.pk, node.label) == (found['pk'], 'reduced')
    assert node.crystals.atom_counts.tolist() == [1, 1]
    assert [failure.id for failure in node.crystals.failures] == ['cut']
    assert node.crystals.properties['band_gap'][0] == 7.8
    assert node.creator.process_label == 'reduce_to_primitive'
    assert node.creator.inputs.imported.crystals.atom_counts.tolist() == [2, 1]
    assert node.creator.inputs.imported.label == ''

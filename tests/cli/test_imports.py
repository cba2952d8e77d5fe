"""``aiida-goectp import``."""

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.cli.queries import latest_node
from aiida_goectp.data.crystals import structure_from_crystal
from tests.calculations.test_structures import CIF
from tests.cli.runner import invoke

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
    assert 'MgS' in invoke('import', tmp_path / 'MgO.cif', '--properties', tmp_path / 'wrong.csv', status=1)


def test_group(crystal_set):
    group = orm.Group('oxides').store()
    structures = [structure_from_crystal(crystal_set[row]).store() for row in (1, 3)]
    group.add_nodes([*structures, orm.Int(1).store()])
    invoke('import', '--group', 'oxides')
    node = latest_node('goectp.crystals')
    assert sorted(node.crystals.ids) == sorted([f'MgO_{structures[0].uuid[:8]}', f'O3SrTi_{structures[1].uuid[:8]}'])
    assert set(node.creator.base.links.get_incoming().all_nodes()) == set(structures)
    np.testing.assert_allclose(node.crystals.lattices.sum(), crystal_set.lattices[[1, 3]].sum())


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

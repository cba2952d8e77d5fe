"""``aiida-goectp import``."""

import numpy as np
import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.params import latest
from aiida_goectp.data.crystals import structure_from_crystal
from tests.calculations.test_structures import CIF

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def invoke(*arguments):
    return CliRunner().invoke(main, ['import', *(str(item) for item in arguments)])


def test_files_and_folders(tmp_path, crystal_set):
    folder = tmp_path / 'cifs'
    folder.mkdir()
    (folder / 'b.cif').write_text(CIF)
    (folder / 'a.cif').write_text(CIF)
    (folder / 'cut.cif').write_text(CIF[:120])
    (folder / 'notes.txt').write_text('no structure')
    crystal_set.save(tmp_path / 'more.npz')
    result = invoke(folder, tmp_path / 'more.npz', '--label', 'mine')
    assert result.exit_code == 0, result.output
    node = latest('goectp.crystals')
    assert list(node.crystals.ids) == ['a', 'b', *crystal_set.ids]
    assert node.label == 'mine'
    assert f'crystals node {node.pk}: 8 crystals, 2 failures' in result.output
    assert 'cut.cif' in result.output
    files = node.creator.base.links.get_incoming().all_nodes()
    assert sorted(file.filename for file in files) == ['a.cif', 'b.cif', 'cut.cif', 'more.npz']


def test_a_large_folder_is_one_node(tmp_path):
    for index in range(201):
        (tmp_path / f'c{index:03d}.cif').write_text(CIF)
    assert invoke(tmp_path).exit_code == 0
    node = latest('goectp.crystals')
    assert len(node) == 201
    assert node.crystals.ids[7] == 'c007'
    assert [type(item) for item in node.creator.base.links.get_incoming().all_nodes()] == [orm.FolderData]


def test_properties(tmp_path):
    (tmp_path / 'MgO.cif').write_text(CIF)
    (tmp_path / 'gaps.csv').write_text('id,band_gap\nMgO,7.8\n')
    result = invoke(tmp_path / 'MgO.cif', '--properties', tmp_path / 'gaps.csv')
    assert 'columns: band_gap' in result.output
    (tmp_path / 'wrong.csv').write_text('id,band_gap\nMgS,7.8\n')
    result = invoke(tmp_path / 'MgO.cif', '--properties', tmp_path / 'wrong.csv')
    assert result.exit_code == 1
    assert 'no crystal has the id MgS' in result.output


def test_group(crystal_set):
    group = orm.Group('oxides').store()
    structures = [structure_from_crystal(crystal_set[row]).store() for row in (1, 3)]
    group.add_nodes([*structures, orm.Int(1).store()])
    result = invoke('--group', 'oxides')
    assert result.exit_code == 0, result.output
    node = latest('goectp.crystals')
    assert sorted(node.crystals.ids) == sorted([f'MgO_{structures[0].uuid[:8]}', f'O3SrTi_{structures[1].uuid[:8]}'])
    assert set(node.creator.base.links.get_incoming().all_nodes()) == set(structures)
    np.testing.assert_allclose(node.crystals.lattices.sum(), crystal_set.lattices[[1, 3]].sum())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give either PATHS or --group'),
        (['--group', 'nothing'], '--group'),
        (['does-not-exist.cif'], 'does not exist'),
    ],
)
def test_wrong_arguments(arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_an_empty_folder_stores_nothing(tmp_path):
    result = invoke(tmp_path)
    assert result.exit_code == 2
    assert 'no structure file in this folder' in result.output
    assert orm.QueryBuilder().append(orm.Data).count() == 0


def test_nothing_readable_ends_with_the_reasons(tmp_path):
    (tmp_path / 'cut.cif').write_text(CIF[:120])
    result = invoke(tmp_path)
    assert result.exit_code == 1
    assert 'cut.cif' in result.output
    assert 'not one crystal could be read' in result.output

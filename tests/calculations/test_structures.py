"""Import of stored files and of ``StructureData`` nodes."""

import io

import numpy as np
import pytest
from aiida import orm
from aiida.manage.caching import enable_caching

from aiida_goectp.calculations.structures import import_group, import_structures, to_crystals
from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.data.pymatgen_convert import to_pymatgen

pytestmark = pytest.mark.usefixtures('aiida_profile')

CIF = """data_MgO
_cell_length_a 4.212
_cell_length_b 4.212
_cell_length_c 4.212
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mg Mg 0 0 0
O O 0.5 0.5 0.5
"""


def single(name, content):
    return orm.SinglefileData(io.BytesIO(content if isinstance(content, bytes) else content.encode()), filename=name)


def npz(crystals):
    stream = io.BytesIO()
    crystals.save(stream)
    return stream.getvalue()


def test_files_are_inputs_of_one_node(crystal_set):
    files = {'file_1': single('table.npz', npz(crystal_set)), 'file_0': single('MgO_cubic.cif', CIF)}
    node = import_structures(**files)
    assert list(node.crystals.ids) == ['MgO_cubic', *crystal_set.ids]
    np.testing.assert_array_equal(node.crystals.properties['band_gap'][1:], crystal_set.properties['band_gap'])
    assert np.isnan(node.crystals.properties['band_gap'][0])
    incoming = node.creator.base.links.get_incoming().all_nodes()
    assert {item.uuid for item in incoming} == {item.uuid for item in files.values()}


def test_invalid_file_is_a_failure_of_the_node():
    cut = CIF[: CIF.index('_cell_angle_gamma')]
    node = import_structures(
        file_0=single('good.cif', CIF), file_1=single('cut.cif', cut), file_2=single('notes.txt', 'x')
    )
    assert list(node.crystals.ids) == ['good']
    assert [failure.id for failure in node.crystals.failures] == ['cut', 'notes.txt']
    assert all('.' in failure.message for failure in node.crystals.failures)


def test_cif_nodes():
    cif = orm.CifData(file=io.BytesIO(CIF.encode()), filename='MgO_cubic.cif').store()
    node = to_crystals([cif, cif])
    assert node.crystals.ids.tolist() == ['MgO_cubic', 'MgO_cubic#2']
    assert {item.pk for item in node.creator.base.links.get_incoming(node_class=orm.CifData).all_nodes()} == {cif.pk}


def test_only_invalid_files():
    node = import_structures(file_0=single('empty.cif', ''))
    assert len(node) == 0
    assert len(node.crystals.failures) == 1


def test_folder_is_read_in_the_order_of_names():
    folder = orm.FolderData()
    folder.base.repository.put_object_from_bytes(CIF.encode(), 'b.cif')
    folder.base.repository.put_object_from_bytes(CIF.encode(), 'a.cif')
    assert list(import_structures(folder=folder).crystals.ids) == ['a', 'b']


def test_table_of_properties():
    table = single('gaps.csv', 'id,band_gap\ngood,7.8\n')
    node = import_structures(properties=table, file_0=single('good.cif', CIF))
    assert node.crystals.properties['band_gap'] == [7.8]
    with pytest.raises(ValueError, match=r'gaps\.csv: .*good'):
        import_structures(properties=table, file_0=single('other.cif', CIF))


def test_equal_content_is_taken_from_the_cache():
    with enable_caching():
        first = import_structures(file_0=single('same.cif', CIF))
        again = import_structures(file_0=single('same.cif', CIF))
        other = import_structures(file_0=single('same.cif', CIF.replace('4.212', '4.3')))
    assert again.creator.base.caching.get_cache_source() == first.creator.uuid
    assert again.content_hash == first.content_hash
    assert not other.creator.base.caching.is_created_from_cache


def test_structures_keep_frame_and_name(crystal_set):
    structures = {name: structure_from_crystal(crystal_set[row]) for name, row in (('b_AlN', 5), ('a_Si', 0))}
    slab = orm.StructureData(cell=np.eye(3).tolist(), pbc=(True, True, False))
    slab.append_atom(position=(0, 0, 0), symbols='Si')
    node = import_group(**structures, c_slab=slab)
    assert list(node.crystals.ids) == ['a_Si', 'b_AlN']
    np.testing.assert_allclose(node.crystals[1].lattice, crystal_set[5].lattice, atol=1e-14)
    assert [(failure.id, failure.code) for failure in node.crystals.failures] == [('c_slab', 'not_periodic')]


def test_import_without_inputs_is_refused():
    with pytest.raises(ValueError, match='no files'):
        import_structures()
    with pytest.raises(ValueError, match='no structures'):
        import_group()


def structure_of(crystal):
    return structure_from_crystal(crystal).store()


@pytest.mark.parametrize('convert', [to_ase, to_pymatgen, lambda crystal: crystal, structure_of])
def test_structures_of_any_library_are_crystals(convert, crystal_set):
    (crystal,) = to_crystals(convert(crystal_set[5])).crystals
    np.testing.assert_allclose(crystal.lattice, crystal_set[5].lattice)
    np.testing.assert_allclose(crystal.fractional_positions, crystal_set[5].fractional_positions, atol=1e-12)
    assert crystal.atomic_numbers.tolist() == [13, 13, 7, 7]


def test_nodes_of_a_list_keep_their_provenance(crystals, crystal_set):
    structure, atoms = structure_of(crystal_set[0]), to_ase(crystal_set[1])
    joined = to_crystals([structure, crystals, atoms, to_pymatgen(crystal_set[2])])
    assert joined.crystals.ids.tolist() == ['Si2', *crystal_set.ids, 'MgO#2', 'AsGa']
    assert [failure.id for failure in joined.crystals.failures] == ['broken.cif']
    inputs = {node.uuid for node in joined.creator.base.links.get_incoming().all_nodes()}
    assert {structure.uuid, crystals.uuid} <= inputs
    assert to_crystals(crystals) is crystals


def test_names_of_a_dict_are_ids(crystal_set):
    named = {'first': structure_of(crystal_set[0]), 'second': to_ase(crystal_set[1])}
    assert to_crystals(named).crystals.ids.tolist() == ['first', 'second']
    assert to_crystals({'one': to_pymatgen(crystal_set[2])}).crystals.ids.tolist() == ['one']


def test_values_that_are_no_crystals_are_refused():
    slab = orm.StructureData(cell=np.eye(3).tolist(), pbc=(True, True, False))
    slab.append_atom(position=(0, 0, 0), symbols='Si')
    assert [failure.code for failure in to_crystals([slab]).crystals.failures] == ['not_periodic']
    for value, kind in ((1, TypeError), ([1], TypeError), ('MgO.cif', TypeError), ([], ValueError)):
        with pytest.raises(kind):
            to_crystals(value)

"""The crystals node, and conversion from and to ``StructureData``."""

import numpy as np
import pytest
from aiida.orm import StructureData

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.data.crystals import CrystalsData, crystal_from_structure, structure_from_crystal

pytestmark = pytest.mark.usefixtures('aiida_profile')


def test_summary(crystal_set):
    node = CrystalsData(crystal_set)
    assert node.base.attributes.get('number') == 6
    assert node.base.attributes.get('atoms') == 21
    assert node.base.attributes.get('failures') == 1
    assert node.columns == ('band_gap', 'e_above_hull')
    assert node.base.attributes.get('elements') == ['N', 'O', 'Mg', 'Al', 'Si', 'Ti', 'Ga', 'As', 'Sr']


def test_a_structure_keeps_its_frame(crystal_set):
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    crystal = crystal_set[5]
    turned = Crystal(
        'turned', crystal.lattice @ rotation.T, crystal.atomic_numbers, crystal.fractional_positions - 1.25
    )
    back = crystal_from_structure('turned', structure_from_crystal(turned))
    np.testing.assert_allclose(back.lattice, turned.lattice, atol=1e-14)
    np.testing.assert_allclose(back.fractional_positions, turned.fractional_positions, atol=1e-13)
    np.testing.assert_array_equal(back.atomic_numbers, turned.atomic_numbers)


def test_structure_of_a_row(crystals):
    structure = crystals.structure(3)
    assert structure.get_formula() == 'O3SrTi'
    assert structure.label == 'SrTiO3'
    assert not structure.is_stored


def test_structures_that_are_not_crystals_are_refused():
    slab = StructureData(cell=np.eye(3).tolist(), pbc=(True, True, False))
    slab.append_atom(position=(0, 0, 0), symbols='Si')
    with pytest.raises(CrystalError, match='slab') as caught:
        crystal_from_structure('slab', slab)
    assert caught.value.code == 'not_periodic'
    alloy = StructureData(cell=np.eye(3).tolist())
    alloy.append_atom(position=(0, 0, 0), symbols=['Si', 'Ge'], weights=[0.5, 0.5])
    with pytest.raises(CrystalError, match='alloy') as caught:
        crystal_from_structure('alloy', alloy)
    assert caught.value.code == 'partial_occupancy'
    unknown = StructureData(cell=np.eye(3).tolist())
    unknown.append_atom(position=(0, 0, 0), symbols='X')
    with pytest.raises(CrystalError, match=r'unknown.*X') as caught:
        crystal_from_structure('unknown', unknown)
    assert caught.value.code == 'unknown_element'

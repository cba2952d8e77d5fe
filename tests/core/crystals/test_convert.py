"""Conversion from and to ASE."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from hypothesis import given, settings

from aiida_goectp.core.crystals import CrystalError
from aiida_goectp.core.crystals.convert import as_crystal_set, from_ase, to_ase

from .builders import crystals, rocksalt


@given(crystals())
@settings(max_examples=30)
def test_round_trip(crystal):
    back = from_ase(to_ase(crystal), 'x')
    assert back.id == 'x'
    assert np.array_equal(back.lattice, crystal.lattice)
    assert back.atomic_numbers.tolist() == crystal.atomic_numbers.tolist()
    assert np.allclose(back.fractional_positions, crystal.fractional_positions, rtol=0, atol=1e-13)


def test_left_handed_lattice_is_kept():
    crystal = rocksalt()._replace(lattice=np.diag([4.0, 4.0, -5.0]))
    assert np.array_equal(from_ase(to_ase(crystal)).lattice, crystal.lattice)


def test_default_id_is_the_formula():
    assert from_ase(to_ase(rocksalt('anything'))).id == 'MgO'


def test_arrays_are_copied():
    atoms = to_ase(rocksalt())
    crystal = from_ase(atoms)
    crystal.lattice[0, 0] = crystal.fractional_positions[0, 0] = 99.0
    assert np.array_equal(atoms.cell.array, rocksalt().lattice)


def test_refused_structures():
    with pytest.raises(CrystalError) as caught:
        from_ase(molecule('H2O'))
    assert caught.value.code == 'bad_lattice'
    with pytest.raises(CrystalError) as caught:
        from_ase(fcc100('Al', (1, 1, 3), vacuum=8.0))
    assert caught.value.code == 'not_periodic'
    shared = Atoms('Ga', cell=np.eye(3) * 4, pbc=True, info={'occupancy': {'0': {'Ga': 0.5, 'In': 0.5}}})
    with pytest.raises(CrystalError) as caught:
        from_ase(shared)
    assert caught.value.code == 'partial_occupancy'


def test_sets_of_mixed_values(crystal_set):
    magnesia, slab = to_ase(crystal_set[1]), to_ase(crystal_set[0])
    slab.pbc = (True, True, False)
    mixed = as_crystal_set([magnesia, crystal_set, magnesia, slab, crystal_set[2]])
    assert mixed.ids.tolist() == ['MgO', *['Si', 'MgO#2', 'GaAs', 'SrTiO3', 'TiO2', 'AlN'], 'MgO#3', 'GaAs#2']
    assert [failure.code for failure in mixed.failures] == ['unreadable_file', 'not_periodic']
    assert as_crystal_set({'rock salt': magnesia}).ids.tolist() == ['rock salt']
    assert as_crystal_set(crystal_set) is crystal_set


def test_a_single_value_that_is_no_crystal_is_refused(crystal_set):
    slab = to_ase(crystal_set[0])
    slab.pbc = False
    with pytest.raises(CrystalError) as caught:
        as_crystal_set(slab)
    assert caught.value.code == 'not_periodic'
    with pytest.raises(CrystalError) as caught:
        as_crystal_set(crystal_set[0]._replace(atomic_numbers=np.array([14, 200])))
    assert caught.value.code == 'unknown_element'
    with pytest.raises(TypeError, match='int'):
        as_crystal_set([1])


def test_data_frame():
    slab = bulk('Si')
    slab.pbc = [True, True, False]
    frame = pd.DataFrame(
        {'material_id': ['a', 'b', 'c'], 'structure': [bulk('Si'), slab, bulk('Ge')], 'gap': [1, 2, 3]}
    )
    crystals = as_crystal_set(frame)
    assert crystals.ids.tolist() == ['a', 'c']
    assert {name: column.tolist() for name, column in crystals.properties.items()} == {'gap': [1, 3]}
    assert [(failure.id, failure.code) for failure in crystals.failures] == [('b', 'not_periodic')]
    by_index = frame.set_index('material_id')
    assert as_crystal_set(by_index).ids.tolist() == ['a', 'c']
    with pytest.raises(ValueError, match='structure'):
        as_crystal_set(frame[['gap']])

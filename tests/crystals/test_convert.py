"""From and to pymatgen and ASE: nothing moves, and what is no crystal is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from aiida_goectp.crystals import CrystalError
from aiida_goectp.crystals.convert import from_ase, from_pymatgen, to_ase, to_pymatgen

from .builders import crystals, rocksalt


@given(crystals())
@settings(max_examples=30)
def test_there_and_back_nothing_moves(crystal):
    for back in (from_pymatgen(to_pymatgen(crystal), 'x'), from_ase(to_ase(crystal), 'x')):
        assert back.id == 'x'
        assert np.array_equal(back.lattice, crystal.lattice)
        assert back.atomic_numbers.tolist() == crystal.atomic_numbers.tolist()
        assert np.allclose(back.fractional_positions, crystal.fractional_positions, rtol=0, atol=1e-13)


def test_a_left_handed_lattice_is_kept():
    crystal = rocksalt()._replace(lattice=np.diag([4.0, 4.0, -5.0]))
    assert np.array_equal(from_ase(to_ase(crystal)).lattice, crystal.lattice)
    assert np.array_equal(from_pymatgen(to_pymatgen(crystal)).lattice, crystal.lattice)


def test_the_name_is_the_formula_if_none_is_given():
    assert from_ase(to_ase(rocksalt('anything'))).id == 'MgO'
    assert from_pymatgen(to_pymatgen(rocksalt('anything'))).id == 'MgO'


def test_the_crystal_shares_no_memory_with_its_source():
    structure, atoms = to_pymatgen(rocksalt()), to_ase(rocksalt())
    for crystal in (from_pymatgen(structure), from_ase(atoms)):
        crystal.lattice[0, 0] = crystal.fractional_positions[0, 0] = 99.0
    assert np.array_equal(structure.lattice.matrix, rocksalt().lattice)
    assert np.array_equal(atoms.cell.array, rocksalt().lattice)
    assert np.array_equal(structure.frac_coords, rocksalt().fractional_positions)


def test_oxidation_states_and_deuterium_are_plain_elements():
    from pymatgen.core import Structure

    structure = Structure(np.eye(3) * 4, ['Li+', 'D'], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert from_pymatgen(structure).atomic_numbers.tolist() == [3, 1]


def test_pymatgen_structures_that_are_no_crystals():
    from pymatgen.core import DummySpecies, Lattice, Structure

    shared = Structure(np.eye(3) * 4, ['O', {'Ga': 0.5, 'In': 0.5}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(CrystalError, match=r'site 2 is occupied by .*Ga:0\.5') as caught:
        from_pymatgen(shared)
    assert caught.value.code == 'partial_occupancy'
    half_empty = Structure(np.eye(3) * 4, [{'O': 0.5}], [[0, 0, 0]])
    with pytest.raises(CrystalError, match='site 1') as caught:
        from_pymatgen(half_empty)
    assert caught.value.code == 'partial_occupancy'
    dummy = Structure(np.eye(3) * 4, [DummySpecies('X')], [[0, 0, 0]])
    with pytest.raises(CrystalError, match='no chemical element') as caught:
        from_pymatgen(dummy)
    assert caught.value.code == 'unknown_element'
    slab = Structure(Lattice(np.eye(3) * 4, pbc=(True, True, False)), ['O'], [[0, 0, 0]])
    with pytest.raises(CrystalError, match='periodic along') as caught:
        from_pymatgen(slab)
    assert caught.value.code == 'not_periodic'


def test_ase_structures_that_are_no_crystals():
    from ase import Atoms
    from ase.build import fcc100, molecule

    with pytest.raises(CrystalError, match='no volume') as caught:
        from_ase(molecule('H2O'))
    assert caught.value.code == 'bad_lattice'
    with pytest.raises(CrystalError, match=r'periodic along \[True, True, False\]') as caught:
        from_ase(fcc100('Al', (1, 1, 3), vacuum=8.0))
    assert caught.value.code == 'not_periodic'
    shared = Atoms('Ga', cell=np.eye(3) * 4, pbc=True, info={'occupancy': {'0': {'Ga': 0.5, 'In': 0.5}}})
    with pytest.raises(CrystalError, match='is occupied by') as caught:
        from_ase(shared)
    assert caught.value.code == 'partial_occupancy'

"""Conversion from and to pymatgen: lattice and positions unchanged; what is not a crystal is refused by its code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from aiida_goectp.core.crystals import CrystalError
from aiida_goectp.data.pymatgen_convert import from_pymatgen, to_pymatgen
from tests.core.crystals.builders import crystals, rocksalt


@given(crystals())
@settings(max_examples=30)
def test_round_trip(crystal):
    back = from_pymatgen(to_pymatgen(crystal), 'x')
    assert back.id == 'x'
    assert np.array_equal(back.lattice, crystal.lattice)
    assert back.atomic_numbers.tolist() == crystal.atomic_numbers.tolist()
    assert np.allclose(back.fractional_positions, crystal.fractional_positions, rtol=0, atol=1e-13)


def test_left_handed_lattice_is_kept():
    crystal = rocksalt()._replace(lattice=np.diag([4.0, 4.0, -5.0]))
    assert np.array_equal(from_pymatgen(to_pymatgen(crystal)).lattice, crystal.lattice)


def test_default_id_is_the_formula():
    assert from_pymatgen(to_pymatgen(rocksalt('anything'))).id == 'MgO'


def test_crystal_shares_no_memory_with_its_source():
    structure = to_pymatgen(rocksalt())
    crystal = from_pymatgen(structure)
    crystal.lattice[0, 0] = crystal.fractional_positions[0, 0] = 99.0
    assert np.array_equal(structure.lattice.matrix, rocksalt().lattice)
    assert np.array_equal(structure.frac_coords, rocksalt().fractional_positions)


def test_oxidation_states_and_deuterium_are_plain_elements():
    from pymatgen.core import Structure

    structure = Structure(np.eye(3) * 4, ['Li+', 'D'], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert from_pymatgen(structure).atomic_numbers.tolist() == [3, 1]


def test_refused_structures():
    from pymatgen.core import DummySpecies, Lattice, Structure

    refused = {
        'partial_occupancy': Structure(np.eye(3) * 4, ['O', {'Ga': 0.5, 'In': 0.5}], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        'unknown_element': Structure(np.eye(3) * 4, [DummySpecies('X')], [[0, 0, 0]]),
        'not_periodic': Structure(Lattice(np.eye(3) * 4, pbc=(True, True, False)), ['O'], [[0, 0, 0]]),
    }
    for code, structure in refused.items():
        with pytest.raises(CrystalError) as caught:
            from_pymatgen(structure)
        assert caught.value.code == code
    with pytest.raises(CrystalError) as caught:
        from_pymatgen(Structure(np.eye(3) * 4, [{'O': 0.5}], [[0, 0, 0]]))
    assert caught.value.code == 'partial_occupancy'

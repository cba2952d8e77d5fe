"""Crystal systems of textbook structures, in cells that hide them."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalSet, read_structures
from aiida_goectp.core.crystals.systems import SYSTEMS, crystal_system, crystal_systems
from tests.core.datasets.disguise import disguised, low_symmetry, rotation, rutile
from tests.rows import PETOUSIS


def test_textbook(crystal_set):
    found = dict(zip(crystal_set.ids.tolist(), crystal_systems(crystal_set).tolist(), strict=True))
    cubic = dict.fromkeys(['Si', 'MgO', 'GaAs', 'SrTiO3'], 'cubic')
    assert found == {**cubic, 'TiO2': 'tetragonal', 'AlN': 'hexagonal'}
    assert crystal_system(low_symmetry()) == 'triclinic'
    assert crystal_systems(crystal_set.take([])).tolist() == []


def test_the_cell_does_not_matter():
    other, _ = disguised(rutile(), rotation(1), np.array([[1, 1, 0], [0, 2, 0], [0, 1, 1]]))
    assert crystal_system(other) == 'tetragonal'


def test_no_symmetry_is_no_error():
    nothing = Crystal('x', np.zeros((3, 3)), np.array([8], np.int16), np.zeros((1, 3)))
    assert crystal_systems(CrystalSet.from_crystals([nothing])).tolist() == ['unknown']


def test_all_systems_occur_in_the_published_table():
    crystals = read_structures([PETOUSIS])
    assert set(crystal_systems(crystals).tolist()) == set(SYSTEMS)

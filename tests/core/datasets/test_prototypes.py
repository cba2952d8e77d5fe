"""Structure types, and the fingerprints by which a model file states the crystals of its training."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.equivalent import DESCRIPTIONS, random_orthogonal, rotate
from aiida_goectp.core.crystals.symmetry_search import crystal_systems
from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from tests.core.crystals.test_matching import polymorphs
from tests.core.datasets.equivalent_crystals import rutile
from tests.core.selection.builders import crystal_set
from tests.rows import PHONONDB, read_rows, response_of


def fingerprints_of(*crystals):
    return crystal_fingerprints(
        CrystalSet.from_crystals([row._replace(id=f'r{i}') for i, row in enumerate(crystals)])
    ).tolist()


def test_a_crystal_has_one_fingerprint_in_any_description():
    crystals = CrystalSet.from_crystals([response_of(row).crystal for row in list(read_rows(PHONONDB).values())[:100]])
    symmetric = crystals.take(np.flatnonzero(crystal_systems(crystals) != 'triclinic'))
    assert len(symmetric) > 80
    rng = np.random.default_rng(0)
    numbers = crystal_fingerprints(symmetric)
    for change in DESCRIPTIONS.values():
        other = [rotate(change(crystal, rng), random_orthogonal(rng)) for crystal in symmetric]
        assert fingerprints_of(*other) == numbers.tolist()


def test_a_relaxed_crystal_keeps_its_fingerprint():
    assert len(set(fingerprints_of(rutile(), rutile(c=2.96 * 1.02)))) == 1


def test_polymorphs_and_other_compounds_differ():
    for name, pair in polymorphs().items():
        assert len(set(fingerprints_of(*pair))) == (1 if name == 'under pressure' else 2)
    crystal = rutile()
    other = crystal._replace(atomic_numbers=np.where(crystal.atomic_numbers == 22, 50, crystal.atomic_numbers))
    assert len(set(fingerprints_of(crystal, other))) == 2


def test_triclinic_arrangements_of_one_composition_differ():
    (crystal,) = crystal_set(1)
    rng = np.random.default_rng(0)
    moved = [
        crystal._replace(fractional_positions=rng.uniform(size=crystal.fractional_positions.shape)) for _ in range(5)
    ]
    assert len(set(fingerprints_of(*moved, moved[0]))) == 5

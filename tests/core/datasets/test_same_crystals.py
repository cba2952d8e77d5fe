"""Rows that are the same crystal: all forms of one crystal have one key, polymorphs do not."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets import same_crystals
from aiida_goectp.core.datasets.same_crystals import SameCrystals, crystal_keys
from aiida_goectp.core.datasets.splits import reduced_formulas
from tests.core.crystals.test_matching import CELLS, polymorphs
from tests.core.datasets.equivalent_crystals import equivalent_crystal, rotation, rutile
from tests.core.selection.builders import crystal_set


def keys_of(rows):
    """Return the crystals and their keys."""
    crystals = CrystalSet.from_crystals([row._replace(id=f'r{place}') for place, row in enumerate(rows)])
    return crystals, crystal_keys(crystals, reduced_formulas(crystals))


def test_forms_of_a_crystal_have_one_key():
    forms = [equivalent_crystal(rutile(), rotation(4, True), cell, seed=2)[0] for cell in CELLS.values()]
    others = [rutile(c=2.96 * 1.1), *crystal_set(2)]
    crystals, keys = keys_of([*others, *forms, rutile()])
    assert len(set(keys.tolist())) == 4
    assert set(keys[3:].tolist()) == {min(crystals.hashes[3:].tolist())}
    assert keys[:3].tolist() == crystals.hashes[:3].tolist()


def test_two_forms_of_a_third_have_its_key():
    rows = [rutile(c=2.96 * factor) for factor in (1.0, 1.025, 1.05)]
    crystals, keys = keys_of(rows)
    same = SameCrystals(crystals)
    assert [same(0, 1), same(1, 2), same(0, 2)] == [True, True, False]
    assert set(keys.tolist()) == {min(crystals.hashes.tolist())}


def test_polymorphs_have_different_keys():
    for pair in polymorphs().values():
        crystals, keys = keys_of(pair)
        assert keys.tolist() == crystals.hashes.tolist()


def test_set_without_crystals():
    assert keys_of([])[1].tolist() == []
    assert np.array_equal(reduced_formulas(CrystalSet.from_crystals([])), [])


def test_comparisons_within_a_formula_are_bounded(monkeypatch):
    """The frames of a trajectory would take days."""
    seen = []
    original = SameCrystals.__call__
    monkeypatch.setattr(SameCrystals, '__call__', lambda self, *pair: seen.append(pair) or original(self, *pair))
    monkeypatch.setattr(same_crystals, '_MOST_COMPARISONS', 3)
    rows = [rutile(c=2.96 * (1 + 0.004 * step)) for step in range(9)]
    _, keys = keys_of(rows)
    assert len(seen) == 3
    assert len(set(keys.tolist())) > 1

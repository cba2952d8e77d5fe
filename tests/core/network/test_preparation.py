"""Cache for crystals that are prepared repeatedly."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.network import preparation
from aiida_goectp.core.network.preparation import analysis_cache, prepare


@pytest.fixture
def analysed(monkeypatch):
    """Ids of the crystals that were analysed, in order."""
    ids = []
    original = preparation.PRESETS['goectp']
    monkeypatch.setitem(preparation.PRESETS, 'goectp', lambda crystal: ids.append(crystal.id) or original(crystal))
    return ids


def test_each_crystal_is_analysed_once(crystal_set, analysed):
    crystals, store = list(crystal_set), {}
    plain = prepare(crystals)
    analysed.clear()
    with analysis_cache(store):
        first = prepare(crystals)
    with analysis_cache(store):
        again = prepare(crystals[::-1])
        moved = prepare([crystals[0]._replace(lattice=crystals[0].lattice * 1.01)])
    assert len(analysed) == len(crystals) + 1
    assert moved.volumes[0] > plain.volumes[0]
    for name in ('numbers', 'vectors', 'projectors', 'rotations'):
        np.testing.assert_array_equal(getattr(first, name), getattr(plain, name))
    np.testing.assert_array_equal(again.take(range(len(crystals))[::-1]).vectors, plain.vectors)


def test_without_the_context_nothing_is_cached(crystal_set, analysed):
    for _ in range(2):
        prepare(list(crystal_set)[:1])
    assert len(analysed) == 2

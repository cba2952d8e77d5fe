"""Crystals that are prepared again and again are analysed once."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.network import preparation
from aiida_goectp.core.network.preparation import evaluations_kept, prepare


def test_a_kept_analysis_gives_the_same_graphs(crystal_set, monkeypatch):
    crystals, store = list(crystal_set), {}
    plain = prepare(crystals)
    asked = []
    original = preparation.PRESETS['goectp']
    monkeypatch.setitem(preparation.PRESETS, 'goectp', lambda crystal: asked.append(crystal.id) or original(crystal))
    with evaluations_kept(store):
        first = prepare(crystals)
    with evaluations_kept(store):
        again = prepare(crystals[::-1])
        moved = prepare([crystals[0]._replace(lattice=crystals[0].lattice * 1.01)])
    assert len(asked) == len(crystals) + 1
    assert moved.volumes[0] > plain.volumes[0]
    for name in ('numbers', 'vectors', 'projectors', 'rotations'):
        np.testing.assert_array_equal(getattr(first, name), getattr(plain, name))
    np.testing.assert_array_equal(again.take(range(len(crystals))[::-1]).vectors, plain.vectors)


def test_nothing_is_kept_outside(crystal_set, monkeypatch):
    asked = []
    original = preparation.PRESETS['goectp']
    monkeypatch.setitem(preparation.PRESETS, 'goectp', lambda crystal: asked.append(crystal.id) or original(crystal))
    for _ in range(2):
        prepare(list(crystal_set)[:1])
    assert len(asked) == 2

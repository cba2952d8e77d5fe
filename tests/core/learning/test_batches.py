"""Batches: every row once and in order, within the limits, whatever the rows are."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.learning import batches, graphs
from aiida_goectp.core.learning.batches import prepared_batches
from aiida_goectp.core.network.preparation import prepare
from tests import tiny


@given(st.integers(1, 120), st.integers(0, 23))
@settings(max_examples=15)
def test_every_row_comes_once_and_in_order(atoms, start):
    crystals = tiny.some_crystals()
    parts = list(prepared_batches(crystals, 'goectp', lambda: atoms, start))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(start, len(crystals)))
    for part in parts:
        held = crystals.atom_counts[part.rows].sum()
        assert held <= atoms or len(part.rows) == 1
        assert len(part.graphs) == len(part.good) == len(part.rows)


def test_graphs_belong_to_their_rows():
    crystals, bad, codes = tiny.with_bad_rows()
    whole = prepare([crystals[row] for row in range(len(crystals)) if row not in bad])
    volumes, errors = [], {}
    for part in prepared_batches(crystals, 'goectp', lambda: 20):
        volumes += part.graphs.volumes.tolist()
        errors |= {int(row): error for row, error in zip(part.rows, part.errors, strict=True) if error}
        assert [place for place, error in enumerate(part.errors) if not error] == part.good.tolist()
    np.testing.assert_allclose(volumes, whole.volumes)
    assert list(errors) == bad.tolist()
    assert [text.partition(':')[0] for text in errors.values()] == codes


def test_many_edges_split_a_batch(monkeypatch):
    crystals = tiny.some_crystals()
    few = list(prepared_batches(crystals, 'goectp', lambda: 100))
    monkeypatch.setattr(batches, '_EDGES_AN_ATOM', 2)
    parts = list(prepared_batches(crystals, 'goectp', lambda: 100))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(len(crystals)))
    assert all(len(part.graphs.source) <= 200 or len(part.rows) == 1 for part in parts)
    assert len(parts) > len(few)


def test_the_size_may_shrink_on_the_way():
    crystals, size = tiny.some_crystals(40), [60]
    sizes = []
    for part in prepared_batches(crystals, 'goectp', lambda: size[0]):
        sizes.append(int(crystals.atom_counts[part.rows].sum()))
        size[0] = 15
    assert sizes[0] > 30
    assert max(sizes[4:]) <= 15


def test_no_thread_stays_behind():
    before = threading.active_count()
    for _ in prepared_batches(tiny.some_crystals(), 'goectp', lambda: 4):
        break  # the generator is closed here, with batches still waiting
    assert threading.active_count() == before


def test_an_error_in_the_thread_reaches_the_caller():
    def broken():
        raise RuntimeError('asked for')

    with pytest.raises(RuntimeError, match='asked for'):
        list(prepared_batches(tiny.some_crystals(), 'goectp', broken))


def test_a_crystal_that_breaks_the_graph_builder_fails_alone(monkeypatch):
    real, crystals = graphs.prepare, tiny.some_crystals(6)

    def fussy(rows, preset):
        if any(row.id == 'c2' for row in rows):
            raise ValueError('not that one')
        return real(rows, preset)

    monkeypatch.setattr(graphs, 'prepare', fussy)
    (part,) = prepared_batches(crystals, 'goectp', lambda: 1000)
    assert part.good.tolist() == [0, 1, 3, 4, 5]
    assert part.errors[2] == 'no graph could be built: ValueError: not that one'
    np.testing.assert_allclose(part.graphs.volumes, real(crystals.take(part.good), 'goectp').volumes)


def test_nothing_in_nothing_out():
    assert list(prepared_batches(CrystalSet.from_crystals([]), 'goectp', lambda: 10)) == []

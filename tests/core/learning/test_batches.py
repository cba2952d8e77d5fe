"""Batches: every row once and in order, within the limits, for valid and invalid rows."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.predictions import OUT_OF_MEMORY
from aiida_goectp.core.learning import batches
from aiida_goectp.core.learning.batches import prepared_batches
from aiida_goectp.core.network import prepared
from aiida_goectp.core.network.preparation import prepare
from tests import tiny


@given(st.integers(1, 120), st.integers(0, 23))
@settings(max_examples=15)
def test_every_row_comes_once_and_in_order(atoms, start):
    crystals = tiny.some_crystals()
    parts = list(prepared_batches(crystals, 'goectp', lambda: atoms, start))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(start, len(crystals)))
    for part in parts:
        assert crystals.atom_counts[part.rows].sum() <= atoms or len(part.rows) == 1
        assert len(part.graphs) == len(part.valid) == len(part.rows)


def test_graphs_belong_to_their_rows():
    crystals, bad, codes = tiny.with_bad_rows()
    whole = prepare([crystals[row] for row in range(len(crystals)) if row not in bad])
    volumes, errors = [], {}
    for part in prepared_batches(crystals, 'goectp', lambda: 20):
        volumes += part.graphs.volumes.tolist()
        errors |= {int(row): error for row, error in zip(part.rows, part.errors, strict=True) if error}
        assert [place for place, error in enumerate(part.errors) if not error] == part.valid.tolist()
    np.testing.assert_allclose(volumes, whole.volumes)
    assert list(errors) == bad.tolist()
    assert [error.partition(':')[0] for error in errors.values()] == codes


def test_batches_with_many_edges_are_split(monkeypatch):
    crystals, bad, _ = tiny.with_bad_rows()
    few = list(prepared_batches(crystals, 'goectp', lambda: 100))
    monkeypatch.setattr(batches, '_EDGES_AN_ATOM', 2)
    parts = list(prepared_batches(crystals, 'goectp', lambda: 100))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(len(crystals)))
    assert all(len(part.graphs.source) <= 200 or len(part.rows) == 1 for part in parts)
    assert len(parts) > len(few)
    valid = np.concatenate([part.rows[part.valid] for part in parts])
    assert sorted({*range(len(crystals))} - {*valid.tolist()}) == bad.tolist()
    volumes = np.concatenate([part.graphs.volumes for part in parts])
    np.testing.assert_array_equal(volumes, np.concatenate([part.graphs.volumes for part in few]))


def test_the_batch_size_can_decrease():
    crystals, size = tiny.some_crystals(40), [60]
    sizes = []
    for part in prepared_batches(crystals, 'goectp', lambda: size[0]):
        sizes.append(int(crystals.atom_counts[part.rows].sum()))
        size[0] = 15
    assert sizes[0] > 30
    assert max(sizes[4:]) <= 15


def test_a_single_batch_is_prepared_without_a_thread():
    before = threading.active_count()
    (part,) = (
        (threading.active_count(), part) for part in prepared_batches(tiny.some_crystals(), 'goectp', lambda: 1000)
    )
    assert part[0] == before
    assert len(part[1].graphs) == 24


def test_a_crystal_that_breaks_the_graph_builder_fails_alone(monkeypatch):
    crystals = tiny.some_crystals(6)

    def fails_for_c2(rows, preset):
        if any(row.id == 'c2' for row in rows):
            raise ValueError('injected')
        return prepare(rows, preset)

    monkeypatch.setattr(batches, 'prepare', fails_for_c2)
    (part,) = prepared_batches(crystals, 'goectp', lambda: 1000)
    assert part.valid.tolist() == [0, 1, 3, 4, 5]
    assert part.errors[2].endswith('ValueError: injected')
    np.testing.assert_allclose(part.graphs.volumes, prepare(crystals.take(part.valid), 'goectp').volumes)


def test_lack_of_memory_is_no_property_of_a_crystal(monkeypatch):
    """The row is predicted again when the run is resumed, and its preparation is not kept."""
    crystals = tiny.some_crystals(4)

    def fails_for_c2(rows, preset):
        if any(row.id == 'c2' for row in rows):
            raise MemoryError
        return prepare(rows, preset)

    monkeypatch.setattr(batches, 'prepare', fails_for_c2)
    found = batches.prepare_batch(np.arange(4), crystals, 'goectp')
    assert [error.startswith(OUT_OF_MEMORY) for error in found.errors] == [False, False, True, False]

    monkeypatch.setitem(prepared.PRESETS, 'goectp', lambda crystal: fails_for_c2([crystal], 'goectp'))
    with pytest.raises(MemoryError):
        batches.prepare_batch(np.arange(4), crystals, 'goectp', keep=True)


def test_an_empty_set_has_no_batches():
    assert list(prepared_batches(CrystalSet.from_crystals([]), 'goectp', lambda: 10)) == []


def test_a_cell_that_is_too_large_is_a_failed_row(monkeypatch):
    crystals = tiny.some_crystals()
    monkeypatch.setattr(prepared, 'MAX_ATOMS', int(crystals.atom_counts.max()) - 1)
    large = crystals.atom_counts > prepared.MAX_ATOMS
    parts = list(prepared_batches(crystals, 'goectp', lambda: 50))
    errors = [error for part in parts for error in part.errors]
    assert [error.startswith('too_large: ') for error in errors] == large.tolist()
    assert large.any()


def test_a_cell_with_too_many_frames_is_a_failed_row(monkeypatch):
    crystals = tiny.some_crystals()
    graphs = prepare(crystals)
    atoms = graphs.atom_offsets[graphs.graph_offsets[1:]] - graphs.atom_offsets[graphs.graph_offsets[:-1]]
    monkeypatch.setattr('aiida_goectp.core.network.preparation.MAX_GRAPH_ATOMS', int(atoms.max()) - 1)
    parts = list(prepared_batches(crystals, 'goectp', lambda: 50))
    errors = [error for part in parts for error in part.errors]
    assert [error.startswith('too_large: ') for error in errors] == (atoms == atoms.max()).tolist()


def test_a_cell_with_too_large_matrices_is_a_failed_row(monkeypatch):
    crystals = tiny.some_crystals()
    atoms = prepare(crystals, 'force_constants').cells.atom_counts
    monkeypatch.setattr('aiida_goectp.core.network.preparation.MAX_MATRIX_ATOMS', int(atoms.max()) - 1)
    for preset, large in (('force_constants', atoms == atoms.max()), ('goectp', atoms < 0)):
        parts = list(prepared_batches(crystals, preset, lambda: 50))
        errors = [error for part in parts for error in part.errors]
        assert [error.startswith('too_large: ') for error in errors] == large.tolist()

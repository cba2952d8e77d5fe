"""Known crystals of a dataset and of earlier picks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.known import KnownCrystals, known_rows
from aiida_goectp.core.selection.merit import figure_of_merit

from .builders import crystal_set, repeated

POOL = crystal_set(5)
TENSORS = np.array([5.0, 6.0, 7.0, 8.0, 9.0])[:, None, None] * np.eye(3)
TOTAL = figure_of_merit('total')


@pytest.mark.parametrize(
    ('functionals', 'scores'),
    [((), [10.0, 12.0]), (('PBEsol', 'PBE'), [14.0, 16.0]), (('PBE', 'PBEsol'), [10.0, 12.0]), (('HF',), [18.0, 12.0])],
)
def test_a_crystal_with_labels_of_several_functionals_is_known_once(functionals, scores):
    functional = np.array(['PBE', 'PBE', 'PBEsol', 'PBEsol', 'HF'])
    several = Dataset(repeated(POOL, [1, 2, 1, 2, 1]), TENSORS, TENSORS, functional=functional)
    known = KnownCrystals.of_dataset(several, 'total', functionals=functionals)
    names = POOL.hashes[1:3].tolist()
    found = dict(zip(known.crystals.hashes.tolist(), known.score.tolist(), strict=True))
    assert len(known.crystals) == 2
    assert [found[name] for name in names] == scores
    assert known.top(3) == tuple(names if scores[0] > scores[1] else names[::-1])


def test_a_label_precedes_a_refused_row():
    gates = np.array(['symmetry', '', '', 'symmetry', 'symmetry'])
    rows = Dataset(repeated(POOL, [0, 0, 1, 1, 2]), TENSORS, TENSORS, failed_gates=gates)
    assert known_rows(rows, TOTAL).tolist() == [1, 2, 4]
    known = KnownCrystals.of_dataset(rows, 'total', POOL, {str(POOL.hashes[0]): 'failed', str(POOL.hashes[3]): 'late'})
    assert known.failure.tolist() == ['', '', 'failed gates symmetry', 'late']
    assert len(known.top(9)) == 2


def test_the_best_within_filters():
    """A property of the pool completes the dataset; without it a crystal does not pass, as a candidate does not."""
    gaps = np.array([1.0, np.nan, 3.0, 4.0, np.nan])
    own = replace(POOL, properties={'band_gap': gaps})
    pool = replace(POOL, properties={'band_gap': np.array([9.0, 2.0, 9.0, 9.0, np.nan])})
    known = KnownCrystals.of_dataset(Dataset(own, TENSORS, TENSORS), 'total', pool)
    found = known.filtered(Filters(min_gap=2), pool)
    np.testing.assert_array_equal(found.score, [np.nan, 12, 14, 16, np.nan])
    assert np.isnan(found.objectives[[0, 4]]).all()
    assert found.top(9) == tuple(POOL.hashes[[3, 2, 1]].tolist())
    assert found.crystals.hashes.tolist() == POOL.hashes.tolist()
    assert found.verified.all()
    np.testing.assert_array_equal(known.filtered(Filters(), pool).score, known.score)

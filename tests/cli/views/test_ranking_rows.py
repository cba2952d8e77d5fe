"""The best rows of a ranking on disk are those of the whole ranking."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.cli.views.rankings import _best_rows
from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.ranking import Ranking, rank
from aiida_goectp.core.selection.reasons import count_reasons
from tests.core.selection.builders import FAILURE, crystal_set, predictions_for


@pytest.fixture
def ranking(monkeypatch):
    """Thirty rows in blocks of seven, of which each third is excluded, with an import failure."""
    some = TableFile.some_columns
    monkeypatch.setattr(TableFile, 'some_columns', lambda self, names: some(self, names, 7))
    monkeypatch.setattr(TableFile, 'column', lambda self, name: (block[name] for block in some(self, [name], 7)))
    gaps = np.where(np.arange(30) % 3, 1.0, 5.0)
    crystals = crystal_set(30, {'band_gap': gaps}, [FAILURE])
    predictions = predictions_for(crystals, ionic=np.random.default_rng(0).permutation(30) + 1)
    return rank(crystals, predictions, 'total', Filters(max_gap=3.0), keep_duplicates=True)


@pytest.mark.parametrize('count', [0, 1, 5, 20, 100])
def test_rows_and_counts(ranking, tmp_path, count):
    ranking.save(tmp_path / 'ranking.npz')
    with TableFile(Ranking, tmp_path / 'ranking.npz') as file:
        found, ranked, excluded = _best_rows(file, count)
        assert count_reasons(file.column('reason')) == ranking.reason_counts()
    assert (ranked, excluded) == (20, 11)
    top = ranking.top(count)
    assert found.ids[found.top()].tolist() == ranking.ids[top].tolist()
    for name in Ranking.columns():
        if name != 'joined_to':
            np.testing.assert_array_equal(getattr(found, name)[found.top()], getattr(ranking, name)[top])
    assert found.settings == ranking.settings


def test_equal_crystals_stay_with_their_row(tmp_path):
    crystals = crystal_set(4)
    whole = rank(crystals, predictions_for(crystals, ionic=[3, 9, 5, 7]), 'total', keep_duplicates=True)
    # the last row equals the second one
    columns = {name: getattr(whole, name).copy() for name in Ranking.columns()}
    columns['rank'], columns['joined_to'] = np.array([3, 1, 2, 0]), np.array([-1, -1, -1, 1])
    columns['reason'] = np.array(['', '', '', 'equal to c1'])
    Ranking(**columns, figure_of_merit='total').save(tmp_path / 'ranking.npz')
    with TableFile(Ranking, tmp_path / 'ranking.npz') as file:
        found = _best_rows(file, 1).ranking
        assert found.ids.tolist() == ['c1', 'c3']
        assert found.joined_ids(0) == ['c3']
        assert len(_best_rows(file, 0).ranking) == 0


def test_ranking_without_rows(tmp_path):
    crystals = crystal_set(0)
    rank(crystals, predictions_for(crystals), 'total').save(tmp_path / 'ranking.npz')
    with TableFile(Ranking, tmp_path / 'ranking.npz') as file:
        found, ranked, excluded = _best_rows(file, 3)
        assert (len(found), ranked, excluded, count_reasons(file.column('reason'))) == (0, 0, 0, {})

"""Ranking: order, equal scores, reasons, and the file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.crystals import CrystalSet, Failure
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import write_npz
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.ranking import Ranker, Ranking, rank
from aiida_goectp.core.selection.reasons import ReasonCode, parse_reasons

from .builders import FAILURE, crystal_set, predictions_for, rows_of


@pytest.fixture
def ranking():
    crystals = crystal_set(7, {'band_gap': [1.0, 2.0, np.nan, 4.0, -1.0, 6.0, 7.0]}, [FAILURE])
    predictions = predictions_for(
        crystals, ionic=[16, 6, 6, 6, 6, 2000, 6], errors=[*[''] * 6, 'out of memory; even alone: 900 atoms']
    )
    return rank(crystals, predictions, 'gap_total', Filters(max_gap=3.0))


def test_reason_of_each_excluded_row(ranking):
    assert ranking.ids.tolist() == ['c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'broken']
    assert ranking.reason.tolist() == [
        '',
        '',
        'band_gap missing',
        'band_gap > 3',
        'band_gap negative',
        'band_gap > 3; soft mode (total > 1000)',
        'band_gap > 3; prediction failed: out of memory, even alone: 900 atoms',
        'import failed (unreadable_file): broken.cif: cut off, fetch the file again',
    ]
    assert sorted(ranking.rank.tolist()) == [0] * 6 + [1, 2]  # a tie, which the hash decides
    assert np.isnan(ranking.score[2:]).all()
    assert ranking.score[:2].tolist() == [20.0, 20.0]
    assert ranking.hashes[-1] == ''


def test_averages_of_excluded_rows_are_kept(ranking):
    assert ranking.total.tolist()[:6] == [20.0, 10.0, 10.0, 10.0, 10.0, 2004.0]
    assert ranking.electronic.tolist()[:6] == [4.0] * 6
    assert np.isnan(ranking.total[6:]).all()


def test_reasons_are_counted(ranking):
    assert ranking.reason_counts() == {
        'band_gap > 3': 3,
        'band_gap missing': 1,
        'band_gap negative': 1,
        'soft mode (total > 1000)': 1,
        'prediction failed': 1,
        'import failed (unreadable_file)': 1,
    }


def test_settings_are_kept(ranking):
    assert ranking.figure_of_merit == 'gap_total'
    assert ranking.settings == {'filters': {'max_gap': 3.0}, 'model': 'm'}


def test_order_of_ranks():
    crystals = crystal_set(5)
    ranking = rank(crystals, predictions_for(crystals, ionic=[3, 9, 1, 7, 5]))
    assert ranking.rank.tolist() == [4, 1, 5, 2, 3]
    assert ranking.top().tolist() == [1, 3, 4, 0, 2]
    assert ranking.top(2).tolist() == [1, 3]
    assert ranking.top(0).tolist() == []
    assert ranking.top(99).tolist() == [1, 3, 4, 0, 2]
    assert ranking.ranked_count == 5


def test_top_returns_rows_of_the_crystal_set():
    crystals = crystal_set(5, failures=[FAILURE, FAILURE])
    ranking = rank(crystals, predictions_for(crystals, ionic=[3, 9, 1, 7, 5]), filters=Filters(elements_none=['Be']))
    assert crystals.take(ranking.top(2)).ids.tolist() == ['c3', 'c4']


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.randoms())
def test_ranking_does_not_depend_on_the_row_order(scores, random):
    crystals = crystal_set(len(scores))
    predictions = predictions_for(crystals, ionic=scores)
    order = list(range(len(scores)))
    random.shuffle(order)
    first = rank(crystals, predictions)
    second = rank(crystals.take(order), rows_of(predictions, order))
    assert first.ids[first.top()].tolist() == second.ids[second.top()].tolist()
    assert (np.diff(first.score[first.top()]) <= 0).all()


def test_equal_crystals_are_ordered_by_id():
    one = crystal_set(1)[0]
    crystals = CrystalSet.from_crystals([one._replace(id=name) for name in ('b', 'c', 'a')])
    ranking = rank(crystals, predictions_for(crystals), keep_duplicates=True)
    assert crystals.ids[ranking.top()].tolist() == ['a', 'b', 'c']


def test_no_crystal_is_ranked():
    crystals = crystal_set(2)
    ranking = rank(crystals, predictions_for(crystals), filters=Filters(min_atoms=3))
    assert ranking.top().tolist() == []
    assert ranking.reason_counts() == {'number of atoms < 3': 2}
    empty = crystal_set(0)
    assert len(rank(empty, predictions_for(empty))) == 0


def test_row_without_a_score_is_excluded():
    crystals = crystal_set(2)
    ranking = rank(crystals, predictions_for(crystals, electronic=[-9, 4], ionic=[1, 1]), 'refractive_index')
    assert ranking.reason.tolist() == ['refractive_index has no value', '']


def test_limit_of_the_total_is_inclusive():
    crystals = crystal_set(2)
    ranking = rank(crystals, predictions_for(crystals, electronic=[1, 1], ionic=[999, 999.001]))
    assert [[one.code for one in parse_reasons(text)] for text in ranking.reason] == [[], [ReasonCode.SOFT_MODE]]


def test_elements_outside_the_training_set_are_ranked_on_request():
    """Without this rule solid helium, which has the largest band gap, ranks near the top by Eg · ε."""
    crystals = crystal_set(3)
    predictions = predictions_for(crystals, electronic=[9, 5, 4], flags=np.array([1, 0, 2], np.uint32))
    found = rank(crystals, predictions)
    assert list(found.rank) == [0, 1, 2]
    assert [one.code for one in parse_reasons(found.reason[0])] == [ReasonCode.UNSEEN_ELEMENT]
    assert list(rank(crystals, predictions, filters=Filters(unseen_elements=True)).rank) == [1, 2, 3]


def test_predictions_of_other_crystals_are_refused():
    crystals = crystal_set(3)
    predictions = predictions_for(crystals)
    with pytest.raises(FormatError, match='3 predictions for 2'):
        rank(crystals.take([0, 1]), predictions)
    with pytest.raises(FormatError, match=r'row 0: .* c1 .* c0'):
        rank(crystals.take([1, 0, 2]), predictions)
    changed = crystal_set(4).take([1, 2, 3])
    same_names = CrystalSet.from_crystals(
        [row._replace(id=name) for row, name in zip(changed, crystals.ids, strict=True)]
    )
    with pytest.raises(FormatError, match=r'row 0: .* c0'):
        rank(same_names, predictions)


def test_missing_columns_and_unknown_figures_of_merit_are_refused():
    crystals = crystal_set(2)
    predictions = predictions_for(crystals)
    with pytest.raises(FormatError, match="'band_gap'"):
        rank(crystals, predictions, 'gap_total')
    with pytest.raises(FormatError, match="'e_above_hull'"):
        rank(crystals, predictions, filters=Filters(max_hull=0.05))
    with pytest.raises(FormatError, match='beauty'):
        rank(crystals, predictions, 'beauty')


def test_rows_without_a_prediction_must_be_excluded_by_the_filters():
    crystals = crystal_set(3)
    predictions = predictions_for(crystals, errors=['', 'none', ''])
    predicted = np.array([True, False, True])
    ranking = rank(crystals, predictions, filters=Filters(elements_none=['Be']), predicted=predicted)
    assert ranking.reason.tolist() == ['', 'contains Be', '']
    with pytest.raises(FormatError, match=r'1 crystals .* first c1'):
        rank(crystals, predictions, predicted=predicted)


def test_standard_deviations_and_flags_are_kept():
    crystals = crystal_set(3, failures=[FAILURE])
    stated = np.arange(9.0).reshape(3, 3)
    predictions = predictions_for(crystals, average_std=stated, flags=np.array([0, 4, 6], np.uint32))
    stream = io.BytesIO()
    rank(crystals, predictions).save(stream)
    stream.seek(0)
    ranking = Ranking.load(stream)
    for place, name in enumerate(('electronic_std', 'ionic_std', 'total_std')):
        assert getattr(ranking, name).tolist()[:3] == stated[:, place].tolist()
        assert np.isnan(getattr(ranking, name)[3])
    assert ranking.flags.tolist() == [0, 4, 6, 0]


def test_crystals_that_are_probably_unstable_are_left_out_on_request():
    crystals = crystal_set(5, failures=[FAILURE])
    probabilities = np.array([0.9, 0.5, 0.4999, np.nan, np.nan])
    predictions = predictions_for(crystals, stability=probabilities, errors=['', '', '', '', 'too large'])
    everything = rank(crystals, predictions)
    assert everything.ranked_count == 4
    assert 'min_stability' not in everything.settings
    found = rank(crystals, predictions, min_stability=0.5)
    codes = [[one.code for one in parse_reasons(text)] for text in found.reason]
    assert codes == [
        [],
        [],
        [ReasonCode.BELOW_STABILITY],
        [ReasonCode.STABILITY_MISSING],
        [ReasonCode.PREDICTION_FAILED],
        [ReasonCode.IMPORT_FAILED],
    ]
    assert found.reason[2] == 'probability of stability < 0.5: 0.4999'
    assert found.settings['min_stability'] == 0.5
    assert found.reason_counts()['probability of stability < 0.5'] == 1
    stream = io.BytesIO()
    found.save(stream)
    stream.seek(0)
    np.testing.assert_array_equal(Ranking.load(stream).stability, [*probabilities, np.nan])
    # whether a filter excludes a row as well makes no difference
    strict = rank(crystals, predictions, filters=Filters(elements_none=['B']), min_stability=1.0)
    assert [one.code for one in parse_reasons(strict.reason[2])] == [
        ReasonCode.CONTAINS_ELEMENT,
        ReasonCode.BELOW_STABILITY,
    ]
    assert strict.ranked_count == 0


def test_a_threshold_needs_probabilities():
    crystals = crystal_set(2)
    for threshold, message in ((0.5, 'force_constants'), (1.5, '1.5'), (float('nan'), 'nan')):
        with pytest.raises(FormatError, match=f'min_stability: .*{message}'):
            rank(crystals, predictions_for(crystals), min_stability=threshold)
    failed = predictions_for(crystals, errors=['a', 'b'])
    assert rank(crystals, failed, min_stability=0.5).ranked_count == 0  # not a shortcoming of the model


def test_rows_that_were_not_predicted_need_no_probability():
    crystals = crystal_set(3)
    predictions = predictions_for(crystals, errors=['', 'none', ''], stability=np.array([0.9, np.nan, 0.1]))
    predicted = np.array([True, False, True])
    found = rank(crystals, predictions, filters=Filters(elements_none=['Be']), predicted=predicted, min_stability=0.5)
    assert found.reason.tolist() == ['', 'contains Be', 'probability of stability < 0.5: 0.1']


def test_version_1_is_read(ranking, tmp_path):
    names = ('ids', 'hashes', 'reason', 'score', 'electronic', 'ionic', 'total', 'rank')
    arrays = {name: getattr(ranking, name) for name in names}
    arrays.update(figure_of_merit=np.array('gap_total'), settings=np.array('{}'))
    write_npz(tmp_path / 'old.npz', 'ranking', 1, arrays)
    old = Ranking.load(tmp_path / 'old.npz')
    assert old.rank.tolist() == ranking.rank.tolist()
    assert np.isnan(old.total_std).all()
    assert old.flags.tolist() == [0] * len(old)
    assert old.joined_to.tolist() == [-1] * len(old)
    assert np.isnan(old.stability).all()


def test_round_trip(ranking, tmp_path):
    ranking.save(tmp_path / 'ranking.npz')
    again = Ranking.load(tmp_path / 'ranking.npz')
    for name in ('ids', 'hashes', 'reason', 'rank'):
        assert getattr(again, name).tolist() == getattr(ranking, name).tolist()
    for name in ('score', 'electronic', 'ionic', 'total'):
        assert np.array_equal(getattr(again, name), getattr(ranking, name), equal_nan=True)
    assert (again.figure_of_merit, again.settings) == (ranking.figure_of_merit, ranking.settings)
    first, second = io.BytesIO(), io.BytesIO()
    ranking.save(first)
    again.save(second)
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'rank': np.array([1, 1])}, 'ranks must be 1 to 2'),
        ({'rank': np.array([0, 1])}, 'ranks must be 1 to 2'),
        ({'rank': np.array([1.0, 2.0])}, "'rank'"),
        ({'reason': np.array(['', 'out'])}, 'ranks must be 1 to 1'),
        ({'score': np.zeros(3)}, "'score'"),
        ({'settings': np.array('{')}, 'settings'),
        ({'settings': None}, "'settings'"),
        ({'total': None}, "'total'"),
        ({'extra': np.zeros(2)}, 'extra'),
    ],
)
def test_invalid_files_are_refused(change, message, tmp_path):
    crystals = crystal_set(2)
    path = tmp_path / 'ranking.npz'
    rank(crystals, predictions_for(crystals)).save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name not in ('format', 'version')}
    changed = {name: array for name, array in (arrays | change).items() if array is not None}
    write_npz(path, 'ranking', 1, changed)
    with pytest.raises(FormatError, match=message) as caught:
        Ranking.load(path)
    assert str(path) in str(caught.value)


def test_long_messages_are_shortened():
    crystals = crystal_set(2, failures=[Failure('x', 'unreadable_file', 'y' * 10_000)])
    ranking = rank(crystals, predictions_for(crystals, errors=['z' * 10_000, '']))
    assert ranking.reason.dtype.itemsize <= 4 * 200


@pytest.mark.parametrize('keep_duplicates', [False, True])
def test_a_ranking_block_by_block(keep_duplicates):
    crystals = crystal_set(9, {'band_gap': np.arange(9.0)}, [FAILURE])
    crystals = CrystalSet.from_crystals(
        [*crystals, *(crystals[row]._replace(id=f'again{row}') for row in (2, 8, 5))],
        {'band_gap': [*np.arange(9.0), 2, 8, 5]},
        [FAILURE],
    )
    predictions = predictions_for(
        crystals, ionic=[6, 6, 6, 1, 6, 2000, 3, 6, 9, 6, 9, 7], errors=['', 'failed', *[''] * 10]
    )
    filters = Filters(max_gap=8.5, min_gap=0.5)
    whole = rank(crystals, predictions, filters=filters, keep_duplicates=keep_duplicates)
    assert bool((whole.joined_to >= 0).any()) is not keep_duplicates
    for size in (1, 5):
        ranker = Ranker('total', filters)
        for first in range(0, 12, size):
            rows = list(range(first, min(first + size, 12)))
            ranker.add(crystals.take(rows), rows_of(predictions, rows))
        found = ranker.ranking(crystals.failures, None if keep_duplicates else crystals.take)
        assert found.content_hash == whole.content_hash

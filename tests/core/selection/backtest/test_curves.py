"""Discovery curves, and the expectation for random picks."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.selection.backtest import labels_needed, random_found, random_needed, summarise


def test_random_expectation_by_sampling():
    rng, pool, best = np.random.default_rng(0), 50, 10
    draws = np.sort([rng.permutation(pool)[:best] + 1 for _ in range(4000)], axis=1)
    assert random_needed(0.8, best, pool) == pytest.approx(draws[:, 7].mean(), rel=0.01)
    assert random_found(np.array([20]), best, pool)[0] == pytest.approx((draws <= 20).sum(axis=1).mean(), rel=0.02)


def test_random_expectation_of_the_published_task():
    assert random_needed(0.8, 100, 3919) == pytest.approx(3105, abs=1)


@pytest.mark.parametrize(('wanted', 'labels'), [(0, 0), (3, 40), (5, 80), (6, np.nan)])
def test_labels_needed_in_whole_rounds(wanted, labels):
    np.testing.assert_equal(labels_needed([0, 40, 80], [0, 4, 5], wanted), float(labels))


def test_fractions_are_robust_against_rounding():
    assert labels_needed([0, 40], [0, 7], 0.7 * 10) == 40


def test_summary_of_two_seeds():
    found = summarise('greedy', {1: ([0, 4, 8], [0, 2, 5]), 0: ([0, 4, 8], [0, 4, 9])}, 10)
    assert found.seeds == (0, 1)
    np.testing.assert_array_equal(found.found, [[0, 4, 9], [0, 2, 5]])
    np.testing.assert_array_equal(found.needed(0.5), [8, 8])
    np.testing.assert_equal(found.needed(0.8), [8, np.nan])
    assert found.needed_on_average(0.5) == 8
    values = found.as_json()
    assert values['labels_needed']['80%'] == [8, None]
    assert values['labels_needed_on_average']['80%'] is None


def test_last_number_of_a_short_campaign_is_repeated():
    found = summarise('greedy', {0: ([0, 4], [0, 10]), 1: ([0, 4, 8], [0, 2, 5])}, 10)
    np.testing.assert_array_equal(found.found, [[0, 10, 10], [0, 2, 5]])


def test_campaign_without_a_start_is_refused():
    with pytest.raises(ValueError, match='greedy'):
        summarise('greedy', {0: ([4], [1])}, 10)

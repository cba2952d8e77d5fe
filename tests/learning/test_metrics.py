"""Figures of merit, against numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.learning.metrics import compare, table


def test_by_hand():
    labels = np.stack([2 * np.eye(3), 10 * np.eye(3)])
    found = labels + np.array([0.3, -0.3])[:, None, None] * np.eye(3)
    figures = compare(found, labels)
    assert figures['rows'] == 2
    assert figures['mae'] == pytest.approx(0.1)  # three of nine components
    assert figures['rmse'] == pytest.approx(0.3 / np.sqrt(3))
    assert figures['fnorm'] == pytest.approx(0.3 * np.sqrt(3))
    assert figures['mae_average'] == pytest.approx(0.3)  # signs differ, errors do not cancel
    # relative distances: 15 % and 3 %
    assert [figures[f'ewt_{share}'] for share in (25, 10, 5, 2)] == [100, 50, 50, 0]


def test_rows_without_label_do_not_count():
    labels = np.stack([np.eye(3), np.full((3, 3), np.nan)])
    assert compare(np.zeros((2, 3, 3)), labels)['rows'] == 1
    assert compare(np.zeros((1, 3, 3)), labels[1:]) == {'rows': 0}


def test_the_total_is_the_sum_where_both_are_known():
    electronic, ionic = np.stack([np.eye(3)] * 3), np.stack([np.eye(3)] * 3)
    ionic[1] = np.nan
    figures = table({'electronic': electronic, 'ionic': 0 * electronic}, {'electronic': electronic, 'ionic': ionic})
    assert {name: part['rows'] for name, part in figures.items()} == {'electronic': 3, 'ionic': 2, 'total': 2}
    assert figures['total']['mae'] == pytest.approx(1 / 3)
    assert set(table({'electronic': electronic}, {'electronic': electronic})) == {'electronic'}

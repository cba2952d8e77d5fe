"""The parity plot: points, bars and limits."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import PathCollection

from aiida_goectp.core.figures import Parity, parity_figure


def points_of(axis):
    # the bars are a collection of lines
    return np.concatenate([item.get_offsets() for item in axis.collections if isinstance(item, PathCollection)])


def test_points_and_bars():
    computed = np.array([2.0, 3.0, np.nan, 40.0])
    predicted = np.array([2.5, 3.0, 4.0, 30.0])
    part = Parity(computed, predicted, np.array([0.1, np.nan, 0.2, 5.0]), np.array([False, False, True, True]))
    ionic = Parity(computed * 0, predicted)
    figure = parity_figure({'electronic': part, 'ionic': ionic})
    left, right = figure.axes
    points = points_of(left)
    assert sorted(map(tuple, points.tolist())) == [(2.0, 2.5), (3.0, 3.0), (40.0, 30.0)]
    assert '3 crystals\nMAE 3.5' in [text.get_text() for text in left.texts]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ['unlike training']
    assert right.get_legend() is None
    for axis in (left, right):
        low, high = axis.get_xlim()
        assert axis.get_ylim() == (low, high)
        assert (points_of(axis) >= low).all()
        assert (points_of(axis) <= high).all()
    assert right.get_xlim()[0] == 0  # an ionic part may vanish


def test_targets_without_rows():
    empty = Parity(np.full(2, np.nan), np.zeros(2))
    figure = parity_figure({'total': empty})
    assert [text.get_text() for text in figure.axes[0].texts] == ['no rows']

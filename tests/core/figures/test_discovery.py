"""The discovery curve."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.figures import discovery_figure, save_figure
from aiida_goectp.core.selection.backtest import summarise


def summary(name, *found):
    return summarise(name, {seed: ([0, 40, 80], row) for seed, row in enumerate(found)}, 20)


def test_lines(tmp_path):
    figure = discovery_figure([summary('greedy', [0, 10, 18], [0, 6, 14]), summary('random', [0, 1, 3])], 400, 'total')
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines['greedy'].get_ydata().tolist() == [0, 40, 80]
    assert lines['random'].get_ydata().tolist()[-1] in (15, 20)
    perfect, random = lines['perfect'], figure.axes[0].get_lines()[-2]
    np.testing.assert_allclose(np.interp([10, 20, 80], perfect.get_xdata(), perfect.get_ydata()), [50, 100, 100])
    assert random.get_ydata()[-1] == pytest.approx(20)
    assert len(figure.axes[0].collections) == 1  # one seed has no spread
    assert save_figure(figure, tmp_path / 'f.png').stat().st_size > 5000


def test_at_least_one_summary_is_needed():
    with pytest.raises(ValueError, match='summary'):
        discovery_figure([], 10)

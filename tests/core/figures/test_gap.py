"""Permittivity against band gap."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from aiida_goectp.core.figures import gap
from aiida_goectp.core.figures.gap import GapPoints, gap_figure, lines_of_equal_merit, pareto_front
from aiida_goectp.core.figures.style import save_figure
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT

GAP, PERMITTIVITY = np.array([1.0, 2.0, 3.0, 4.0, np.nan, 3.0]), np.array([50.0, 60.0, 20.0, 30.0, 90.0, np.nan])


def test_pareto_front():
    assert pareto_front(GAP, PERMITTIVITY).tolist() == [1, 3]
    assert pareto_front(np.array([2.0, 2.0]), np.array([5.0, 6.0])).tolist() == [1]
    assert pareto_front(np.array([np.nan]), np.array([1.0])).tolist() == []


@pytest.mark.parametrize(
    ('merit', 'value'),
    [
        ('gap_total', lambda gap, eps: gap * eps),
        ('sqrt_gap_total', lambda gap, eps: np.sqrt(gap) * eps),
        ('gap_electronic', lambda gap, eps: gap * eps),
        ('total', lambda gap, eps: eps),
        ('refractive_index', lambda gap, eps: np.sqrt(eps)),
    ],
)
def test_merit_is_constant_on_its_lines(merit, value):
    lines = lines_of_equal_merit(merit, GAP, PERMITTIVITY)
    assert lines
    for level, gaps, permittivities in lines:
        assert value(gaps, permittivities) == pytest.approx(level, rel=2e-3)
    assert lines[0][0] == pytest.approx(np.nanmax(value(GAP, PERMITTIVITY)[:4]))


def test_anisotropy_has_no_lines():
    assert lines_of_equal_merit('anisotropy', GAP, PERMITTIVITY) == []
    assert lines_of_equal_merit('total', np.array([np.nan]), np.array([1.0])) == []


@pytest.mark.parametrize('merit', FIGURES_OF_MERIT)
def test_figure_for_each_merit(merit, tmp_path):
    ranked = np.array([True, True, True, True, False, False])
    points = GapPoints(GAP, PERMITTIVITY, 0.1 * PERMITTIVITY, ranked, GAP > 2, np.array(list('abcde$')))
    figure = gap_figure(points, merit)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert 'selected (2)' in labels
    assert 'Pareto front' in labels
    if merit == 'gap_total':
        assert save_figure(figure, tmp_path / 'gap.svg').stat().st_size > 1000


@pytest.mark.parametrize(('most', 'dense'), [(3, False), (2, True)])
def test_many_points_are_drawn_as_a_density(monkeypatch, most, dense):
    monkeypatch.setattr(gap, 'MAX_POINTS', most)
    gaps, values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), np.array([50.0, 60.0, 20.0, 30.0, 9.0, 8.0, 7.0])
    figure = gap_figure(GapPoints(gaps, values, 0.1 * values, gaps < 5, gaps == 4, gaps.astype(str)))
    axis = figure.axes[0]
    assert len(figure.axes) == 1 + dense
    assert len(axis.containers) == (1 if dense else 2)  # standard deviations
    cells = [item for item in axis.collections if isinstance(item, PolyCollection)]
    assert sorted(item.get_array().sum() for item in cells) == ([3, 3] if dense else [])
    assert {'excluded (3)', 'ranked (3)', 'selected (1)', 'Pareto front'} <= set(axis.get_legend_handles_labels()[1])
    assert '4.0' in {text.get_text() for text in axis.texts}


def test_no_crystal():
    nothing = np.full(2, np.nan)
    figure = gap_figure(GapPoints(nothing, nothing))
    assert any('no crystal' in text.get_text() for text in figure.axes[0].texts)

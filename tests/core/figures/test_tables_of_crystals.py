"""Distributions, anisotropy, periodic table, ellipsoid, rounds."""

import numpy as np
import pytest

from aiida_goectp.core.figures import distribution
from aiida_goectp.core.figures.distribution import anisotropy_figure, distribution_figure
from aiida_goectp.core.figures.elements import element_counts, elements_figure, table_place
from aiida_goectp.core.figures.ellipsoid import ellipsoid_figure
from aiida_goectp.core.figures.rounds import rounds_figure
from tests.conftest import textbook


def test_histograms_count_known_positive_values():
    figure = distribution_figure({'electronic': np.array([2.0, 3.0, np.nan, -1.0]), 'total': np.array([np.nan])})
    first, second = figure.axes
    assert sum(patch.get_height() for patch in first.patches) == 2
    assert 'median 2.5' in first.texts[0].get_text()
    assert second.texts[0].get_text() == 'no values'


def test_principal_values():
    figure = anisotropy_figure({'total': np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0], [np.nan] * 3])})
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[1.0, 4.0], [3.0, 3.0]]


def test_many_principal_values_are_drawn_as_a_density(monkeypatch):
    monkeypatch.setattr(distribution, 'MAX_POINTS', 2)
    values = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0], [3.0, 3.0, 3.0], [np.nan] * 3])
    figure = anisotropy_figure({'total': values})
    assert len(figure.axes) == 2
    assert sorted(figure.axes[0].collections[0].get_array()) == [1, 2]
    assert len(anisotropy_figure({'total': values[:2]}).axes) == 1


def test_values_that_are_zero_but_for_rounding_are_omitted():
    figure = anisotropy_figure({'ionic': np.array([[1e-39, 0.02, 0.03], [3.0, 3.0, 6.0]])})
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[3.0, 6.0]]
    assert figure.axes[0].get_xlim()[0] > 1
    figure = distribution_figure({'ionic': np.array([1e-39, 3.0, 6.0])})
    assert figure.axes[0].get_xlim()[0] > 1


def test_places_in_the_periodic_table():
    places = {1: (0, 0), 2: (0, 17), 4: (1, 1), 5: (1, 12), 21: (3, 2), 36: (3, 17), 56: (5, 1), 57: (8, 2)}
    places |= {71: (8, 16), 72: (5, 3), 86: (5, 17), 88: (6, 1), 89: (9, 2), 103: (9, 16)}
    assert {number: table_place(number) for number in places} == places
    assert len({table_place(number) for number in range(1, 104)}) == 103


def test_elements_are_counted_once_a_crystal():
    counts = element_counts(textbook())
    assert counts[8] == 3  # MgO, SrTiO3, TiO2
    assert counts[22] == 2
    texts = [text.get_text() for text in elements_figure(counts, {8}).axes[0].texts]
    assert 'O' in texts
    assert 'Ti*' in texts  # not in the training set
    assert 'Fe' in texts
    assert str(counts[22]) in texts
    assert all(not text.get_text().isdigit() for text in elements_figure(counts, numbered=False).axes[0].texts)
    assert elements_figure(counts, {8}).axes[0].get_legend() is not None
    assert elements_figure(counts, set(counts)).axes[0].get_legend() is None


def test_ellipsoid_has_the_principal_values():
    figure = ellipsoid_figure(textbook()[4], np.diag([7.0, 7.0, 9.0]))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ['7.00', '7.00', '9.00']
    with pytest.raises(ValueError, match='TiO2'):
        ellipsoid_figure(textbook()[4], np.full((3, 3), np.nan))


def test_rounds():
    verified = np.array([10.0, np.nan, 12.0, 11.0])
    figure = rounds_figure(np.array([1, 1, 2, 3]), np.array([12.0, 5.0, 12.0, 22.0]), verified)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == pytest.approx([20.0, 0.0, 100.0])
    assert right.lines[0].get_ydata().tolist() == [10.0, 12.0, 12.0]

"""Figures of merit: formulas, standard deviations, missing inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT, figure_of_merit

from .builders import crystal_set, predictions_for

GAPS = np.array([0.0, 1.0, 2.0, 4.0, 8.0, np.nan])


@pytest.fixture
def rows():
    crystals = crystal_set(6)
    predictions = predictions_for(crystals, electronic=[2, 3, 4, 5, 6, 7], ionic=[1, 10, 20, 30, 40, 50], std=0.5)
    predictions.electronic[1] = np.diag([2, 3, 4])
    predictions.ionic[1] = np.diag([8, 10, 12])
    predictions.total[1] = np.diag([10, 13, 16])
    return predictions


TOTAL = np.array([3.0, 13, 24, 35, 46, 57])
ELECTRONIC = np.array([2.0, 3, 4, 5, 6, 7])


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('total', TOTAL),
        ('electronic', ELECTRONIC),
        ('ionic', TOTAL - ELECTRONIC),
        ('gap_total', GAPS * TOTAL),
        ('sqrt_gap_total', np.sqrt(GAPS) * TOTAL),
        ('gap_electronic', GAPS * ELECTRONIC),
        ('energy_density', TOTAL * np.array([0, 1 / 64, 1 / 8, 1, 2, np.nan])),
        ('cautious_gap_total', GAPS * (TOTAL - 0.5)),
        ('anisotropy', [1, 16 / 10, 1, 1, 1, 1]),
        ('electronic_anisotropy', [1, 2, 1, 1, 1, 1]),
        ('refractive_index', np.sqrt(ELECTRONIC)),
    ],
)
def test_formulas(rows, name, expected):
    assert np.allclose(FIGURES_OF_MERIT[name].evaluate(rows, {'band_gap': GAPS}), expected, equal_nan=True)


def test_keys_are_names_and_every_formula_is_tested():
    assert {name: figure.name for name, figure in FIGURES_OF_MERIT.items()} == {name: name for name in FIGURES_OF_MERIT}
    marks = test_formulas.pytestmark[0].args[1]
    assert {name for name, _ in marks} == set(FIGURES_OF_MERIT)


@pytest.mark.parametrize('name', sorted(FIGURES_OF_MERIT))
def test_scores_do_not_depend_on_the_frame(rows, name):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotated = predictions_for(crystal_set(6), std=0.5)
    rotated.electronic[:] = rotation @ rows.electronic @ rotation.T
    rotated.ionic[:] = rotation @ rows.ionic @ rotation.T
    rotated.total[:] = rotation @ rows.total @ rotation.T
    figure, gaps = FIGURES_OF_MERIT[name], {'band_gap': GAPS}
    assert np.allclose(figure.evaluate(rotated, gaps), figure.evaluate(rows, gaps), equal_nan=True)


@pytest.mark.parametrize('name', sorted(FIGURES_OF_MERIT))
def test_failed_row_has_no_score(name):
    crystals = crystal_set(3)
    predictions = predictions_for(crystals, errors=['', 'too large', ''], std=0.1)
    score = FIGURES_OF_MERIT[name].evaluate(predictions, {'band_gap': np.ones(3)})
    assert np.isnan(score).tolist() == [False, True, False]


def test_energy_density_is_continuous_at_4_ev(rows):
    below, above = (
        FIGURES_OF_MERIT['energy_density'].evaluate(rows, {'band_gap': np.full(6, 4.0 + shift)})
        for shift in (-1e-9, 1e-9)
    )
    assert np.allclose(below, above)


def test_cautious_score_is_at_most_the_score_of_the_mean(rows):
    gaps = {'band_gap': GAPS}
    cautious = FIGURES_OF_MERIT['cautious_gap_total'].evaluate(rows, gaps)
    plain = FIGURES_OF_MERIT['gap_total'].evaluate(rows, gaps)
    assert (cautious[:5] <= plain[:5]).all()


def test_negative_gap_has_no_score(rows):
    score = FIGURES_OF_MERIT['sqrt_gap_total'].evaluate(rows, {'band_gap': np.array([1, -1, 1, 1, 1, 1.0])})
    assert np.isnan(score).tolist() == [False, True, False, False, False, False]


def test_integer_gaps(rows):
    assert FIGURES_OF_MERIT['gap_total'].evaluate(rows, {'band_gap': np.arange(6)})[2] == pytest.approx(48)


def test_missing_column_is_refused(rows):
    with pytest.raises(FormatError, match=r"'gap_total' .*'band_gap'.*: hull, n"):
        FIGURES_OF_MERIT['gap_total'].evaluate(rows, {'n': GAPS, 'hull': GAPS})
    with pytest.raises(FormatError, match=': none'):
        FIGURES_OF_MERIT['gap_total'].evaluate(rows, {})


@pytest.mark.parametrize('column', [np.array(['a'] * 6), np.ones(5)])
def test_invalid_column_is_refused(rows, column):
    with pytest.raises(FormatError, match=r"'band_gap'.* 6 numbers"):
        FIGURES_OF_MERIT['gap_total'].evaluate(rows, {'band_gap': column})


def test_cautious_score_needs_a_committee():
    predictions = predictions_for(crystal_set(3))
    with pytest.raises(FormatError, match=r"'cautious_gap_total'.* committee"):
        FIGURES_OF_MERIT['cautious_gap_total'].evaluate(predictions, {'band_gap': np.ones(3)})


def test_missing_tensors_are_refused():
    nothing = np.full((3, 3, 3), np.nan)
    predictions = predictions_for(crystal_set(3), errors=['', 'failed', ''])
    alone = replace(predictions, electronic=nothing, ionic=nothing)
    assert np.allclose(FIGURES_OF_MERIT['total'].evaluate(alone, {}), [10, np.nan, 10], equal_nan=True)
    with pytest.raises(FormatError, match=r"'refractive_index' .* electronic tensor"):
        FIGURES_OF_MERIT['refractive_index'].evaluate(alone, {})
    with pytest.raises(FormatError, match='ionic tensor'):
        FIGURES_OF_MERIT['ionic'].evaluate(alone, {})


def test_all_rows_failed():
    predictions = predictions_for(crystal_set(2), errors=['failed', 'failed'])
    assert np.isnan(FIGURES_OF_MERIT['electronic'].evaluate(predictions, {})).all()


def test_unknown_figure_of_merit_is_refused():
    with pytest.raises(FormatError, match=r"'best'.*: total, electronic"):
        figure_of_merit('best')
    assert figure_of_merit('total') is FIGURES_OF_MERIT['total']


@pytest.mark.parametrize(
    ('name', 'place', 'expected'),
    [
        ('total', 2, np.ones(6)),
        ('electronic', 0, np.ones(6)),
        ('ionic', 1, np.ones(6)),
        ('gap_total', 2, GAPS),
        ('sqrt_gap_total', 2, np.sqrt(GAPS)),
        ('gap_electronic', 0, GAPS),
        ('energy_density', 2, np.array([0, 1 / 64, 1 / 8, 1, 2, np.nan])),
        ('cautious_gap_total', 2, GAPS),
        ('refractive_index', 0, 1 / (2 * np.sqrt(ELECTRONIC))),
    ],
)
def test_standard_deviation_by_the_derivative_of_the_score(rows, name, place, expected):
    sigma = np.array([[0.0, 0.1, 0.2, 0.4, 0.8, 1.6], [0.5] * 6, [0.3, 3, 6, 12, 0.0, 9]]).T
    known = replace(rows, average_std=sigma)
    found = FIGURES_OF_MERIT[name].deviation(known, {'band_gap': GAPS})
    np.testing.assert_allclose(found, expected * sigma[:, place], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(('name', 'place'), [('anisotropy', 2), ('electronic_anisotropy', 0)])
def test_standard_deviation_of_the_anisotropy(rows, name, place):
    sigma = np.arange(18.0).reshape(6, 3)
    known = replace(rows, anisotropy_std=sigma)
    assert FIGURES_OF_MERIT[name].deviation(known, {}).tolist() == sigma[:, place].tolist()


def test_no_standard_deviation_without_score_or_model_deviation(rows):
    gaps = {'band_gap': GAPS}
    assert np.isnan(FIGURES_OF_MERIT['gap_total'].deviation(predictions_for(crystal_set(6)), gaps)).all()
    failed = predictions_for(crystal_set(6), std=0.5, errors=['', 'too large', '', '', '', ''])
    for name in ('total', 'gap_total', 'anisotropy'):
        assert np.isnan(FIGURES_OF_MERIT[name].deviation(failed, gaps)[1])
    with pytest.raises(FormatError, match="'band_gap'"):
        FIGURES_OF_MERIT['gap_total'].deviation(rows, {})

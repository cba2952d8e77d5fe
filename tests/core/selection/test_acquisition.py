"""Acquisition functions: formulas, invariance under row order, invalid inputs."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import acquisition as module
from aiida_goectp.core.selection.acquisition import (
    ACQUISITIONS,
    Acquisition,
    AcquisitionSettings,
    State,
    acquire,
    acquisition,
    acquisition_names,
    incumbent,
    pareto_fronts,
)

from .builders import crystal_set

NUMBERS = st.floats(-50, 50).map(lambda value: round(value, 3))
ROWS = st.lists(st.tuples(NUMBERS, st.floats(0, 20).map(lambda value: round(value, 3))), min_size=1, max_size=12)


def state(n, verified=(), objectives=None, verified_objectives=None, **more):
    gaps = np.full((n, 2), np.nan) if objectives is None else np.asarray(objectives, dtype=float)
    known = np.zeros((0, 2)) if verified_objectives is None else np.asarray(verified_objectives, dtype=float)
    hashes = np.array([f'h{row}' for row in range(n)], dtype=np.str_)
    return State(hashes, np.array(verified, dtype=float), gaps, known, **more)


def scores(name, mean, std, verified=(), **options):
    return acquire(np.array(mean, float), np.array(std, float), state(len(mean), verified), _settings(name, **options))


def _settings(name, **options):
    return AcquisitionSettings(name=name, **options)


def test_formulas():
    mean, std = [1.0, 5.0, np.nan, 3.0], [0.5, 0.0, 1.0, np.nan]
    expected = {
        'greedy': [1, 5, np.nan, 3],
        'upper_confidence_bound': [2, 5, np.nan, np.nan],
        'cautious': [0, 5, np.nan, np.nan],
        'exploration': [0.5, 0, np.nan, np.nan],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(scores(name, mean, std, kappa=2.0), np.array(values, float))


@pytest.mark.parametrize('xi', [0.0, 1.5])
@pytest.mark.parametrize(('mean', 'std'), [(12.0, 2.0), (10.0, 2.0), (7.0, 2.0), (2.0, 1.0), (-5.0, 1.0), (40.0, 1e-3)])
def test_expected_improvement_by_quadrature(mean, std, xi):
    """Compare with ∫ max(y − f − ξ, 0) p(y) dy in the variable t = (y − f − ξ)/σ."""
    z = (mean - 10.0 - xi) / std
    integral, _ = quad(lambda t: t * norm.pdf(t - z), max(z - 40, 0), max(z, 0) + 40, epsabs=0, epsrel=1e-11, limit=400)
    found = scores('expected_improvement', [mean], [std], verified=[3.0, 10.0], xi=xi)[0]
    assert found == pytest.approx(std * integral, rel=1e-7, abs=1e-300)


def test_expected_improvement_orders_candidates_far_below_the_incumbent():
    """The improvement itself underflows at z = −38; the expected order is that of 50 digits."""
    mean, std = np.meshgrid([-1e5, -300.0, 0.0, 9.0, 9.9], [1e-6, 1e-3, 0.02, 0.3, 5.0])
    found = scores('expected_improvement', mean.ravel(), std.ravel(), verified=[10.0])
    with mpmath.workdps(50):
        exact = []
        for mu, sigma in zip(mean.ravel().tolist(), std.ravel().tolist(), strict=True):
            z = (mpmath.mpf(mu) - 10) / mpmath.mpf(sigma)
            tail = mpmath.erfc(-z / mpmath.sqrt(2)) / 2
            exact.append(mpmath.mpf(sigma) * (z * tail + mpmath.exp(-(z**2) / 2) / mpmath.sqrt(2 * mpmath.pi)))
    expected = sorted(range(len(exact)), key=lambda row: exact[row])
    assert np.argsort(found, kind='stable').tolist() == expected
    assert (found > 0).all()
    assert len(set(found.tolist())) == len(found)
    large = np.array([value > 1e-250 for value in exact])
    np.testing.assert_allclose(found[large], np.array(exact)[large].astype(float), rtol=1e-9)


def test_expected_improvement_without_uncertainty():
    found = scores('expected_improvement', [9.0, 10.0, 12.0, 9.0, 12.0], [0, 0, 0, 5e-324, 5e-324], verified=[10.0])
    assert found.tolist() == [0, 0, 2, 0, 2]


@given(ROWS, st.floats(0.1, 10))
def test_expected_improvement_increases_with_mean_and_deviation(rows, more):
    mean, std = (np.array(column) for column in zip(*rows, strict=True))
    found = scores('expected_improvement', mean, std, verified=[0.0])
    assert (found >= 0).all()
    assert (found >= np.maximum(mean, 0) - 1e-9).all()
    assert (scores('expected_improvement', mean + more, std, verified=[0.0]) >= found).all()
    assert (scores('expected_improvement', mean, std + more, verified=[0.0]) >= found - 1e-12).all()


@given(ROWS, st.floats(0, 5))
def test_confidence_bounds_differ_by_kappa_deviations(rows, kappa):
    mean, std = (np.array(column) for column in zip(*rows, strict=True))
    low, high = (scores(name, mean, std, kappa=kappa) for name in ('cautious', 'upper_confidence_bound'))
    assert (low <= mean).all()
    assert (mean <= high).all()
    np.testing.assert_allclose(high - low, 2 * kappa * std, atol=1e-9)


def weighed(name, mean, std, usable, verified=(), **options):
    """Return scores with and without probabilities that the labels will be usable."""
    mean, std = np.array(mean, float), np.array(std, float)
    known = state(len(mean), verified, np.stack([std, mean], axis=1))
    how = _settings(name, **options)
    return acquire(mean, std, replace(known, usable=np.array(usable, float)), how), acquire(mean, std, known, how)


@pytest.mark.parametrize(
    'name', ['greedy', 'upper_confidence_bound', 'cautious', 'expected_improvement', 'exploration']
)
@given(rows=ROWS, data=st.data())
def test_positive_scores_are_multiplied_by_the_probability_and_others_are_kept(name, rows, data):
    mean, std = (np.array(column) for column in zip(*rows, strict=True))
    usable = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(rows), max_size=len(rows))))
    found, plain = weighed(name, mean, std, usable, [1.0])
    np.testing.assert_array_equal(found, np.where(plain > 0, plain * usable, plain))
    # a higher probability never lowers a score
    assert (weighed(name, mean, std, np.sqrt(usable), [1.0])[0] >= found).all()


def test_probability_of_one_changes_no_digit():
    rng = np.random.default_rng(2)
    mean, std = rng.normal(0, 30, 200), rng.uniform(0, 9, 200)
    for name in ACQUISITIONS:
        found, plain = weighed(name, mean, std, np.ones(200), [40.0])
        np.testing.assert_array_equal(found, plain, err_msg=name)


def test_weighed_improvement_is_that_expected_of_usable_labels():
    """A label that is not usable improves nothing."""
    rng = np.random.default_rng(0)
    values, usable = rng.normal(11, 2, 10**6), rng.random(10**6) < 0.3
    found, _ = weighed('expected_improvement', [11.0], [2.0], [0.3], [10.0])
    assert found[0] == pytest.approx((np.maximum(values - 10, 0) * usable).mean(), rel=0.01)


def test_probabilities_change_the_fronts_and_not_random_numbers():
    # by gap and ε the second dominates the first; not if its ε is obtained in every fifth calculation only
    found, plain = weighed('pareto', [50.0, 60.0], [4.0, 5.0], [1.0, 0.2])
    assert (plain >= 0).tolist() == [False, True]
    assert (found >= 0).tolist() == [True, True]
    found, plain = weighed('random', [1.0, 2.0], [1.0, 1.0], [0.1, 0.2])
    assert found.tolist() == plain.tolist()


def test_incumbent():
    verified = np.array([4.0, np.nan, 9.0, 7.0])
    assert [incumbent(np.zeros(1), verified, rank) for rank in (1, 2, 3, 50)] == [9, 7, 4, 4]
    assert incumbent(np.array([np.nan, 2.0, 3.0]), np.array([np.nan])) == 3.0
    assert incumbent(np.array([np.nan]), np.zeros(0)) == 0.0


@pytest.mark.parametrize('name', ACQUISITIONS)
@settings(max_examples=15, deadline=None)
@given(rows=ROWS, data=st.data())
def test_scores_do_not_depend_on_the_row_order(name, rows, data):
    mean, std = (np.array(column) for column in zip(*rows, strict=True))
    everything = state(len(rows), [1.0, 2.0], np.stack([std, mean], axis=1), [[1.0, 1.0]])
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    shuffled = State(everything.hashes[order], everything.verified[::-1], everything.objectives[order], np.ones((1, 2)))
    first = acquire(mean, std, everything, _settings(name))
    assert acquire(mean[order], std[order], shuffled, _settings(name)).tolist() == first[order].tolist()


def test_random_scores_depend_on_seed_and_round_only():
    mean, unknown = np.ones(2000), np.full(2000, np.nan)
    draws = {
        key: acquire(mean, unknown, state(2000, round=key[1]), _settings('random', seed=key[0]))
        for key in ((0, 1), (0, 2), (1, 1))
    }
    first = draws[0, 1]
    assert first.tolist() == acquire(mean, unknown, state(2000), _settings('random')).tolist()
    assert ((first >= 0) & (first < 1)).all()
    assert abs(first.mean() - 0.5) < 0.03
    assert abs(first.std() - 12**-0.5) < 0.02
    for key in ((0, 2), (1, 1)):
        assert abs(np.corrcoef(first, draws[key])[0, 1]) < 0.1


def _dominates(a, b):
    return (a >= b).all() and (a > b).any()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_fronts_by_repeated_removal(pairs):
    points = np.array(pairs, dtype=float).reshape(-1, 2)
    expected, left, number = np.zeros(len(points), int), set(range(len(points))), 0
    while left:
        number += 1
        front = {row for row in left if not any(_dominates(points[other], points[row]) for other in left)}
        expected[list(front)] = number
        left -= front
    assert pareto_fronts(points).tolist() == expected.tolist()


def test_pareto_orders_by_front_and_crowding():
    points = [[0, 10], [1, 9.8], [5, 5], [10, 0], [4, 4], [np.nan, 3]]
    everything = state(6, objectives=points)
    found = acquire(np.ones(6), np.full(6, np.nan), everything, _settings('pareto'))
    order = np.argsort(-found[:5], kind='stable').tolist()
    assert set(order[:2]) == {0, 3}  # the ends
    assert order[2:] == [2, 1, 4]  # then by crowding; the dominated point is last
    assert found[4] < 0 <= found[1]
    assert np.isnan(found[5])


def test_candidates_dominated_by_verified_crystals_are_on_a_later_front():
    points = [[5.0, 5.0], [1.0, 9.0]]
    alone = acquire(np.ones(2), np.ones(2), state(2, objectives=points), _settings('pareto'))
    dominated = acquire(
        np.ones(2), np.ones(2), state(2, objectives=points, verified_objectives=[[6.0, 6.0]]), _settings('pareto')
    )
    assert (alone >= 0).all()
    assert dominated[0] < 0 <= dominated[1]


@pytest.mark.parametrize('name', ['upper_confidence_bound', 'cautious', 'expected_improvement', 'exploration'])
def test_missing_standard_deviations_are_refused(name):
    with pytest.raises(FormatError, match=rf"acquisition.name: '{name}'.* standard deviations"):
        scores(name, [1.0], [np.nan])
    assert np.isnan(scores(name, [np.nan], [np.nan])).all()


def test_missing_band_gaps_are_refused():
    with pytest.raises(FormatError, match='band_gap'):
        scores('pareto', [1.0], [1.0])


def test_invalid_arrays_are_refused():
    with pytest.raises(FormatError, match=r'mean \(2,\), std \(1,\)'):
        acquire(np.ones(2), np.ones(1), state(2), _settings('greedy'))
    with pytest.raises(FormatError, match=r'row 1 .*negative'):
        scores('greedy', [1.0, 2.0], [1.0, -1.0])


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'kapa': 1}, "acquisition.kapa: .*'kappa'"),
        ({'kappa': -1}, 'acquisition.kappa: '),
        ({'incumbent_rank': 0}, 'acquisition.incumbent_rank: '),
        ({'seed': -2}, 'acquisition.seed: '),
        ({'weigh_stability': 'some'}, 'acquisition.weigh_stability: '),
        ({'weight_stability': True}, "acquisition.weight_stability: .*'weigh_stability'"),
    ],
)
def test_invalid_settings_are_refused(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(AcquisitionSettings, values, 'acquisition')


def lowest(mean, std, state, settings):
    """Prefer the lowest mean.

    Further text.
    """
    return -mean * settings.options.get('times', 1)


LOWEST = Acquisition('lowest', '−μ', lowest, needs_std=True)
WEIGHED = Acquisition('weighed', '−μ', lowest, weigh=True)


def broken(mean, std, state, settings):
    return np.ones(1)


@pytest.fixture
def other_packages(monkeypatch):
    """Register entry points of other packages."""
    here = __name__
    values = {
        'lowest': f'{here}:lowest',
        'declared': f'{here}:LOWEST',
        'weighed': f'{here}:WEIGHED',
        'broken': f'{here}:broken',
        'number': f'{here}:__name__',
        'missing': f'{here}_nowhere:f',
    }
    points = [EntryPoint(name, value, module.GROUP) for name, value in values.items()]
    points += [EntryPoint('twice', value, module.GROUP) for value in ('a:b', 'c:d')]

    def find(group, name=None):
        return [point for point in points if point.group == group and name in (None, point.name)]

    monkeypatch.setattr(module, 'entry_points', find)


@pytest.mark.usefixtures('other_packages')
def test_functions_of_other_packages():
    assert acquisition_names()[-2:] == ('twice', 'weighed')
    assert scores('lowest', [1.0, 2.0], [1.0, 1.0], options={'times': 3}).tolist() == [-3, -6]
    assert acquisition('lowest').formula == 'Prefer the lowest mean.'
    assert weighed('lowest', [-1.0, 2.0], [1.0, 1.0], [0.5, 0.5])[0].tolist() == [1, -2]
    assert weighed('weighed', [-1.0, 2.0], [1.0, 1.0], [0.5, 0.5])[0].tolist() == [0.5, -2]
    with pytest.raises(FormatError, match=r"'declared'.* standard deviations"):
        scores('declared', [1.0], [np.nan])


@pytest.mark.usefixtures('other_packages')
@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('broken', r"'broken'.* \(1,\)"),
        ('number', "'number'"),
        ('missing', "'missing'.*nowhere"),
        ('twice', 'a:b, c:d'),
        ('best', "'best'.*: greedy, .*random, broken, declared"),
    ],
)
def test_invalid_functions_of_other_packages_are_refused(name, message):
    with pytest.raises(FormatError, match=message):
        scores(name, [1.0, 2.0], [1.0, 1.0])


def test_example_of_the_manual():
    page = (Path(__file__).parents[3] / 'docs' / 'howto' / 'acquisition.md').read_text(encoding='utf-8')
    names: dict = {}
    exec(page.split('```python\n')[1].split('```')[0], names)
    known = State(crystal_set(4).hashes, np.zeros(0), np.full((4, 2), np.nan), np.zeros((0, 2)))
    draws = names['thompson'](
        np.array([1.0, 2, 3, np.nan]), np.array([0.0, 0.5, np.nan, 1]), known, _settings('greedy')
    )
    assert draws[0] == 1
    assert draws[1] != 2
    assert np.isnan(draws[2:]).all()


def test_manual_contains_every_function():
    page = (Path(__file__).parents[3] / 'docs' / 'explanation' / 'acquisition.md').read_text(encoding='utf-8')
    assert all(f'| `{name}` |' in page for name in ACQUISITIONS)

"""Stated intervals hold what they say, whatever the errors come from."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.dielectric.coverage import QUANTITIES
from aiida_goectp.core.learning.calibrate import coverage
from aiida_goectp.core.learning.uncertainty import Raw, calibrate, deviations


def crystals(count, seed, members=1, scale=0.1):
    """Predictions and labels of invented crystals whose errors grow with leverage and with the tensor."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(count, 3, 3)))[0]
    leverage = random.lognormal(sigma=0.7, size=count)

    def turned(values):
        return np.einsum('cik,ck,cjk->cij', axes, values, axes)

    truth, said = [], np.empty((members, count, 3, 3, 3))
    for place, offset in enumerate((1.0, 0.0)):
        values = offset + random.lognormal(mean=1.5, sigma=0.8, size=(count, 1)) * random.uniform(0.6, 1, (count, 3))
        truth.append(turned(values))
        noise = scale * np.sqrt(leverage)[:, None]
        shared = random.laplace(size=(count, 3))
        for member in range(members):
            own = random.normal(size=(count, 3)) if members > 1 else 0.0
            said[member, :, place] = turned(np.clip(values * (1 + noise * (shared + own)), offset + 0.01, None))
    said[:, :, 2] = said[:, :, 0] + said[:, :, 1]
    return Raw(said, leverage, np.full(count, 0.06)), np.stack([*truth, truth[0] + truth[1]], axis=1)


@pytest.mark.parametrize('members', [1, 4])
def test_intervals_hold_nine_of_ten_rows_never_seen(members):
    calibration = calibrate(*crystals(2000, 0, members))
    shares = coverage(*crystals(2000, 1, members), calibration)
    assert set(shares) == {'electronic', 'ionic', 'total'}
    assert set(shares['total']) == set(QUANTITIES)
    assert set(shares['ionic']) == {'average', 'eigenvalues'}
    assert all(88 <= share <= 92 for by_quantity in shares.values() for share in by_quantity.values()), shares


def test_the_sure_ones_are_those_with_small_errors():
    """Deviations must sort crystals by their errors, not state one width for all."""
    raw, labels = crystals(2000, 2)
    calibration = calibrate(*crystals(2000, 3))
    sigma = deviations(raw, calibration).average[:, 2]
    error = np.abs(np.trace(raw.members[0, :, 2] - labels[:, 2], axis1=1, axis2=2) / 3)
    order = np.argsort(sigma)
    assert error[order[:500]].mean() < 0.35 * error[order[-500:]].mean()


def test_equal_by_symmetry_means_no_doubt():
    raw, labels = crystals(300, 4)
    calibration = calibrate(raw, labels)
    isotropic = Raw(np.broadcast_to(5.0 * np.eye(3), (1, 3, 3, 3, 3)).copy(), np.ones(3), np.full(3, 0.06))
    found = deviations(isotropic, calibration)
    assert (found.anisotropy[:, [0, 2]] == 0).all()
    assert np.isnan(found.anisotropy[:, 1]).all()
    assert (found.average > 0).all()
    # the same along every axis: the deviation of an isotropic tensor is isotropic
    np.testing.assert_allclose(found.tensors[0, 0], found.tensors[0, 0, 0, 0] * np.eye(3), atol=1e-12)


def test_deviations_turn_with_the_tensors():
    raw, labels = crystals(200, 5, members=3)
    calibration = calibrate(raw, labels)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = raw._replace(members=turn @ raw.members @ turn.T)
    first, second = deviations(raw, calibration), deviations(turned, calibration)
    np.testing.assert_allclose(second.tensors, turn @ first.tensors @ turn.T, atol=1e-9)
    np.testing.assert_allclose(second.average, first.average, rtol=1e-9)
    np.testing.assert_allclose(second.eigenvalues, first.eigenvalues, rtol=1e-6)


def test_without_calibration_a_committee_states_its_spread_and_one_network_nothing():
    raw, _ = crystals(50, 6, members=3)
    averages = np.trace(raw.members, axis1=3, axis2=4) / 3
    np.testing.assert_allclose(deviations(raw, {}).average, averages.std(axis=0, ddof=1), rtol=1e-9)
    assert np.isnan(deviations(raw._replace(members=raw.members[:1]), {}).average).all()


def test_too_few_rows_or_no_labels_state_nothing():
    raw, labels = crystals(40, 7)
    labels[:, 1:] = np.nan
    calibration = calibrate(raw, labels)
    assert set(calibration) == {'electronic'}
    assert np.isnan(deviations(raw, calibration).average[:, 1:]).all()
    assert calibrate(Raw(raw.members[:, :5], raw.leverage[:5], raw.density[:5]), labels[:5]) == {}

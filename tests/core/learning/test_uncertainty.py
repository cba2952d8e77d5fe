"""Coverage and invariances of the stated standard deviations."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.dielectric.coverage import QUANTITIES
from aiida_goectp.core.learning.calibrate import coverage
from aiida_goectp.core.learning.uncertainty import CommitteeOutput, calibrate, deviations


def crystals(count, seed, members=1, scale=0.1):
    """Return random output and labels whose errors grow with leverage and with the tensor."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(count, 3, 3)))[0]
    leverage = random.lognormal(sigma=0.7, size=count)

    def tensors(values):
        return np.einsum('cik,ck,cjk->cij', axes, values, axes)

    truth, output = [], np.empty((members, count, 3, 3, 3))
    for place, offset in enumerate((1.0, 0.0)):
        values = offset + random.lognormal(mean=1.5, sigma=0.8, size=(count, 1)) * random.uniform(0.6, 1, (count, 3))
        truth.append(tensors(values))
        noise = scale * np.sqrt(leverage)[:, None]
        shared = random.laplace(size=(count, 3))
        for member in range(members):
            own = random.normal(size=(count, 3)) if members > 1 else 0.0
            output[member, :, place] = tensors(np.clip(values * (1 + noise * (shared + own)), offset + 0.01, None))
    output[:, :, 2] = output[:, :, 0] + output[:, :, 1]
    return CommitteeOutput(output, leverage, np.full(count, 0.06)), np.stack([*truth, truth[0] + truth[1]], axis=1)


@pytest.mark.parametrize('members', [1, 4])
def test_intervals_contain_nine_of_ten_unseen_rows(members):
    calibration = calibrate(*crystals(2000, 0, members))
    shares = coverage(*crystals(2000, 1, members), calibration)
    assert set(shares) == {'electronic', 'ionic', 'total'}
    assert set(shares['total']) == set(QUANTITIES)
    assert set(shares['ionic']) == {'average', 'eigenvalues'}
    assert all(88 <= share <= 92 for by_quantity in shares.values() for share in by_quantity.values()), shares


def test_small_deviations_mean_small_errors():
    output, labels = crystals(2000, 2)
    calibration = calibrate(*crystals(2000, 3))
    sigma = deviations(output, calibration).average[:, 2]
    error = np.abs(np.trace(output.members[0, :, 2] - labels[:, 2], axis1=1, axis2=2) / 3)
    order = np.argsort(sigma)
    assert error[order[:500]].mean() < 0.35 * error[order[-500:]].mean()


def test_anisotropy_that_is_one_by_symmetry_has_no_deviation():
    output, labels = crystals(300, 4)
    calibration = calibrate(output, labels)
    isotropic = CommitteeOutput(np.broadcast_to(5.0 * np.eye(3), (1, 3, 3, 3, 3)).copy(), np.ones(3), np.full(3, 0.06))
    found = deviations(isotropic, calibration)
    assert (found.anisotropy[:, [0, 2]] == 0).all()
    assert np.isnan(found.anisotropy[:, 1]).all()
    assert (found.average > 0).all()
    # the deviation of an isotropic tensor is isotropic
    np.testing.assert_allclose(found.tensors[0, 0], found.tensors[0, 0, 0, 0] * np.eye(3), atol=1e-12)


def test_a_crystal_without_ionic_part_has_the_deviations_of_its_electronic_part():
    output, labels = crystals(300, 4, members=3)
    calibration = calibrate(output, labels)
    members = output.members.copy()
    members[:, :100, 1] = 0.0  # by symmetry
    members[:, :100, 2] = members[:, :100, 0]
    found = deviations(output._replace(members=members), calibration)
    for column in (found.average, found.eigenvalues, found.tensors):
        assert (column[:100, 1] == 0).all()
    for column in found:
        np.testing.assert_array_equal(column[:100, 2], column[:100, 0])
    before = deviations(output, calibration)
    np.testing.assert_array_equal(found.average[100:], before.average[100:])


def test_crystals_without_ionic_part_do_not_calibrate_it():
    """Their ionic part has no error, which would make the intervals of the others too narrow."""
    output, labels = crystals(300, 4, members=3)
    members, known = output.members.copy(), labels.copy()
    members[:, :200, 1] = known[:200, 1] = 0.0
    members[:, :200, 2], known[:200, 2] = members[:, :200, 0], known[:200, 0]
    found = calibrate(CommitteeOutput(members, output.leverage, output.density), known)
    rest = calibrate(output.take(np.arange(200, 300)), labels[200:])
    assert (found['ionic'], found['total']) == (rest['ionic'], rest['total'])
    assert found['electronic'] == calibrate(output, labels)['electronic']


def test_deviations_rotate_with_the_tensors():
    output, labels = crystals(200, 5, members=3)
    calibration = calibrate(output, labels)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    rotated = output._replace(members=rotation @ output.members @ rotation.T)
    first, second = deviations(output, calibration), deviations(rotated, calibration)
    np.testing.assert_allclose(second.tensors, rotation @ first.tensors @ rotation.T, atol=1e-9)
    np.testing.assert_allclose(second.average, first.average, rtol=1e-9)
    np.testing.assert_allclose(second.eigenvalues, first.eigenvalues, rtol=1e-6)


def test_without_calibration_deviations_are_the_spread_of_the_committee():
    output, _ = crystals(50, 6, members=3)
    averages = np.trace(output.members, axis1=3, axis2=4) / 3
    np.testing.assert_allclose(deviations(output, {}).average, averages.std(axis=0, ddof=1), rtol=1e-9)
    assert np.isnan(deviations(output._replace(members=output.members[:1]), {}).average).all()


def test_targets_with_few_labels_are_not_calibrated():
    output, labels = crystals(40, 7)
    labels[:, 1:] = np.nan
    calibration = calibrate(output, labels)
    assert set(calibration) == {'electronic'}
    assert np.isnan(deviations(output, calibration).average[:, 1:]).all()
    assert calibrate(CommitteeOutput(output.members[:, :5], output.leverage[:5], output.density[:5]), labels[:5]) == {}

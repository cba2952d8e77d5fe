"""Band gaps of given levels and occupations."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.dielectric.band_gap import band_gap


def test_gap_is_indirect_if_the_band_edges_are_at_different_points():
    bands = np.array([[-1.0, 3.0, 5.0], [0.0, 2.0, 6.0]])
    occupations = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0]])
    assert band_gap(bands, occupations) == pytest.approx(2.0)


def test_gap_of_two_spins():
    bands = np.array([[[0.0, 4.0]], [[1.0, 3.0]]])
    occupations = np.array([[[1.0, 0.0]], [[1.0, 0.0]]])
    assert band_gap(bands, occupations) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ('bands', 'occupations'),
    [
        ([[0.0, 1.0], [2.0, 3.0]], [[2.0, 0.0], [2.0, 0.0]]),  # overlapping bands with fixed occupations
        ([[0.0, 1.0], [0.5, 3.0]], [[2.0, 0.7], [2.0, 0.0]]),  # a partially occupied state
        ([[0.0, 1.0], [0.5, 3.0]], [[2.0, 2.0], [2.0, 0.0]]),  # a band is occupied at some points only
        ([[0.0, 1.0], [0.5, 3.0]], [[2.0, -0.1], [2.0, 0.0]]),  # smearing of Methfessel and Paxton
        ([[[0.0, 5.0]] * 2, [[0.0, 5.0], [2.0, 5.0]]], [[[1.0, 0.0]] * 2, [[1.0, 0.0], [0.0, 0.0]]]),  # one spin
    ],
)
def test_metals_have_no_gap(bands, occupations):
    assert band_gap(np.array(bands), np.array(occupations)) == 0.0


@pytest.mark.parametrize(
    ('bands', 'occupations'),
    [
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ([[0.0, np.nan]], [[2.0, 0.0]]),
        ([[0.0, 1e30]], [[2.0, 0.0]]),
        ([[0.0, 1.0]], [[np.nan, 0.0]]),
        ([[0.0, 1.0]], [[0.0, 0.0]]),
    ],
)
def test_damaged_bands_are_refused(bands, occupations):
    with pytest.raises(ValueError, match=r'bands of the shape|damaged'):
        band_gap(np.array(bands), np.array(occupations))


def test_gap_without_empty_band_is_unknown():
    assert band_gap(np.zeros((2, 3)), np.full((2, 3), 2.0)) is None
    assert band_gap(np.zeros((2, 3)), np.array([[2.0, 2, 2], [2, 2, 1]])) == 0.0

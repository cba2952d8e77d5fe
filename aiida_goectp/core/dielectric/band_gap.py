"""Kohn-Sham band gap of the levels on a k-point mesh."""

from __future__ import annotations

import numpy as np

__all__ = ('band_gap',)

_PARTIAL = 0.01
"""share of the largest occupation; levels between it and one minus it are partially occupied"""
_MAX_NUMBER = 1e12  # eV, electrons; a larger number is damaged


def band_gap(bands: np.ndarray, occupations: np.ndarray) -> float | None:
    """Return the difference between the lowest empty and the highest occupied state on the mesh in eV, 0 for a metal.

    This is an upper bound: the band edges need not be on the mesh. With smearing, the occupations of a metal decrease
    with the energy, so that its filled and empty levels never overlap; a partial occupation, or a number of filled
    bands of a spin that differs between k points, makes the crystal a metal.

    :param bands: (k, bands) or (spins, k, bands), eV
    :param occupations: same shape, in units of any maximum
    :return: ``None`` if all bands are full: with fixed occupations, pw.x computes no empty one unless ``nbnd`` is given
    :raises ValueError: damaged numbers
    """
    if np.ndim(bands) < 2 or np.shape(bands) != np.shape(occupations) or not np.size(bands):
        raise ValueError(f'bands of the shape {np.shape(bands)}, occupations of the shape {np.shape(occupations)}')
    levels = np.reshape(bands, (-1, *np.shape(bands)[-2:]))
    filling = np.reshape(occupations, levels.shape)
    if not (np.abs([levels, filling]) < _MAX_NUMBER).all() or not filling.max() > 0:
        raise ValueError('band energies or occupations are damaged')
    filling = filling / filling.max()
    full, empty = filling > 1 - _PARTIAL, np.abs(filling) < _PARTIAL
    count = full.sum(axis=2)
    if not (full | empty).all() or (count != count[:, :1]).any():
        return 0.0
    if not empty.any():
        return None
    return float(max(levels[empty].min() - levels[full].max(), 0.0))

"""Dielectric tensor as an ellipsoid in the cell of its crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.figures.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('ellipsoid_figure',)

_SIZE = 0.42
"""largest semi-axis, in units of the shortest cell vector"""
_AXIS_COLOURS = ('#0072B2', '#D55E00', '#009E73')
_AXIS_DASHES = ('-', '--', '-.')


@styled
def ellipsoid_figure(crystal: Crystal, tensor: np.ndarray, name: str = 'ε', title: str = '') -> Figure:
    """Return the cell, its atoms, and the ellipsoid with the principal values as semi-axes, in an orthographic view.

    :param crystal: in the frame of the tensor
    :param tensor: (3, 3)
    :param name: of the tensor
    :raises ValueError: a tensor that is not finite, or whose symmetric part is zero
    """
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    symmetric = (np.asarray(tensor) + np.asarray(tensor).T) / 2
    if not np.isfinite(symmetric).all() or not symmetric.any():
        raise ValueError(f'{crystal.id}: the tensor is unknown or zero, which is no ellipsoid')
    figure, _ = new_figure(1, 1, width=1.7, height=1.5)
    figure.clear()
    axis = figure.add_subplot(projection='3d', proj_type='ortho', computed_zorder=False)
    lattice = np.asarray(crystal.lattice)
    corners = np.array([[n & 1, n >> 1 & 1, n >> 2 & 1] for n in range(8)])
    for n in range(8):
        for bit in (1, 2, 4):
            if not n & bit:
                line = corners[[n, n | bit]] @ lattice
                axis.plot(*line.T, color='#444444', linewidth=0.9, zorder=1)
    positions = (np.asarray(crystal.fractional_positions) % 1) @ lattice
    numbers = np.asarray(crystal.atomic_numbers)
    axis.scatter(*positions.T, s=90 * covalent_radii[numbers], c=jmol_colors[numbers], edgecolors='black', lw=0.5,
                 depthshade=False, zorder=2)  # fmt: skip
    values, vectors = np.linalg.eigh(symmetric)
    scale = _SIZE * np.linalg.norm(lattice, axis=1).min() / np.abs(values).max()
    centre = lattice.sum(axis=0) / 2
    theta, phi = np.meshgrid(np.linspace(0, np.pi, 25), np.linspace(0, 2 * np.pi, 49), indexing='ij')
    sphere = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    surface = centre + scale * sphere @ symmetric
    axis.plot_surface(*np.moveaxis(surface, -1, 0), color='#E69F00', alpha=0.35, linewidth=0, zorder=3)
    for value, vector, colour, dash in zip(values, vectors.T, _AXIS_COLOURS, _AXIS_DASHES, strict=True):
        line = centre + scale * value * np.outer([-1, 1], vector)
        axis.plot(*line.T, color=colour, linestyle=dash, linewidth=1.8, label=f'{value:.2f}', zorder=4)
    axis.legend(title=f'principal values of {name}', loc='upper left', frameon=False, fontsize=8.5)
    axis.set_title(title or f'{formula(numbers)} {crystal.id}'.replace('$', r'\$'))
    axis.set_aspect('equal')
    axis.set_axis_off()
    axis.view_init(elev=18, azim=30)
    return figure

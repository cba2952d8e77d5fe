"""Dielectric tensors: averages, eigenvalues, refractive index, rotations.

All functions take arrays of shape (..., 3, 3), relative permittivities in a Cartesian frame, and keep the leading axes.
NaN input gives NaN output.
"""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.formats.names import PARTS

__all__ = (
    'PARTS',
    'PART_SYMBOLS',
    'anisotropy',
    'eigenvalues',
    'polycrystalline_average',
    'refractive_index',
    'rotate',
    'symmetrise',
)

PART_SYMBOLS = dict(zip(PARTS, ('ε∞', 'ε ionic', 'ε total'), strict=True))
"""symbol of each part of a dielectric tensor, in tables"""


def symmetrise(tensor: np.ndarray) -> np.ndarray:
    """Return the symmetric part (T + Tᵀ)/2."""
    tensor = _checked(tensor)
    return (tensor + np.swapaxes(tensor, -1, -2)) / 2


def polycrystalline_average(tensor: np.ndarray) -> np.ndarray:
    """Return trace/3 (...,), the mean over all orientations: ε_poly of Petousis et al., Sci. Data 4, 160134 (2017)."""
    return np.trace(_checked(tensor), axis1=-2, axis2=-1) / 3


def eigenvalues(tensor: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of the symmetric part, ascending, (..., 3)."""
    symmetric = symmetrise(tensor)
    finite = np.isfinite(symmetric).all(axis=(-2, -1))
    result = np.full(symmetric.shape[:-1], np.nan)
    result[finite] = np.linalg.eigvalsh(symmetric[finite])
    return result


def anisotropy(tensor: np.ndarray) -> np.ndarray:
    """Return the ratio of the largest to the smallest eigenvalue (...,), ≥ 1; NaN if one is not positive."""
    values = eigenvalues(tensor)
    smallest = np.where(values[..., 0] > 0, values[..., 0], np.nan)
    return values[..., 2] / smallest


def refractive_index(electronic: np.ndarray) -> np.ndarray:
    """Return n = √(trace ε_∞ / 3) (...,) of the electronic tensor; NaN for a negative trace.

    Source: Petousis et al., Sci. Data 4, 160134 (2017); the target of matbench_dielectric.
    """
    average = polycrystalline_average(electronic)
    return np.sqrt(np.where(average >= 0, average, np.nan))


def rotate(tensor: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return R T Rᵀ, the tensor of the crystal after its vectors are transformed from v to R v (a lattice: L to L Rᵀ).

    :param rotation: (..., 3, 3) rotations or reflections, broadcast against the tensors
    :raises ValueError: a matrix that is not orthogonal to 1e-6
    """
    rotation = _checked(rotation)
    residual = np.abs(rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)).max(initial=0.0)
    if not residual < 1e-6:
        raise ValueError(f'not a rotation or reflection: R Rᵀ differs from 1 by {residual:.2g}')
    return rotation @ _checked(tensor) @ np.swapaxes(rotation, -1, -2)


def _checked(tensor: np.ndarray) -> np.ndarray:
    array = np.asarray(tensor, dtype=np.float64)
    if array.shape[-2:] != (3, 3):
        raise ValueError(f'expected an array of shape (..., 3, 3), found {array.shape}')
    return array

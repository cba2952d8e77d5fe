"""Comparison of predicted and computed tensors of one crystal in a common frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.reduction import polar_rotation
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import PARTS

__all__ = ('MAX_STRAIN', 'compare', 'rotation_and_strain')

MAX_STRAIN = 0.3
"""strain beyond which a relaxed cell is taken for another crystal"""


def rotation_and_strain(lattice: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, float]:
    """Return rotation and strain of a cell relative to a reference cell.

    The deformation gradient F, with Lᵀ = F L₀ᵀ, has the polar decomposition F = R U: U is the stretch of a relaxation,
    R a rotation by the DFT code. See e.g. Ogden, Non-Linear Elastic Deformations (1984), section 2.2.

    :param lattice: (3, 3) Å, rows a, b, c
    :param reference: (3, 3) Å, rows, the same three vectors before the relaxation
    :return: R (3, 3), and the largest principal strain, ``|U − 1|``
    :raises ValueError: one cell is a mirror image of the other, or the strain exceeds :data:`MAX_STRAIN`
    """
    gradient = np.linalg.solve(np.asarray(reference), np.asarray(lattice)).T
    rotation = polar_rotation(gradient.T)
    if np.linalg.det(gradient) <= 0:
        raise ValueError('the cell is a mirror image of the predicted cell; the frames cannot be compared')
    strain = float(np.abs(np.linalg.eigvalsh(rotation.T @ gradient) - 1).max())
    if strain > MAX_STRAIN:
        raise ValueError(
            f'the strain relative to the predicted cell is {strain:.2f}, at most {MAX_STRAIN} is allowed; '
            'another crystal was computed'
        )
    return rotation, strain


def compare(
    response: DielectricResponse, reference: np.ndarray, predicted: Mapping[str, np.ndarray | float | None]
) -> dict[str, Any]:
    """Compare predicted and computed tensors in the frame of the prediction.

    :param reference: (3, 3) Å, rows of the predicted cell
    :param predicted: electronic, ionic and total: tensors (3, 3), or polycrystalline averages, or ``None``
    :return: plain JSON: ``strain`` of the relaxation, ``angle`` in degrees by which the cell was rotated, and for each
        part the tensors and averages of both, and the relative errors of tensor (Frobenius norm) and average
    :raises ValueError: see :func:`rotation_and_strain`
    """
    rotation, strain = rotation_and_strain(response.crystal.lattice, reference)
    rotated_back = response.rotated(rotation.T)
    cosine = np.clip((np.trace(rotation) - 1) / 2, -1, 1)
    result: dict[str, Any] = {'strain': strain, 'angle': float(np.degrees(np.arccos(cosine)))}
    for name in PARTS:
        result[name] = _compare_part(getattr(rotated_back, name), predicted.get(name))
    return result


def _compare_part(computed: np.ndarray | None, predicted: np.ndarray | float | None) -> dict[str, Any]:
    value = None if predicted is None or not np.isfinite(predicted).all() else np.asarray(predicted, dtype=np.float64)
    is_tensor = value is not None and value.shape == (3, 3)
    entry: dict[str, Any] = {
        'dfpt': None if computed is None else computed.tolist(),
        'dfpt_average': None if computed is None else float(np.trace(computed) / 3),
        'predicted': value.tolist() if value is not None and is_tensor else None,
        'predicted_average': None if value is None else float(np.trace(value) / 3 if is_tensor else value),
    }
    both = entry['dfpt_average'], entry['predicted_average']
    entry['error'] = both[1] / both[0] - 1 if None not in both and both[0] else None
    entry['tensor_error'] = None
    if computed is not None and value is not None and is_tensor and np.linalg.norm(computed):
        entry['tensor_error'] = float(np.linalg.norm(value - computed) / np.linalg.norm(computed))
    return entry

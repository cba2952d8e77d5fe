"""A prediction beside the response that DFPT gave for the same crystal, in one frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.reduction import polar_rotation
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import PARTS

__all__ = ('MAX_STRAIN', 'compare', 'in_frame_of', 'rotation_and_strain')

MAX_STRAIN = 0.3
"""a relaxation that stretches a cell more than this has led to another crystal"""


def rotation_and_strain(lattice: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, float]:
    """Return how a cell was turned and stretched against a reference of which it is a deformation.

    The deformation gradient F, with Lᵀ = F L₀ᵀ, has the polar decomposition F = R U: U is the stretch that a relaxation
    makes, R the rotation that an engine may add. See e.g. Ogden, Non-Linear Elastic Deformations (1984), section 2.2.

    :param lattice: (3, 3) Å, rows a, b, c
    :param reference: (3, 3) Å, rows, the same three vectors before
    :return: R (3, 3), and the largest principal strain, ``|U − 1|``
    :raises ValueError: one cell is a mirror image of the other, or they do not belong together (the strain is beyond
        :data:`MAX_STRAIN`)
    """
    gradient = np.linalg.solve(np.asarray(reference), np.asarray(lattice)).T
    rotation = polar_rotation(gradient.T)
    if np.linalg.det(gradient) <= 0:
        raise ValueError('the cell is a mirror image of the one that was predicted; the frames cannot be compared')
    strain = float(np.abs(np.linalg.eigvalsh(rotation.T @ gradient) - 1).max())
    if strain > MAX_STRAIN:
        raise ValueError(
            f'the cell differs by a strain of {strain:.2f} from the one that was predicted; another cell was computed'
        )
    return rotation, strain


def in_frame_of(response: DielectricResponse, reference: np.ndarray) -> DielectricResponse:
    """Return a response in the frame of the cell that its own cell was relaxed from.

    :param reference: (3, 3) Å, rows
    :raises ValueError: the cells do not belong together, see :func:`rotation_and_strain`
    """
    rotation, _ = rotation_and_strain(response.crystal.lattice, reference)
    return response.rotated(rotation.T)


def compare(
    response: DielectricResponse, reference: np.ndarray, predicted: Mapping[str, np.ndarray | float | None]
) -> dict[str, Any]:
    """Return predicted and computed parts side by side, in the frame of the prediction; plain JSON.

    :param reference: (3, 3) Å, rows of the cell that was predicted
    :param predicted: electronic, ionic and total: tensors (3, 3), or polycrystalline averages, or ``None``
    :return: ``strain`` of the relaxation, ``angle`` in degrees by which the engine had turned the cell, and for each
        part the tensors and averages of both, and the relative errors of tensor (Frobenius norm) and average
    :raises ValueError: the cells do not belong together
    """
    rotation, strain = rotation_and_strain(response.crystal.lattice, reference)
    turned = response.rotated(rotation.T)
    cosine = np.clip((np.trace(rotation) - 1) / 2, -1, 1)
    result: dict[str, Any] = {'strain': strain, 'angle': float(np.degrees(np.arccos(cosine)))}
    for name in PARTS:
        result[name] = _compare_part(getattr(turned, name), predicted.get(name))
    return result


def _compare_part(computed: np.ndarray | None, predicted: np.ndarray | float | None) -> dict[str, Any]:
    guess = None if predicted is None or not np.isfinite(predicted).all() else np.asarray(predicted, dtype=np.float64)
    tensor = guess is not None and guess.shape == (3, 3)
    entry: dict[str, Any] = {
        'dfpt': None if computed is None else computed.tolist(),
        'dfpt_average': None if computed is None else float(np.trace(computed) / 3),
        'predicted': guess.tolist() if guess is not None and tensor else None,
        'predicted_average': None if guess is None else float(np.trace(guess) / 3 if tensor else guess),
    }
    both = entry['dfpt_average'], entry['predicted_average']
    entry['error'] = both[1] / both[0] - 1 if None not in both and both[0] else None
    entry['tensor_error'] = None
    if computed is not None and guess is not None and tensor and np.linalg.norm(computed):
        entry['tensor_error'] = float(np.linalg.norm(guess - computed) / np.linalg.norm(computed))
    return entry

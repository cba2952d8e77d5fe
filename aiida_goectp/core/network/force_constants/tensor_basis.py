"""Symmetric traceless matrices, written as five components."""

from __future__ import annotations

import math

import torch

__all__ = ('TENSOR_BASIS', 'as_matrices', 'quadrupole')

_S, _D = math.sqrt(1 / 2), math.sqrt(1 / 6)
TENSOR_BASIS = torch.tensor(
    [
        [[0, _S, 0], [_S, 0, 0], [0, 0, 0]],
        [[0, 0, _S], [0, 0, 0], [_S, 0, 0]],
        [[0, 0, 0], [0, 0, _S], [0, _S, 0]],
        [[_S, 0, 0], [0, -_S, 0], [0, 0, 0]],
        [[-_D, 0, 0], [0, -_D, 0], [0, 0, 2 * _D]],
    ],
    dtype=torch.float64,
)
"""(5, 3, 3) orthonormal basis of symmetric traceless matrices"""


def quadrupole(directions: torch.Tensor) -> torch.Tensor:
    """Return the five components of u ⊗ u − 1/3 of unit vectors (U, 3), (U, 5)."""
    squares = directions[:, :, None] * directions[:, None]
    return squares.flatten(1) @ TENSOR_BASIS.to(directions).view(5, 9).T


def as_matrices(tensors: torch.Tensor) -> torch.Tensor:
    """Return symmetric traceless matrices, (N, T, 3, 3), of tensors (N, 5, T)."""
    return (tensors.transpose(1, 2) @ TENSOR_BASIS.to(tensors).view(5, 9)).unflatten(2, (3, 3))

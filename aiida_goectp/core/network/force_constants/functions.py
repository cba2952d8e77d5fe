"""Functions of symmetric matrices with derivatives that are stable for equal eigenvalues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ('bounded_inverse', 'eigenpairs', 'matrix_function', 'shifted_logarithm')

_EQUAL = 1e-6
"""eigenvalues that differ by less, relative to their size plus one, have the mean derivative between them"""

_TOGETHER = 16_384
"""along the first axis, matrices that are diagonalised together; cuSOLVER refuses about twice as many"""

_Scalar = Callable[[torch.Tensor], torch.Tensor]


class _MatrixFunction(torch.autograd.Function):
    """V f(w) Vᵀ of A = V w Vᵀ, evaluated in float64.

    Derivative: V (K ∘ Vᵀ G V) Vᵀ with K = (f(w) − f(w'))/(w − w'), or f' where eigenvalues are equal (Daleckii and
    Krein; see Higham, Functions of Matrices, 2008, theorem 3.11).
    """

    @staticmethod
    def forward(context: Any, matrices: torch.Tensor, function: _Scalar, derivative: _Scalar) -> torch.Tensor:
        """Return f(A)."""
        values, vectors = eigenpairs(matrices)
        images = function(values)
        context.save_for_backward(values, vectors, images, derivative(values))
        return ((vectors * images[..., None, :]) @ vectors.transpose(-1, -2)).to(matrices.dtype)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of A."""
        (gradient,) = gradients
        values, vectors, images, slopes = context.saved_tensors
        difference = values[..., :, None] - values[..., None, :]
        equal = difference.abs() < _EQUAL * (1 + values.abs()[..., :, None])
        quotient = (images[..., :, None] - images[..., None, :]) / torch.where(equal, 1.0, difference)
        kernel = torch.where(equal, (slopes[..., :, None] + slopes[..., None, :]) / 2, quotient)
        symmetric = (gradient + gradient.transpose(-1, -2)).double() / 2
        transposed = vectors.transpose(-1, -2)
        result = vectors @ (kernel * (transposed @ symmetric @ vectors)) @ transposed
        return result.to(gradient.dtype), None, None


def eigenpairs(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues (..., n) and eigenvectors (..., n, n) of symmetric matrices in float64.

    The eigenvalues of a matrix with elements that are not finite are NaN: LAPACK raises an error, by which one crystal
    would end the evaluation of all others.

    :param matrices: (..., n, n)
    """
    finite = torch.isfinite(matrices).flatten(-2).all(-1)
    pieces = torch.where(finite[..., None, None], matrices, 0.0).double().split(_TOGETHER)
    pairs = [torch.linalg.eigh(piece) for piece in pieces]
    values, vectors = pairs[0] if len(pairs) == 1 else map(torch.cat, zip(*pairs, strict=True))
    return torch.where(finite[..., None], values, torch.nan), vectors


def matrix_function(matrices: torch.Tensor, function: _Scalar, derivative: _Scalar) -> torch.Tensor:
    """Return f(A) of symmetric matrices.

    :param matrices: (..., n, n)
    :param function: f, of eigenvalues in float64
    :param derivative: f'
    """
    return _MatrixFunction.apply(matrices, function, derivative)


def bounded_inverse(matrices: torch.Tensor, floor: float) -> torch.Tensor:
    """Return the inverse of symmetric matrices with each eigenvalue w replaced by √(w² + floor²).

    It is bounded by 1/floor for soft and for negative eigenvalues alike, and smooth.

    :param matrices: (..., n, n)
    :param floor: in the unit of the matrices
    """
    return matrix_function(
        matrices,
        lambda w: (w * w + floor * floor).rsqrt(),
        lambda w: -w * (w * w + floor * floor).pow(-1.5),
    )


def shifted_logarithm(matrices: torch.Tensor, shift: float) -> torch.Tensor:
    """Return log(A + shift) of symmetric matrices; eigenvalues below −0.9 shift count as this value.

    :param matrices: (..., n, n)
    """
    lowest = -0.9 * shift
    return matrix_function(
        matrices,
        lambda w: torch.log(w.clamp(min=lowest) + shift),
        lambda w: torch.where(w > lowest, 1 / (w.clamp(min=lowest) + shift), 0.0),
    )

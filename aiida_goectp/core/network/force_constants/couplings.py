"""Invariants and products of the vectors and tensors of each atom.

Three kinds of products: invariants, which the update of the scalars sees; L ⊗ R of two vectors, symmetric and
traceless, which makes tensors; and T L of a tensor and a vector, which makes vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.network.force_constants.arrays import arrays, in_compiled_loops
from aiida_goectp.core.network.force_constants.tensor_basis import TENSOR_BASIS

__all__ = ('CouplingInput', 'Couplings', 'couple')

_SMALL = 1e-6
"""added to squares, whose roots then have a derivative everywhere"""


class CouplingInput(NamedTuple):
    """Input of :func:`couple`: N atoms with F scalars, V vectors and T tensors each."""

    scalars: torch.Tensor
    """(N, F)"""
    received: torch.Tensor
    """(N, F + V + T) scalars of the messages"""
    vectors: torch.Tensor
    """(N, 3, V)"""
    tensors: torch.Tensor
    """(N, 5, T)"""
    vector_factors: torch.Tensor
    """(N, 3, 2V + 2K) linear functions of the vectors: V and V factors of invariants, K of L and K of R"""
    tensor_factors: torch.Tensor
    """(N, 5, 2T + K) the same of the tensors: T and T factors of invariants, and K tensors"""


class Couplings(NamedTuple):
    """Products of the features of N atoms."""

    invariants: torch.Tensor
    """(N, 2F + 2V + 2T) scalars, received ones plus scalar products, norms of vectors and of tensors"""
    vectors: torch.Tensor
    """(N, 3, K)"""
    tensors: torch.Tensor
    """(N, 5, K)"""


def couple(inputs: CouplingInput) -> Couplings:
    """Return the products."""
    if not in_compiled_loops(inputs.scalars):
        return couple_in_torch(inputs)
    atoms, f, v, t = len(inputs.scalars), inputs.scalars.shape[1], inputs.vectors.shape[2], inputs.tensors.shape[2]
    k = inputs.tensor_factors.shape[2] - 2 * t
    shapes = (atoms, 2 * (f + v + t)), (atoms, 3, k), (atoms, 5, k)
    found = Couplings(*(inputs.scalars.new_empty(shape) for shape in shapes))
    _couple(*arrays(*inputs, TENSOR_BASIS.to(inputs.scalars), *found))
    return found


def couple_in_torch(inputs: CouplingInput) -> Couplings:
    """Return the same as :func:`couple`, by operations of torch."""
    scalars, received, vectors, tensors, vector_factors, tensor_factors = inputs
    f, v, t = scalars.shape[1], vectors.shape[2], tensors.shape[2]
    k = tensor_factors.shape[2] - 2 * t
    first, second, left, right = vector_factors.split([v, v, k, k], dim=2)
    third, fourth, turning = tensor_factors.split([t, t, k], dim=2)
    own, along, aligned = received.split([f, v, t], dim=1)
    invariants = [scalars, own, along + (first * second).sum(1), aligned + (third * fourth).sum(1)]
    invariants += [torch.sqrt(part.square().sum(1) + _SMALL) for part in (vectors, tensors)]
    basis = TENSOR_BASIS.to(scalars)
    return Couplings(
        torch.cat(invariants, dim=1),
        torch.einsum('nmc,mab,nbc->nac', turning, basis, left),
        torch.einsum('nac,nbc,mab->nmc', left, right, basis),
    )


@compiled(fastmath=True)
def _add_invariants(
    features: np.ndarray, factors: np.ndarray, products: np.ndarray, norms: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add the scalar products of factors, and set the norms, of the C features (components, C) of an atom."""
    count = features.shape[1]
    norms[:] = _SMALL
    for m in range(len(features)):
        x, pair = features[m], factors[m]
        for c in range(count):
            norms[c] += x[c] * x[c]
            products[c] += pair[c] * pair[count + c]
    for c in range(count):
        norms[c] = np.sqrt(norms[c])


@compiled(fastmath=True)
def _couple(
    scalars: np.ndarray,
    received: np.ndarray,
    vectors: np.ndarray,
    tensors: np.ndarray,
    vector_factors: np.ndarray,
    tensor_factors: np.ndarray,
    basis: np.ndarray,
    invariants: np.ndarray,
    vectors_out: np.ndarray,
    tensors_out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    f, v, t = scalars.shape[1], vectors.shape[2], tensors.shape[2]
    k = vectors_out.shape[2]
    vectors_out[:], tensors_out[:] = 0, 0
    for n in range(len(scalars)):
        row = invariants[n]
        row[:f], row[f : 2 * f + v + t] = scalars[n], received[n]
        products, norms = row[2 * f : 2 * f + v + t], row[2 * f + v + t :]
        _add_invariants(vectors[n], vector_factors[n], products[:v], norms[:v])
        _add_invariants(tensors[n], tensor_factors[n], products[v:], norms[v:])
        for m in range(5):
            turning, new_tensor = tensor_factors[n, m, 2 * t :], tensors_out[n, m]
            for a in range(3):
                new_vector = vectors_out[n, a]
                left_a = vector_factors[n, a, 2 * v : 2 * v + k]
                for b in range(3):
                    weight = basis[m, a, b]
                    if weight != 0:
                        left_b, right_b = vector_factors[n, b, 2 * v : 2 * v + k], vector_factors[n, b, 2 * v + k :]
                        for c in range(k):
                            new_vector[c] += weight * turning[c] * left_b[c]
                            new_tensor[c] += weight * left_a[c] * right_b[c]

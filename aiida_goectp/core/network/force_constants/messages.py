"""Messages between neighbours: scalars, vectors and symmetric traceless tensors in one pass over the pairs.

A feature of atom j reaches atom i multiplied by channel weights w(|d|) and by the unit vector u from i to j or the
quadrupole y = u ⊗ u − 1/3, so that scalars stay scalars and vectors stay vectors. On a CPU one compiled loop does
the work of about twenty tensor operations; elsewhere torch does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.network.force_constants.arrays import arrays
from aiida_goectp.core.network.force_constants.linear import linear

__all__ = ('Channels', 'MessageInput', 'Messages', 'pass_messages')


_BLOCK = 512
"""pairs whose weights are in the cache of a core together"""


class Channels(NamedTuple):
    """Numbers of channels of the features of an atom."""

    scalars: int
    vectors: int
    tensors: int

    @property
    def weights(self) -> int:
        """Number of weights of a message: one each scalar, three each vector and each tensor."""
        return self.scalars + 3 * self.vectors + 3 * self.tensors


class Messages(NamedTuple):
    """Sums over the neighbours of each atom."""

    scalars: torch.Tensor
    """(N, F + V + T) scalars, u · v of the vectors, y · t of the tensors"""
    vectors: torch.Tensor
    """(N, 3, V)"""
    tensors: torch.Tensor
    """(N, 5, T)"""


class MessageInput(NamedTuple):
    """Input of :func:`pass_messages`: N atoms with V vectors and T tensors each, U pairs of neighbours."""

    values: torch.Tensor
    """(N, D) factor of each channel from the sending atom, D = :attr:`Channels.weights`"""
    radial: torch.Tensor
    """(U, R) radial functions of the distance"""
    filters: torch.Tensor
    """(D, R), or (k, D, R) of k stacked networks: radial functions → factor of each channel, in both directions"""
    vectors: torch.Tensor
    """(N, 3, V) features"""
    tensors: torch.Tensor
    """(N, 5, T) features, in the basis of :data:`.TENSOR_BASIS`"""
    directions: torch.Tensor
    """(U, 3) unit vector from source to target"""
    quadrupoles: torch.Tensor
    """(U, 5) u ⊗ u − 1/3 in the same basis"""
    source: torch.Tensor
    """(U,)"""
    target: torch.Tensor
    """(U,)"""


def pass_messages(inputs: MessageInput) -> Messages:
    """Return the sums of messages over all neighbours."""
    if inputs.values.device.type != 'cpu':
        return pass_messages_in_torch(inputs)
    values, radial, filters, *others = inputs
    if torch.is_grad_enabled():
        return Messages(*_CompiledMessages.apply(values, linear(radial, filters, None), *others))
    sums = _no_messages(values, inputs.vectors, inputs.tensors)
    all_values, *rest = arrays(values, *others, *sums)
    for first, weights in _blocks(radial, filters):
        _forward(first, weights.numpy(), all_values, *rest)
    return sums


def _blocks(radial: torch.Tensor, filters: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the first pair of a block and the factors from the distance of its pairs, (b, D).

    Those of all pairs do not fit into the cache.
    """
    networks = filters if filters.dim() == 3 else [filters]
    pairs = len(radial) // len(networks)
    for member, weight in enumerate(networks):
        for first in range(0, pairs, _BLOCK):
            start, stop = member * pairs + first, member * pairs + min(first + _BLOCK, pairs)
            yield start, torch.nn.functional.linear(radial[start:stop], weight)


def _no_messages(values: torch.Tensor, vectors: torch.Tensor, tensors: torch.Tensor) -> Messages:
    atoms, v, t = len(values), vectors.shape[2], tensors.shape[2]
    f = values.shape[1] - 3 * v - 3 * t
    return Messages(values.new_zeros(atoms, f + v + t), values.new_zeros(atoms, 3, v), values.new_zeros(atoms, 5, t))


def pass_messages_in_torch(inputs: MessageInput) -> Messages:
    """Return the same as :func:`pass_messages`, by operations of torch."""
    values, radial, filters, vectors, tensors, directions, quadrupoles, source, target = inputs
    weights = linear(radial, filters, None)
    atoms, v, t = len(values), vectors.shape[2], tensors.shape[2]
    f = values.shape[1] - 3 * v - 3 * t
    to, from_ = torch.cat([source, target]), torch.cat([target, source])
    u, y = torch.cat([directions, -directions]), quadrupoles.repeat(2, 1)
    factors = values[from_] * weights.repeat(2, 1)
    s, v1, v2, v3, t1, t2, t3 = factors.split([f, v, v, v, t, t, t], dim=1)
    sent, tensor = vectors[from_], tensors[from_]
    along = v1 * torch.einsum('ea,eac->ec', u, sent)
    aligned = t1 * torch.einsum('ea,eac->ec', y, tensor)
    new_vectors = v2[:, None] * u[:, :, None] + v3[:, None] * sent
    new_tensors = t2[:, None] * y[:, :, None] + t3[:, None] * tensor

    def total(messages: torch.Tensor) -> torch.Tensor:
        return messages.new_zeros(atoms, *messages.shape[1:]).index_add_(0, to, messages)

    return Messages(total(torch.cat([s, along, aligned], dim=1)), total(new_vectors), total(new_tensors))


class _CompiledMessages(torch.autograd.Function):
    """:func:`pass_messages` on a CPU, with weights (U, D) of the pairs; first derivatives only."""

    @staticmethod
    def forward(context: Any, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return scalars, vectors, tensors."""
        contiguous = [argument.detach().contiguous() for argument in arguments]
        values, weights, vectors, tensors = contiguous[:4]
        sums = _no_messages(values, vectors, tensors)
        _forward(0, *arrays(weights, values, *contiguous[2:], *sums))
        context.save_for_backward(*contiguous)
        return tuple(sums)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of values, weights, vectors and tensors."""
        saved = context.saved_tensors
        found = [torch.zeros_like(item) for item in saved[:4]]
        _backward(*(item.numpy() for item in (*saved, *(g.contiguous() for g in gradients), *found)))
        return (*found, None, None, None, None)


@compiled(fastmath=True)
def _forward(
    begin: int,
    weights: np.ndarray,
    values: np.ndarray,
    vectors: np.ndarray,
    tensors: np.ndarray,
    directions: np.ndarray,
    quadrupoles: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    scalar_sums: np.ndarray,
    vector_sums: np.ndarray,
    tensor_sums: np.ndarray,
) -> None:  # pragma: no cover - compiled
    # each inner loop has few arrays, so that the compiler can check that they do not overlap, and vectorises it
    v, t = vectors.shape[2], tensors.shape[2]
    f = values.shape[1] - 3 * v - 3 * t
    factors, dots = np.empty(values.shape[1], dtype=values.dtype), np.empty(t, dtype=values.dtype)
    first, second, third = factors[f : f + v], factors[f + v : f + 2 * v], factors[f + 2 * v : f + 3 * v]
    o = f + 3 * v
    fourth, fifth, sixth = factors[o : o + t], factors[o + t : o + 2 * t], factors[o + 2 * t :]
    for row in range(len(weights)):
        e = begin + row
        w, y = weights[row], quadrupoles[e]
        for way in range(2):
            i, j = (source[e], target[e]) if way == 0 else (target[e], source[e])
            sign = 1 - 2 * way
            p, sums = values[j], scalar_sums[i]
            along, aligned = sums[f : f + v], sums[f + v :]
            for c in range(len(p)):
                factors[c] = p[c] * w[c]
            for c in range(f):
                sums[c] += factors[c]
            ux, uy, uz = sign * directions[e, 0], sign * directions[e, 1], sign * directions[e, 2]
            x0, x1, x2 = vectors[j, 0], vectors[j, 1], vectors[j, 2]
            for c in range(v):
                along[c] += first[c] * (ux * x0[c] + uy * x1[c] + uz * x2[c])
            for a in range(3):
                u, x, out = sign * directions[e, a], vectors[j, a], vector_sums[i, a]
                for c in range(v):
                    out[c] += second[c] * u + third[c] * x[c]
            for c in range(t):
                dots[c] = 0
            for m in range(5):
                x, out = tensors[j, m], tensor_sums[i, m]
                for c in range(t):
                    dots[c] += y[m] * x[c]
                for c in range(t):
                    out[c] += fifth[c] * y[m] + sixth[c] * x[c]
            for c in range(t):
                aligned[c] += fourth[c] * dots[c]


@compiled(fastmath=True)
def _backward(
    values: np.ndarray,
    weights: np.ndarray,
    vectors: np.ndarray,
    tensors: np.ndarray,
    directions: np.ndarray,
    quadrupoles: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    scalars_g: np.ndarray,
    vectors_g: np.ndarray,
    tensors_g: np.ndarray,
    values_out: np.ndarray,
    weights_out: np.ndarray,
    vectors_out: np.ndarray,
    tensors_out: np.ndarray,
) -> None:  # pragma: no cover - compiled
    v, t = vectors.shape[2], tensors.shape[2]
    f = values.shape[1] - 3 * v - 3 * t
    buffer = np.empty(values.shape[1], dtype=values.dtype)  # derivative with respect to value × weight
    for e in range(len(source)):
        w, y = weights[e], quadrupoles[e]
        for way in range(2):
            i, j = (source[e], target[e]) if way == 0 else (target[e], source[e])
            sign = 1 - 2 * way
            ux, uy, uz = sign * directions[e, 0], sign * directions[e, 1], sign * directions[e, 2]
            p = values[j]
            for c in range(f):
                buffer[c] = scalars_g[i, c]
            for c in range(v):
                x0, x1, x2 = vectors[j, 0, c], vectors[j, 1, c], vectors[j, 2, c]
                g0, g1, g2 = vectors_g[i, 0, c], vectors_g[i, 1, c], vectors_g[i, 2, c]
                s = scalars_g[i, f + c]
                buffer[f + c] = s * (ux * x0 + uy * x1 + uz * x2)
                buffer[f + v + c] = g0 * ux + g1 * uy + g2 * uz
                buffer[f + 2 * v + c] = g0 * x0 + g1 * x1 + g2 * x2
                a, b = s * p[f + c] * w[f + c], p[f + 2 * v + c] * w[f + 2 * v + c]
                vectors_out[j, 0, c] += a * ux + b * g0
                vectors_out[j, 1, c] += a * uy + b * g1
                vectors_out[j, 2, c] += a * uz + b * g2
            o = f + 3 * v
            for c in range(t):
                s = scalars_g[i, f + v + c]
                a, b = s * p[o + c] * w[o + c], p[o + 2 * t + c] * w[o + 2 * t + c]
                aligned, outer, kept = s * 0, s * 0, s * 0
                for m in range(5):
                    x, g = tensors[j, m, c], tensors_g[i, m, c]
                    aligned += y[m] * x
                    outer += g * y[m]
                    kept += g * x
                    tensors_out[j, m, c] += a * y[m] + b * g
                buffer[o + c], buffer[o + t + c], buffer[o + 2 * t + c] = s * aligned, outer, kept
            for c in range(len(p)):
                values_out[j, c] += buffer[c] * w[c]
                weights_out[e, c] += buffer[c] * p[c]

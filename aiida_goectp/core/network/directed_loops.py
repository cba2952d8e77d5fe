"""Compiled loops over directed pairs of neighbours, for the evaluation of iComFormer in blocks."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled

__all__ = ('add_gated', 'gather_directed', 'gather_reference', 'scale_and_shift')


@compiled(fastmath=True)
def gather_directed(
    edge: np.ndarray, own: np.ndarray, other: np.ndarray, source: np.ndarray, target: np.ndarray, hidden: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Set the hidden layer (e, W) to the sum of the parts of the pair (e, W), its target and its source, (N, W)."""
    for row in range(len(hidden)):
        a, b, c, out = edge[row], own[target[row]], other[source[row]], hidden[row]
        for k in range(len(out)):
            out[k] = a[k] + b[k] + c[k]


@compiled(fastmath=True)
def gather_reference(
    own: np.ndarray,
    lattice: np.ndarray,
    graph: np.ndarray,
    table: np.ndarray,
    grid_rows: np.ndarray,
    weights: np.ndarray,
    hidden: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Set the hidden layer (e, W) to the sum of the parts of the pair, of a reference length, and of the angle to it.

    :param own: (e, W)
    :param lattice: (g, W) of the reference length of each graph
    :param graph: (e,) graph of the pair
    :param table: (points, W) on a grid of cosines
    :param grid_rows: (e, 4) rows of the table
    :param weights: (e, 4)
    """
    for row in range(len(hidden)):
        a, b, out = own[row], lattice[graph[row]], hidden[row]
        first, w = grid_rows[row, 0], weights[row]
        t0, t1, t2, t3 = table[first], table[first + 1], table[first + 2], table[first + 3]
        for k in range(len(out)):
            out[k] = a[k] + b[k] + w[0] * t0[k] + w[1] * t1[k] + w[2] * t2[k] + w[3] * t3[k]


@compiled(fastmath=True)
def scale_and_shift(
    factors: np.ndarray, shift: np.ndarray, rows: np.ndarray, values: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Multiply values (e, C) with the factors of their rows, (n, C), and add a shift, (C,)."""
    for row in range(len(values)):
        factor, out = factors[rows[row]], values[row]
        for k in range(len(out)):
            out[k] = out[k] * factor[k] + shift[k]


@compiled(fastmath=True)
def add_gated(
    messages: np.ndarray, gates: np.ndarray, rows: np.ndarray, sums: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add messages times gates, (e, C) each, to the sums of their rows, (n, C)."""
    for row in range(len(messages)):
        message, gate, out = messages[row], gates[row], sums[rows[row]]
        for k in range(len(out)):
            out[k] += message[k] * gate[k]

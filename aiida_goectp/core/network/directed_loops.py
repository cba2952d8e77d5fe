"""Compiled loops over directed pairs of neighbours, for the evaluation of iComFormer in blocks."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled

__all__ = ('add_gated', 'gather_directed', 'gather_reference', 'scale_and_shift', 'tabulated')


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
def _grid_row(
    place: float, low: float, density: float, steps: int, weights: np.ndarray
) -> int:  # pragma: no cover - compiled
    """Set the weights (4,) of consecutive rows of a table, as :meth:`.Grid.interpolation`; return the first row."""
    position = (place - low) * density
    first = min(max(int(np.floor(position)), 0), steps - 1)
    t = position - first
    weights[0] = -t * (t - 1) * (t - 2) / 6
    weights[1] = (t * t - 1) * (t - 2) / 2
    weights[2] = -t * (t + 1) * (t - 2) / 2
    weights[3] = t * (t * t - 1) / 6
    return first


@compiled(fastmath=True)
def tabulated(
    low: float, density: float, table: np.ndarray, places: np.ndarray, found: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Set the values (e, W) of a table (points, W) at places (e,).

    :param low: lower end of the grid
    :param density: intervals per unit
    """
    w, steps = np.empty(4, dtype=table.dtype), len(table) - 3
    for row in range(len(places)):
        first, out = _grid_row(places[row], low, density, steps, w), found[row]
        t0, t1, t2, t3 = table[first], table[first + 1], table[first + 2], table[first + 3]
        for k in range(len(out)):
            out[k] = w[0] * t0[k] + w[1] * t1[k] + w[2] * t2[k] + w[3] * t3[k]


@compiled(fastmath=True)
def gather_reference(
    low: float,
    density: float,
    own: np.ndarray,
    lattice: np.ndarray,
    graph: np.ndarray,
    table: np.ndarray,
    cosines: np.ndarray,
    hidden: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Set the hidden layer (e, W) to the sum of the parts of the pair, of a reference length, and of the angle to it.

    :param low: lower end of the grid of cosines
    :param density: intervals per unit
    :param own: (e, W)
    :param lattice: (g, W) of the reference length of each graph
    :param graph: (e,) graph of the pair
    :param table: (points, W)
    :param cosines: (e,)
    """
    w, steps = np.empty(4, dtype=table.dtype), len(table) - 3
    for row in range(len(hidden)):
        a, b, out = own[row], lattice[graph[row]], hidden[row]
        first = _grid_row(cosines[row], low, density, steps, w)
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

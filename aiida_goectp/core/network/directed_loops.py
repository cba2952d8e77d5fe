"""Compiled loops over pairs of neighbours in both directions, for the evaluation of iComFormer in blocks.

Features are float32. The activations are computed in the same pass, from polynomials with a relative error of 1e-7 in
place of exponentials and logarithms, so that eight channels are computed together.
"""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled

__all__ = ('add_messages', 'hidden_of_neighbours', 'hidden_of_references', 'set_features', 'tabulated')

_FAST = {'nsz', 'arcp', 'contract'}
"""fast mathematics with NaN, and without another order of sums, on which the rounding in :func:`_exponential` relies"""
_ROUNDING = np.float32(1.5 * 2**23)
"""a float32 that is added to this has no digits behind the point"""
_LOGARITHM = np.float32(np.log2(np.e))
_LARGEST = np.float32(126.0)
"""exponent within the range of float32"""
_POWER = tuple(
    np.float32(value)
    for value in (1.000000072, 0.6931469671, 0.2402211972, 0.05550713275, 0.009675541331, 0.001327647152)
)
"""coefficients of the polynomial of degree 5 with the smallest largest relative error (7.5e-8) from 2^f, |f| ≤ 1/2"""


@compiled(fastmath=_FAST, error_model='numpy', inline='always')
def _exponential(x: float) -> float:  # pragma: no cover - compiled
    power = _LOGARITHM * x
    power = -_LARGEST if power < -_LARGEST else power  # NaN stays
    power = _LARGEST if power > _LARGEST else power
    whole = (power + _ROUNDING) - _ROUNDING
    f = power - whole
    value = _POWER[4] + f * _POWER[5]
    value = _POWER[3] + f * value
    value = _POWER[2] + f * value
    value = _POWER[1] + f * value
    value = _POWER[0] + f * value
    scale = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2^whole, by its exponent
    return value * scale


@compiled(fastmath=_FAST, error_model='numpy', inline='always')
def _sigmoid(x: float) -> float:  # pragma: no cover - compiled
    return np.float32(1) / (np.float32(1) + _exponential(-x))


@compiled(fastmath=_FAST, error_model='numpy', inline='always')
def _softplus(x: float) -> float:  # pragma: no cover - compiled
    """Return max(x, 0) + ln(1 + t), t = exp(−|x|), with ln(1 + t) = 2 artanh(s), s = t/(2 + t) ≤ 1/3, as a series."""
    t = _exponential(-abs(x))
    s = t / (np.float32(2) + t)
    square = s * s
    series = np.float32(1 / 9) + square * np.float32(1 / 11)
    series = np.float32(1 / 7) + square * series
    series = np.float32(1 / 5) + square * series
    series = np.float32(1 / 3) + square * series
    return max(x, np.float32(0)) + np.float32(2) * s * (np.float32(1) + square * series)


@compiled(fastmath=_FAST, error_model='numpy')
def hidden_of_neighbours(
    edge: np.ndarray, own: np.ndarray, other: np.ndarray, source: np.ndarray, target: np.ndarray, hidden: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Set the hidden layer after its activation, SiLU of the sum of the parts of the pair, its target and its source.

    :param edge: (e, W) for both directions, or (2e, W)
    :param own: (N, W) part of a target
    :param other: (N, W) part of a source
    :param source: (e,)
    :param target: (e,)
    :param hidden: (2, 2e, W/2) for keys and for messages: all pairs from source to target, then all from target to
        source
    """
    pairs, width = len(source), hidden.shape[2]
    for row in range(hidden.shape[1]):
        pair = row % pairs
        i, j = (target[pair], source[pair]) if row < pairs else (source[pair], target[pair])
        for half in range(2):
            start, stop = half * width, (half + 1) * width
            a, b, c = edge[row % len(edge), start:stop], own[i, start:stop], other[j, start:stop]
            out = hidden[half, row]
            for k in range(width):
                x = a[k] + b[k] + c[k]
                out[k] = x * _sigmoid(x)


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


@compiled(fastmath=_FAST, error_model='numpy')
def hidden_of_references(
    low: float,
    density: float,
    own: np.ndarray,
    lattice: np.ndarray,
    graph: np.ndarray,
    table: np.ndarray,
    cosines: np.ndarray,
    hidden: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Set the hidden layer after its activation, SiLU of the sum of the parts of pair, reference length and angle.

    :param low: lower end of the grid of cosines
    :param density: intervals per unit
    :param own: (e, W)
    :param lattice: (g, W) of the reference length of each graph
    :param graph: (e,) graph of the pair
    :param table: (points, W)
    :param cosines: (e,) of the angle between pair and reference vector
    :param hidden: (2, 2e, W/2) for keys and for messages: all pairs, then all in the other direction, with the opposite
        cosine
    """
    w, steps, pairs, width = np.empty(4, dtype=table.dtype), len(table) - 3, len(own), hidden.shape[2]
    for row in range(hidden.shape[1]):
        pair = row % pairs
        first = _grid_row(cosines[pair] if row < pairs else -cosines[pair], low, density, steps, w)
        w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
        for half in range(2):
            start, stop = half * width, (half + 1) * width
            a, b, out = own[pair, start:stop], lattice[graph[pair], start:stop], hidden[half, row]
            t0, t1 = table[first, start:stop], table[first + 1, start:stop]
            t2, t3 = table[first + 2, start:stop], table[first + 3, start:stop]
            for k in range(width):
                x = a[k] + b[k] + w0 * t0[k] + w1 * t1[k] + w2 * t2[k] + w3 * t3[k]
                out[k] = x * _sigmoid(x)


@compiled(fastmath=_FAST, error_model='numpy')
def add_messages(
    self_gated: bool,
    keys: np.ndarray,
    messages: np.ndarray,
    biases: np.ndarray,
    query: np.ndarray,
    shift: np.ndarray,
    rows: np.ndarray,
    others: np.ndarray,
    sums: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add messages times gates to the sums of their rows, with the gate of x = key · query + shift.

    :param self_gated: gates are SiLU(x) instead of the sigmoid of x
    :param keys: (2e, C)
    :param messages: (2e, C)
    :param biases: (2, C) to be added to keys and messages
    :param query: (n, C), or (n/2, C) for both halves of the rows
    :param shift: (C,)
    :param rows: (e,) row of query and sums of the first half
    :param others: (e,) the same of the second half
    :param sums: (n, C)
    """
    pairs, of_key, of_message = len(rows), biases[0], biases[1]
    for row in range(len(messages)):
        place = rows[row] if row < pairs else others[row - pairs]
        message, key, factor, out = messages[row], keys[row], query[place % len(query)], sums[place]
        if self_gated:
            for k in range(len(out)):
                x = (key[k] + of_key[k]) * factor[k] + shift[k]
                out[k] += (message[k] + of_message[k]) * x * _sigmoid(x)
        else:
            for k in range(len(out)):
                x = (key[k] + of_key[k]) * factor[k] + shift[k]
                out[k] += (message[k] + of_message[k]) * _sigmoid(x)


@compiled(fastmath=_FAST, error_model='numpy')
def set_features(before: np.ndarray, updates: np.ndarray, features: np.ndarray) -> None:  # pragma: no cover - compiled
    """Set the features of pairs after the edge layer, softplus of the sum of features before it and updates.

    :param before: (e, C)
    :param updates: (2e, C) for one direction after the other
    :param features: (2, e, C), or (1, e, C) for the mean of both directions
    """
    pairs = len(before)
    for pair in range(pairs):
        x, first, second = before[pair], updates[pair], updates[pairs + pair]
        if len(features) == 2:
            one, other = features[0, pair], features[1, pair]
            for k in range(len(x)):
                one[k] = _softplus(x[k] + first[k])
                other[k] = _softplus(x[k] + second[k])
        else:
            mean = features[0, pair]
            for k in range(len(x)):
                mean[k] = (_softplus(x[k] + first[k]) + _softplus(x[k] + second[k])) / np.float32(2)

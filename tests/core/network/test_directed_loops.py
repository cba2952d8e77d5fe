"""Compiled loops over pairs: the activations, whose exponentials and logarithms are polynomials."""

import numpy as np

from aiida_goectp.core.network.directed_loops import add_messages, hidden_of_neighbours, set_features

ARGUMENTS = np.concatenate([np.linspace(-20, 20, 4001), [-1e6, -1e4, -88, -87, 87, 88, 1e4, 1e6]]).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x.astype(np.float64), -700, 700)))


def test_activation_of_the_hidden_layer():
    """Equal to SiLU within a few units of the last digit, also where its exponential leaves the range of float32."""
    width = len(ARGUMENTS)
    edge, nothing = np.concatenate([ARGUMENTS, ARGUMENTS])[None], np.zeros((1, 2 * width), dtype=np.float32)
    hidden, atom = np.full((2, 2, width), np.nan, dtype=np.float32), np.zeros(1, dtype=np.int64)
    hidden_of_neighbours(edge, nothing, nothing, atom, atom, hidden)
    expected = ARGUMENTS * sigmoid(ARGUMENTS)
    np.testing.assert_allclose(hidden, np.broadcast_to(expected, hidden.shape), rtol=3e-6, atol=1e-30)


def test_activation_of_pairs():
    """Equal to softplus, for each direction and as their mean."""
    updates, features = np.stack([ARGUMENTS, ARGUMENTS[::-1]]), np.zeros((2, 1, len(ARGUMENTS)), dtype=np.float32)
    set_features(np.zeros((1, len(ARGUMENTS)), dtype=np.float32), updates, features)
    x = ARGUMENTS.astype(np.float64)
    softplus = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    np.testing.assert_allclose(features[:, 0], [softplus, softplus[::-1]], rtol=3e-6, atol=1e-30)
    set_features(np.zeros((1, len(ARGUMENTS)), dtype=np.float32), updates, features[:1])
    np.testing.assert_allclose(features[0, 0], (softplus + softplus[::-1]) / 2, rtol=3e-6, atol=1e-30)


def test_nan_stays():
    """In a hidden layer, in a gate, and in the features of pairs."""
    one, nan, atom = (
        np.ones((1, 16), dtype=np.float32),
        np.full((1, 16), np.nan, dtype=np.float32),
        np.zeros(1, np.int64),
    )
    hidden, sums = np.ones((2, 2, 8), dtype=np.float32), np.zeros((1, 8), dtype=np.float32)
    hidden_of_neighbours(one, nan, one, atom, atom, hidden)
    assert np.isnan(hidden).all()
    two, row = np.ones((2, 8), dtype=np.float32), one[:, :8]
    for self_gated in (False, True):
        add_messages(self_gated, two * np.nan, two, two, row, row[0], atom, atom, sums)
        assert np.isnan(sums).all()
        sums[:] = 0
    features = np.ones((2, 1, 8), dtype=np.float32)
    set_features(row, two * np.nan, features)
    assert np.isnan(features).all()


def test_gates():
    """Messages times the sigmoid or SiLU of key · query + shift, added to the rows of both directions."""
    rng = np.random.default_rng(0)
    keys, messages = rng.normal(size=(2, 4, 8)).astype(np.float32)
    biases, query, before = (rng.normal(size=(n, 8)).astype(np.float32) for n in (2, 3, 3))
    shift, rows, others = biases[0] + query[1], np.array([0, 2]), np.array([2, 1])
    for self_gated in (False, True):
        sums = before.copy()
        add_messages(self_gated, keys, messages, biases, query, shift, rows, others, sums)
        places = np.concatenate([rows, others])
        x = (keys + biases[0]) * query[places] + shift
        gates = sigmoid(x) * (x if self_gated else 1)
        expected = before.astype(np.float64)
        np.add.at(expected, places, (messages + biases[1]) * gates)
        np.testing.assert_allclose(sums, expected, atol=1e-5)

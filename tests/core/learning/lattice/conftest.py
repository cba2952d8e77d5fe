"""Labelled crystals for the tests of this folder."""

import numpy as np
import pytest

from tests.core.learning.lattice.builders import binary, labelled


@pytest.fixture(scope='module')
def data():
    rng = np.random.default_rng(0)
    constants = rng.uniform(4.0, 5.2, 24)
    crystals = [binary(a, pair) for a, pair in zip(constants, [(12, 8), (20, 8), (11, 17)] * 8, strict=True)]
    return labelled(crystals, 60 / constants, 2.0 - 0.2 * (constants - 4))

"""Deviations between tensors of many crystals."""

import numpy as np


def deviation(found, expected):
    """Return the largest deviation relative to the largest component, for each crystal."""
    scale = np.abs(expected).max(axis=(1, 2, 3))
    return np.abs(found - expected).max(axis=(1, 2, 3)) / scale

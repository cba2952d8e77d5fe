"""Which rows of a dataset are learnt from, validated on and tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('FRACTIONS', 'KINDS', 'SPLIT_PARTS', 'given_parts', 'make_split', 'reduced_formulas')

SPLIT_PARTS = ('train', 'validation', 'test')
"""parts of a split"""

KINDS = ('random', 'formula')
"""ways to make a split"""

FRACTIONS = (0.8, 0.1, 0.1)
"""of train, validation and test, as the papers have them"""


def make_split(
    crystals: CrystalSet, eligible: np.ndarray, kind: str, seed: int, fractions: Sequence[float] = FRACTIONS
) -> np.ndarray:
    """Return the part of each row; empty for a row that is not eligible.

    The split depends on the crystals and the seed, not on the order of the rows. ``formula`` deals out all crystals of
    one reduced formula together, so that no composition stands in two parts; the fractions are met as nearly as whole
    formulas allow.

    :param eligible: (n,) bool
    :param kind: one of :data:`KINDS`
    :param fractions: of train, validation and test; they add up to one
    :return: (n,) text
    :raises FormatError: an unknown kind, fractions that are none, or too few rows for the parts that were asked for
    """
    if kind not in KINDS:
        raise FormatError(f'no split is of kind {kind!r}; kinds are {", ".join(KINDS)}')
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6 or not shares[0] > 0:
        raise FormatError(f'fractions of train, validation and test: {list(fractions)}; give three that add up to 1')
    if seed < 0:
        raise FormatError(f'seed {seed}: give zero or more')
    rows = np.flatnonzero(eligible)
    keys = crystals.hashes[rows] if kind == 'random' else np.array(reduced_formulas(crystals), dtype=np.str_)[rows]
    groups, members = np.unique(keys, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    sizes = np.bincount(members, minlength=len(groups))
    parts = _deal(sizes, order, shares)
    column = np.full(len(crystals), '', dtype='<U10')
    column[rows] = np.array(SPLIT_PARTS)[parts][members]
    for name, share in zip(SPLIT_PARTS, shares, strict=True):
        if share and not (column == name).any():
            raise FormatError(f'{len(rows)} trainable rows are too few for a part {name}; leave it out, or add rows')
    return column


def _deal(sizes: np.ndarray, order: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the part (0, 1, 2) of each group, dealt out in the given order: test first, then validation, then train.

    A group of which less than half fits into a part is passed over there, so that no large one swells a small part.
    """
    wanted = shares * sizes.sum()
    parts = np.full(len(sizes), -1, dtype=np.int64)
    for part in (2, 1):
        filled = 0
        for group in order.tolist():
            if parts[group] < 0 and filled + sizes[group] / 2 <= wanted[part]:
                parts[group] = part
                filled += sizes[group]
            if filled >= wanted[part]:
                break
    return np.where(parts < 0, 0, parts)


def given_parts(parts: Mapping[str, np.ndarray], eligible: np.ndarray) -> np.ndarray:
    """Return the part of each row as somebody else has dealt them out; empty for a row that is not eligible.

    :param parts: name → rows
    :param eligible: (n,) bool
    :raises FormatError: a part of another name, a row in two parts, or nothing to learn from
    """
    column = np.full(len(eligible), '', dtype='<U10')
    for name, rows in parts.items():
        if name not in SPLIT_PARTS:
            raise FormatError(f'a split has no part {name!r}; parts are {", ".join(SPLIT_PARTS)}')
        if (column[rows] != '').any() or len(set(rows.tolist())) < len(rows):
            raise FormatError(f'a row of the part {name} stands twice in the split')
        column[rows] = name
    column[~eligible] = ''
    if not (column == 'train').any():
        raise FormatError('the split has no trainable row in its part train')
    return column


def reduced_formulas(crystals: CrystalSet) -> list[str]:
    """Return a name of each composition, the same for every cell of a crystal: numbers of its elements, reduced."""
    names = []
    for crystal in crystals:
        numbers, counts = np.unique(crystal.atomic_numbers, return_counts=True)
        divisor = gcd(*counts.tolist()) if len(counts) else 1
        names.append(' '.join(f'{z}:{count // divisor}' for z, count in zip(numbers, counts, strict=True)))
    return names

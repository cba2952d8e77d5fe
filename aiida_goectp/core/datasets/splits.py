"""Splits of a dataset into rows for training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.same_crystals import crystal_keys
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.names import SPLIT_PARTS

__all__ = ('FRACTIONS', 'KINDS', 'SPLIT_PARTS', 'given_parts', 'make_split', 'reduced_formulas')

KINDS = ('random', 'formula')
"""kinds of new splits"""

_GROUPED = {'random': 'crystals', 'formula': 'formulas'}
"""what is assigned to a part by a split of each kind"""

FRACTIONS = (0.8, 0.1, 0.1)
"""fractions of train, validation and test in the published work"""


def make_split(
    crystals: CrystalSet, eligible: np.ndarray, kind: str, seed: int, fractions: Sequence[float] = FRACTIONS
) -> np.ndarray:
    """Return the part of each row; empty for a row that is not eligible.

    The split depends on the crystals and the seed, not on the order of the rows. The kind ``random`` assigns all rows
    of one crystal to the same part, whatever their cell and functional (:func:`.crystal_keys`), the kind ``formula``
    all crystals of one reduced formula; the fractions are then approximate.

    :param eligible: (n,) bool
    :param kind: one of :data:`KINDS`
    :param fractions: of train, validation and test, with sum one
    :return: (n,) text
    :raises FormatError: an unknown kind, invalid fractions, or too few rows for a part
    """
    if kind not in KINDS:
        raise FormatError(f'unknown kind of split {kind!r}; kinds are {", ".join(KINDS)}')
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6 or not shares[0] > 0:
        raise FormatError(
            f'fractions: expected three numbers for train, validation and test with sum 1, found {list(fractions)}'
        )
    if seed < 0:
        raise FormatError(f'seed: expected zero or more, found {seed}')
    rows = np.flatnonzero(eligible)
    chosen = crystals.take(rows)
    formulas = reduced_formulas(chosen)
    keys = crystal_keys(chosen, formulas) if kind == 'random' else np.array(formulas, dtype=np.str_)
    groups, members = np.unique(keys, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    sizes = np.bincount(members, minlength=len(groups))
    parts = _assign(sizes, order, shares)
    column = np.full(len(crystals), '', dtype='<U10')
    column[rows] = np.array(SPLIT_PARTS)[parts][members]
    for name, share in zip(SPLIT_PARTS, shares, strict=True):
        if share and not (column == name).any():
            raise FormatError(
                f'{len(rows)} trainable rows of {len(groups)} {_GROUPED[kind]} are too few for the part {name}; set '
                'its fraction to 0, add rows, or give the parts'
            )
    return column


def _assign(sizes: np.ndarray, order: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the part (0, 1, 2) of each group; groups are assigned in order to test, then validation, then train.

    A group is skipped if less than half of it fits into the part, so that a large group does not enlarge a small part.
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
    """Return the part of each row of a given split; empty for a row that is not eligible.

    :param parts: name of the part → rows
    :param eligible: (n,) bool
    :raises FormatError: an unknown part, a duplicate row, or no training row
    """
    column = np.full(len(eligible), '', dtype='<U10')
    for name, rows in parts.items():
        if name not in SPLIT_PARTS:
            raise FormatError(f'unknown part {name!r}; parts are {", ".join(SPLIT_PARTS)}')
        if (column[rows] != '').any() or len(set(rows.tolist())) < len(rows):
            raise FormatError(f'part {name}: duplicate row')
        column[rows] = name
    column[~eligible] = ''
    if not (column == SPLIT_PARTS[0]).any():
        raise FormatError(f'no trainable row in the part {SPLIT_PARTS[0]}')
    return column


def reduced_formulas(crystals: CrystalSet) -> list[str]:
    """Return the reduced composition of each crystal as text; it is the same for all cells of a crystal."""
    owners = np.repeat(np.arange(len(crystals)), crystals.atom_counts)
    pairs, counts = np.unique(owners * 1000 + crystals.atomic_numbers, return_counts=True)
    rows, numbers = np.divmod(pairs, 1000)
    divisors = np.zeros(len(crystals), dtype=np.int64)
    np.gcd.at(divisors, rows, counts)
    elements: list[list[str]] = [[] for _ in range(len(crystals))]
    for row, number, count in zip(rows.tolist(), numbers.tolist(), (counts // divisors[rows]).tolist(), strict=True):
        elements[row].append(f'{number}:{count}')
    return [' '.join(names) for names in elements]

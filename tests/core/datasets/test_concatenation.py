"""Splits of concatenated datasets: what is in a part of the first one is in no other part of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from tests.core.crystals.test_matching import CELLS
from tests.core.datasets.equivalent_crystals import dataset, equivalent_crystal, rotation
from tests.core.selection.builders import crystal_set

PARTS = {'train': ['a', 'b'], 'validation': ['c'], 'test': ['d', 'e']}


def with_split() -> Dataset:
    """Return five crystals in three parts; two of one formula are in train and test, so that it is no formula split."""
    rows = list(crystal_set(4))
    rows.append(rows[0]._replace(lattice=1.3 * rows[0].lattice))
    named = [row._replace(id=name) for name, row in zip('abcde', rows, strict=True)]
    return dataset(*((row, 3 * np.eye(3), np.eye(3)) for row in named)).with_given_split('s', PARTS)


def other_forms(data: Dataset) -> Dataset:
    """Return the crystals in other cells and with another functional, and a polymorph of the last but one."""
    rows = [
        equivalent_crystal(row._replace(lattice=0.995 * row.lattice), rotation(1), CELLS['supercell'], place)[0]
        for place, row in enumerate(data.crystals)
    ]
    rows.append(data.crystals[3]._replace(lattice=1.2 * data.crystals[3].lattice))
    crystals = CrystalSet.from_crystals([row._replace(id=f'n{place}') for place, row in enumerate(rows)])
    tensors = np.tile(3 * np.eye(3), (6, 1, 1))
    return Dataset(crystals, tensors, tensors, functional=np.array(['PBE'] * 6))


@pytest.mark.parametrize(
    ('newcomers', 'expected'),
    [
        ('train', ['train', 'train', '', '', '', 'train']),
        ('test', ['', '', '', 'test', 'test', 'test']),
        ('', [''] * 6),
    ],
)
def test_rows_that_another_part_contains_are_in_no_part(newcomers, expected):
    old = with_split()
    whole = concatenate([old, other_forms(old)], newcomers)
    assert whole.splits['s'][:5].tolist() == old.splits['s'].tolist()
    assert whole.splits['s'][5:].tolist() == expected


def test_parts_do_not_change_if_rows_are_added_again():
    old = with_split()
    new = other_forms(old)
    once = concatenate([old, new], 'train')
    twice = concatenate([once, new], 'train')
    assert twice.splits['s'][:11].tolist() == once.splits['s'].tolist()
    assert twice.splits['s'][11:].tolist() == once.splits['s'][5:].tolist()

"""Merging of shards: any order gives the same result; gaps, duplicates and mixed models are refused."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.crystals.crystalset import CrystalFile
from aiida_goectp.core.dielectric.predictions import TENSORS, Predictions
from aiida_goectp.core.dielectric.shards import MergeError, merge_files, merge_predictions
from aiida_goectp.core.formats.table import TableFile
from tests.core.selection.builders import crystal_set, predictions_for, rows_of

CRYSTALS = crystal_set(9)
WHOLE = predictions_for(CRYSTALS, ionic=np.arange(9) + 1, errors=['', '', 'failed', *[''] * 6])


def same(first, second) -> bool:
    texts = all(
        getattr(first, name).tolist() == getattr(second, name).tolist() for name in ('ids', 'hashes', 'errors', 'flags')
    )
    numbers = TENSORS
    return texts and all(
        np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in numbers
    )


def merge(parts):
    return merge_predictions(parts, CRYSTALS.ids, CRYSTALS.hashes)


@given(st.permutations(range(9)), st.sets(st.integers(0, 9), max_size=4))
def test_any_partition_in_any_order(order, cuts):
    bounds = [0, *sorted(cuts), 9]
    parts = [rows_of(WHOLE, list(order[start:stop])) for start, stop in pairwise(bounds)]
    merged = merge(parts)
    assert same(merged, WHOLE)
    assert merged.model_hash == 'm'
    assert merged.settings == WHOLE.settings


def test_settings_that_differ_are_listed():
    first = rows_of(WHOLE, slice(0, 4), settings={'device': 'cuda:0', 'precision': 'float32', 'torch': '2.13'})
    second = rows_of(WHOLE, slice(4, 9), settings={'device': 'cpu', 'precision': 'float32'})
    expected = {'device': ['cpu', 'cuda:0'], 'precision': 'float32', 'torch': ['2.13', None]}
    assert merge([first, second]).settings == expected
    assert merge([second, first]).settings == expected


def assert_refused(parts, code, found):
    with pytest.raises(MergeError, match=found) as caught:
        merge(parts)
    assert caught.value.code == code


def test_gaps_are_refused():
    assert_refused([rows_of(WHOLE, slice(0, 7))], 'gap', '2 of 9 .*: c7, c8$')
    assert_refused([rows_of(WHOLE, slice(0, 2))], 'gap', '7 of 9 .*: c2, c3, c4, c5, c6, …')
    assert_refused([rows_of(WHOLE, slice(0, 0))], 'gap', '9 of 9')


def test_duplicate_rows_are_refused():
    parts = [rows_of(WHOLE, slice(0, 5)), rows_of(WHOLE, slice(4, 9))]
    assert_refused(parts, 'duplicate', 'c4: shard 0, row 4, shard 1, row 0')


def test_rows_of_other_crystals_are_refused():
    assert_refused([predictions_for(crystal_set(10))], 'foreign', r'shard 0, row 9: .*c9')
    hashes = WHOLE.hashes.copy()
    hashes[3] = '0' * 32
    parts = [rows_of(WHOLE, slice(0, 2)), rows_of(WHOLE, slice(2, 9), hashes=hashes[2:])]
    assert_refused(parts, 'foreign', f'shard 1, row 1: .*c3 .*{WHOLE.hashes[3]}')


def test_mixed_models_are_refused():
    parts = [rows_of(WHOLE, slice(0, 5)), rows_of(WHOLE, slice(5, 9), model_hash='other')]
    assert_refused(parts, 'mixed_models', 'm, other')


def test_no_parts_are_refused():
    assert_refused([], 'no_parts', '')


def test_shards_are_not_modified():
    part = rows_of(WHOLE, slice(None, None, -1))
    merged = merge([part])
    merged.ionic[:] = 0
    assert part.ids[0] == 'c8'
    assert part.ionic[0, 0, 0] == 9


def merge_as_files(folder, parts, target):
    CRYSTALS.save(folder / 'crystals.npz')
    for number, part in enumerate(parts):
        part.save(folder / f'{number}.npz')
    with CrystalFile(folder / 'crystals.npz') as rows:
        return merge_files([TableFile(Predictions, folder / f'{n}.npz') for n in range(len(parts))], rows, target)


@pytest.mark.parametrize('cuts', [(), (4,), (1, 2, 8)])
def test_files_are_merged_to_the_same_bytes(tmp_path, cuts):
    parts = [rows_of(WHOLE, slice(start, stop)) for start, stop in pairwise([0, *cuts, 9])]
    target, expected = io.BytesIO(), io.BytesIO()
    merged = merge_as_files(tmp_path, parts, target)
    whole = merge(parts)
    whole.save(expected)
    assert target.getvalue() == expected.getvalue()
    assert merged == (9, 1, 'm', whole.settings, whole.content_hash)


def test_files_in_another_order_are_left_to_the_memory(tmp_path):
    parts = [rows_of(WHOLE, slice(4, 9)), rows_of(WHOLE, slice(0, 4))]
    target = io.BytesIO()
    assert merge_as_files(tmp_path, parts, target) is None
    assert merge_as_files(tmp_path, parts[:1], target) is None
    assert not target.getvalue()

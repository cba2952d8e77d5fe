"""Hidden pool and search tasks of a dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.backtest import make_hidden_pool, make_search_task

from .toy import ROWS, toy_dataset, toy_pool, toy_settings


def test_rows_without_a_trainable_value_are_left_out():
    data = toy_dataset()
    ionic, gates = data.ionic.copy(), np.full(ROWS, '', dtype='<U40')
    ionic[3] = np.nan
    gates[[5, 6]] = 'not_finite'
    pool = make_hidden_pool(replace(data, ionic=ionic, failed_gates=gates), toy_settings())
    left = 'no value of total'
    assert pool.left_out[left] == 1
    assert len(pool.dataset) == ROWS - sum(pool.left_out.values())
    assert not {'t3'} & set(pool.dataset.crystals.ids.tolist())


def test_duplicate_crystals_are_left_out():
    data = toy_dataset()
    pool = make_hidden_pool(concatenate([data, data.take([4, 9])]), toy_settings())
    assert len(pool.dataset) == ROWS
    assert pool.left_out == {'duplicate crystal': 2}


def test_too_few_rows_are_refused():
    with pytest.raises(FormatError, match=r'30 of 30 .*40'):
        make_hidden_pool(toy_dataset(rows=30), toy_settings())


def test_missing_band_gap_is_refused():
    with pytest.raises(FormatError, match='band_gap'):
        make_hidden_pool(toy_dataset(), toy_settings(figure_of_merit='gap_total'))


def test_pool_excludes_the_start_and_the_target_is_its_best():
    pool, settings = toy_pool(), toy_settings()
    task = make_search_task(pool, settings, 0)
    assert len(task.start) == 30
    assert len(task.pool) == ROWS - 30
    assert not set(task.start.crystals.hashes) & set(task.pool.hashes)
    values = np.trace(task.hidden.total, axis1=1, axis2=2) / 3
    np.testing.assert_array_equal(np.sort(values)[::-1][:10], values[task.target])
    assert set(task.start.splits) == {'campaign'}
    assert set(task.start.splits['campaign'].tolist()) == {'train', 'validation', 'test'}


def test_task_depends_on_the_seed_and_not_on_the_row_order():
    settings, data = toy_settings(), toy_dataset()
    shuffled = data.take(np.random.default_rng(3).permutation(ROWS))
    one, two = (make_search_task(make_hidden_pool(rows, settings), settings, 1) for rows in (data, shuffled))
    other = make_search_task(make_hidden_pool(data, settings), settings, 2)
    for name in ('start', 'hidden'):
        hashes = [getattr(task, name).crystals.hashes.tolist() for task in (one, two, other)]
        assert hashes[0] == hashes[1] != hashes[2]
    np.testing.assert_array_equal(one.target, two.target)
    np.testing.assert_array_equal(one.start.splits['campaign'], two.start.splits['campaign'])


def test_found_crystals_are_the_verified_ones():
    task = make_search_task(toy_pool(), toy_settings(), 0)
    assert not task.found(task.start.crystals).any()
    np.testing.assert_array_equal(task.found(task.pool.take(task.target[[0, 4]])), np.isin(np.arange(10), [0, 4]))


def test_copy_of_a_verified_crystal_is_found():
    settings = toy_settings()
    pool = make_hidden_pool(toy_dataset(rows=70, copies=30), settings)
    task = make_search_task(pool, settings, 0)
    names = task.pool.ids.tolist()
    twins = {name: name.replace('copy', 't') if 'copy' in name else name.replace('t', 'copy') for name in names}
    pairs = [
        (target, names.index(twins[names[row]]))
        for target, row in enumerate(task.target.tolist())
        if twins[names[row]] in names
    ]
    assert pairs
    target, other = pairs[0]
    found = task.found(task.pool.take([other]))
    assert found[target]
    assert found.sum() == 1


def test_targets_are_different_crystals_that_are_not_known_at_the_start():
    pool = make_hidden_pool(toy_dataset(rows=70, copies=30), toy_settings())
    task = make_search_task(pool, toy_settings(), 0)
    originals = [name.replace('copy', 't') for name in task.pool.ids[task.target].tolist()]
    known = {name.replace('copy', 't') for name in task.start.crystals.ids.tolist()}
    assert len(set(originals) - known) == 10
    every = make_search_task(pool, toy_settings(diversity={'copies': False}), 0)
    values = np.trace(every.hidden.total, axis1=1, axis2=2) / 3
    np.testing.assert_array_equal(np.sort(values)[::-1][:10], values[every.target])
    # 40 different crystals, of which some are among the starting labels
    with pytest.raises(FormatError, match='top_k'):
        make_search_task(pool, toy_settings(top_k=40), 0)

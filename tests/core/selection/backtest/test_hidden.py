"""What a seed makes of a dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.backtest import make_hidden_pool, make_search_task

from .toy import ROWS, toy_dataset, toy_problem, toy_settings


def test_rows_without_a_usable_value_are_left_out_and_counted():
    data = toy_dataset()
    ionic, gates = data.ionic.copy(), np.full(ROWS, '', dtype='<U40')
    ionic[3] = np.nan
    gates[[5, 6]] = 'not_finite'
    problem = make_hidden_pool(replace(data, ionic=ionic, failed_gates=gates), toy_settings())
    left = 'no value of total'
    assert problem.left_out[left] == 1
    assert len(problem.dataset) == ROWS - sum(problem.left_out.values())
    assert not {'t3'} & set(problem.dataset.crystals.ids.tolist())


def test_a_crystal_that_stands_twice_counts_once():
    data = toy_dataset()
    problem = make_hidden_pool(concatenate([data, data.take([4, 9])]), toy_settings())
    assert len(problem.dataset) == ROWS
    assert problem.left_out == {'a crystal that stands there before': 2}


def test_too_few_rows_are_refused_with_their_number():
    with pytest.raises(FormatError, match=r'30 of 30 rows.*start of 30 and a top 10 need 40'):
        make_hidden_pool(toy_dataset(rows=30), toy_settings())


def test_a_missing_gap_is_refused_by_name():
    with pytest.raises(FormatError, match='band_gap'):
        make_hidden_pool(toy_dataset(), toy_settings(figure_of_merit='gap_total'))


def test_the_start_is_hidden_from_the_pool_and_the_target_is_its_best():
    problem, settings = toy_problem(), toy_settings()
    task = make_search_task(problem, settings, 0)
    assert len(task.start) == 30
    assert len(task.pool) == ROWS - 30
    assert not set(task.start.crystals.hashes) & set(task.pool.hashes)
    values = np.trace(task.hidden.total, axis1=1, axis2=2) / 3
    np.testing.assert_array_equal(np.sort(values)[::-1][:10], values[task.target])
    assert set(task.start.splits) == {'campaign'}
    assert set(task.start.splits['campaign'].tolist()) == {'train', 'validation', 'test'}


def test_the_seed_decides_and_the_order_of_rows_does_not():
    settings, data = toy_settings(), toy_dataset()
    shuffled = data.take(np.random.default_rng(3).permutation(ROWS))
    one, two = (make_search_task(make_hidden_pool(rows, settings), settings, 1) for rows in (data, shuffled))
    other = make_search_task(make_hidden_pool(data, settings), settings, 2)
    for name in ('start', 'hidden'):
        hashes = [getattr(task, name).crystals.hashes.tolist() for task in (one, two, other)]
        assert hashes[0] == hashes[1] != hashes[2]
    np.testing.assert_array_equal(one.target, two.target)
    np.testing.assert_array_equal(one.start.splits['campaign'], two.start.splits['campaign'])


def test_found_is_what_was_verified():
    task = make_search_task(toy_problem(), toy_settings(), 0)
    assert not task.found(task.start.crystals).any()
    np.testing.assert_array_equal(task.found(task.pool.take(task.target[[0, 4]])), np.isin(np.arange(10), [0, 4]))


def test_a_copy_of_a_verified_crystal_is_found():
    settings = toy_settings()
    problem = make_hidden_pool(toy_dataset(rows=70, copies=30), settings)
    task = make_search_task(problem, settings, 0)
    names = task.pool.ids.tolist()
    twins = {name: name.replace('copy', 't') if 'copy' in name else name.replace('t', 'copy') for name in names}
    pairs = [
        (place, names.index(twins[names[row]]))
        for place, row in enumerate(task.target.tolist())
        if twins[names[row]] in names
    ]
    assert pairs
    place, other = pairs[0]
    found = task.found(task.pool.take([other]))
    assert found[place]
    assert found.sum() <= 2  # itself, if it is among the best as well

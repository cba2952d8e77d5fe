"""Rows of a dataset that a training can take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.trained_rows import (
    label_counts,
    missing_labels,
    missing_labels_error,
    take_trained_rows,
    training_functionals,
)
from tests import tiny


def dataset(*names):
    data = tiny.some_dataset(12)
    column = np.array([names[row % len(names)] for row in range(12)])
    gates = np.where(np.arange(12) == 0, 'insulating', '')
    return replace(data, functional=column, failed_gates=gates).with_split('mine', 'random', 0, (1.0, 0.0, 0.0))


def test_functionals_are_given_or_that_of_most_training_rows():
    data = dataset('PBE', 'PBEsol', 'PBE')
    assert training_functionals([], data, 'mine') == ['PBE']
    assert training_functionals(['PBEsol'], data, 'mine') == ['PBEsol']


def test_rows_of_other_functionals_are_left_out_and_counted():
    data = dataset('PBE', 'PBEsol', 'PBEsol+U(Fe-d 5.3)')
    taken, left_out = take_trained_rows(data, ['PBEsol+U'])
    assert taken.functional[taken.trainable].tolist() == ['PBEsol', 'PBEsol+U(Fe-d 5.3)'] * 4
    assert taken.splits['mine'].tolist() == ['', *['train'] * 8]
    assert len(taken) == 9  # with the refused row
    assert left_out == {'PBE': 3}  # of four, one is refused


def test_a_refused_row_with_another_u_does_not_matter():
    data = dataset('PBEsol+U(Fe-d 4.0)', *['PBEsol+U(Fe-d 5.3)'] * 11)
    taken, left_out = take_trained_rows(data, ['PBEsol+U'])
    assert (len(taken), left_out) == (12, {})


def test_without_a_split_the_most_frequent_functional_is_taken():
    assert training_functionals([], dataset('PBE', 'PBEsol', 'PBE')) == ['PBE']


def test_all_rows_of_one_functional_are_taken():
    data = dataset('PBEsol')
    assert take_trained_rows(data, ['PBEsol']) == (data, {})


@pytest.mark.parametrize(
    ('kinds', 'missing', 'by_lattice'),
    [
        ({'electronic', 'ionic'}, [], []),
        ({'electronic'}, ['ionic'], ['ionic']),
        ({'ionic'}, ['electronic'], ['electronic']),
        ({'electronic', 'force_constants'}, ['ionic'], ['ionic']),
        ({'electronic', 'force_constants', 'born_charges'}, ['ionic'], []),
        ({'force_constants', 'born_charges'}, ['electronic', 'ionic'], ['electronic']),
    ],
)
def test_tensors_without_labels_by_preset(kinds, missing, by_lattice):
    data = tiny.some_dataset(4)
    unknown = np.full((4, 3, 3), np.nan)
    columns = {name: getattr(data, name) if name in kinds else unknown for name in ('electronic', 'ionic')}
    if 'born_charges' in kinds:
        columns['born_charges'] = np.zeros((len(data.crystals.atomic_numbers), 3, 3))
    if 'force_constants' in kinds:
        columns['force_constants'] = np.zeros((data.block_offsets[-1], 3, 3), np.float32)
    counts = label_counts(Dataset(data.crystals, **columns))
    assert {name for name, number in counts.items() if number} == kinds
    for preset in ('goectp', 'published', 'descriptors'):
        assert missing_labels(counts, preset) == missing
    assert missing_labels(counts, 'force_constants') == by_lattice
    assert (missing_labels_error(counts, 'force_constants') is None) == (not by_lattice)

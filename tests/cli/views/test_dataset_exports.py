"""Datasets through labelled JSON lines."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.cli.views.dataset_exports import dataset_lines
from aiida_goectp.core.datasets.calculations import import_calculations
from aiida_goectp.core.datasets.reading import read_dataset
from aiida_goectp.core.datasets.row_gates import charges_usable
from tests.rows import DATA


@pytest.fixture(scope='module')
def imported():
    """A calculation with Born charges, force constants and band gap."""
    return import_calculations([DATA / 'finished' / 'ibrav0'])[0]


def round_trip(data):
    return read_dataset('a.jsonl', b''.join(json.dumps(line).encode() + b'\n' for line in dataset_lines(data)))


@pytest.mark.parametrize(
    'gates', ['', 'ionic_symmetric', 'no_imaginary_mode', 'neutral_born_charges', 'insulating, ionic_ok', 'refused']
)
def test_labels_are_kept(imported, gates):
    data = replace(imported, failed_gates=np.array([gates]))
    back = round_trip(data)
    assert back.failed_gates.tolist() == [gates]
    assert back.trainable.tolist() == data.trainable.tolist()
    assert back.has_force_constants.tolist() == data.has_force_constants.tolist()
    assert charges_usable(back.failed_gates[0]) == charges_usable(gates)
    for name in ('electronic', 'ionic', 'born_charges', 'force_constants', 'functional', 'origin'):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    assert back.force_constants.dtype == data.force_constants.dtype
    assert set(back.crystals.properties) == {'band_gap'}


def test_gap_of_a_row_with_origin_is_not_checked(imported):
    metal = replace(imported, crystals=replace(imported.crystals, properties={'band_gap': np.zeros(1)}))
    assert round_trip(metal).trainable.tolist() == [True]
    unknown = replace(metal, origin=np.array(['']))
    assert round_trip(unknown).failed_gates.tolist() == ['insulating']


def test_rows_without_force_constants(imported):
    assert round_trip(replace(imported, force_constants=None)).force_constants is None
    lines = dataset_lines(replace(imported, force_constants=np.full((4, 3, 3), np.nan, np.float32)))
    assert [line['force_constants'] for line in lines] == [None]


def test_properties_do_not_replace_labels(imported):
    names = ('id', 'eps_ionic_fd', 'functional', 'electronic_ok', 'ionic_ok', 'failed_gates', 'born', 'electronic')
    properties = {name: np.zeros(1) for name in names}
    data = replace(imported, crystals=replace(imported.crystals, properties=properties))
    back = round_trip(data)
    assert set(back.crystals.properties) == {'electronic', *(f'property_{name}' for name in names[:-1])}
    assert back.crystals.ids.tolist() == data.crystals.ids.tolist()
    assert back.trainable.tolist() == [True]
    for name in ('electronic', 'ionic', 'born_charges', 'functional', 'failed_gates'):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))

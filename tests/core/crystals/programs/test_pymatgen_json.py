"""Objects of pymatgen in JSON, written by pymatgen and read without it."""

import gzip
import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

from aiida_goectp.core.crystals import read_bytes
from aiida_goectp.data.pymatgen_convert import from_pymatgen

SALT = Structure(
    Lattice([[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0.1]]), ['Mg2+', 'O2-'], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
ENTRY = ComputedStructureEntry(SALT, -11.5, entry_id='mp-1265', data={'band_gap': 4.5, 'energy_above_hull': 0.01})


def read(value, name='some.json'):
    return read_bytes(name, json.dumps(value).encode())


def codes(crystals):
    return [failure.code for failure in crystals.failures]


def test_structure_is_that_of_pymatgen():
    crystals = read(SALT.as_dict())
    expected = from_pymatgen(SALT)
    assert crystals.ids.tolist() == ['some']
    np.testing.assert_array_equal(crystals.lattices[0], expected.lattice)
    np.testing.assert_array_equal(crystals.atomic_numbers, expected.atomic_numbers)
    np.testing.assert_array_equal(crystals.fractional_positions, expected.fractional_positions)


def test_entry_gives_id_and_columns():
    crystals = read_bytes('some.json.gz', gzip.compress(json.dumps(ENTRY.as_dict()).encode()))
    assert crystals.ids.tolist() == ['mp-1265']
    columns = {name: column.tolist() for name, column in crystals.properties.items()}
    assert columns == {'energy': [-11.5], 'correction': [0.0], 'band_gap': [4.5], 'e_above_hull': [0.01]}


@pytest.mark.parametrize(
    ('document', 'ids'),
    [
        ([SALT.as_dict(), SALT.as_dict()], ['some@0', 'some@1']),
        ([ENTRY.as_dict(), SALT.as_dict()], ['mp-1265', 'some']),
        ({'mp-1': SALT.as_dict(), 'mp-2': SALT.as_dict()}, ['mp-1', 'mp-2']),
        ({'mp-1': {'structure': SALT.as_dict(), 'gap': 1}, 'mp-2': {'structure': SALT.as_dict()}}, ['mp-1', 'mp-2']),
        ({'material_id': 'mp-7', 'structure': SALT.as_dict(), 'initial_structures': [SALT.as_dict()]}, ['mp-7']),
        ({'task_id': 'mp-7', 'output': {'structure': SALT.as_dict(), 'bandgap': 3.0}}, ['mp-7']),
        ({'id': 3, 'before': SALT.as_dict(), 'after': SALT.as_dict()}, ['3.before', '3.after']),
        ({'@class': 'PhaseDiagram', 'all_entries': [ENTRY.as_dict(), ENTRY.as_dict()]}, ['mp-1265', 'mp-1265#2']),
        ({'columns': ['structure', 'n'], 'index': ['m-0', 'm-1'], 'data': [[SALT.as_dict(), 1.5]] * 2}, ['m-0', 'm-1']),
    ],
)
def test_containers(document, ids):
    crystals = read(document)
    assert crystals.ids.tolist() == ids
    assert crystals.failures == ()


def test_columns_of_a_table():
    rows = [[SALT.as_dict(), 1.5, 'a'], [SALT.as_dict(), 2.5, 'b']]
    crystals = read({'columns': ['structure', 'n', 'material_id'], 'data': rows})
    assert crystals.ids.tolist() == ['a', 'b']
    assert crystals.properties['n'].tolist() == [1.5, 2.5]


def changed(**site):
    value = SALT.as_dict()
    value['sites'][0] |= site
    return value


@pytest.mark.parametrize(
    ('structure', 'code'),
    [
        (changed(species=[{'element': 'Mg', 'occu': 0.5}, {'element': 'Zn', 'occu': 0.5}]), 'partial_occupancy'),
        (changed(species=[{'element': 'Mg', 'occu': 0.9}]), 'partial_occupancy'),
        (changed(species=[{'element': 'Mg', 'occu': float('nan')}]), 'partial_occupancy'),
        (changed(species=[{'element': 'Xa', 'occu': 1}]), 'unknown_element'),
        (changed(species=[{'element': ['Mg'], 'occu': 1}]), 'unknown_element'),
        (changed(species=[]), 'unreadable_row'),
        (changed(species='Mg'), 'unreadable_row'),
        (changed(species=[{'element': 'Mg'}]), 'unreadable_row'),
        (changed(abc=[0, 0]), 'unreadable_row'),
        (changed(abc=['x', 0, 0]), 'unreadable_row'),
        (changed(abc=[0.5, 0.5, 0.5]), 'atoms_too_close'),
        (SALT.as_dict() | {'lattice': {'matrix': np.eye(3).tolist(), 'pbc': [True, True, False]}}, 'not_periodic'),
        (SALT.as_dict() | {'lattice': {'a': 4}}, 'unreadable_row'),
        (SALT.as_dict() | {'sites': {}}, 'unreadable_row'),
        (SALT.as_dict() | {'sites': []}, 'no_atoms'),
    ],
)
def test_invalid_structures_are_failed_rows(structure, code):
    crystals = read([structure, SALT.as_dict()])
    assert codes(crystals) == [code]
    assert crystals.failures[0].message.startswith('some.json, [0]: ')
    assert len(crystals) == 1


@pytest.mark.parametrize('document', [{}, [], 3, 'text', {'a': {'b': [1]}}, None, {'columns': [], 'data': [1]}])
def test_no_structure(document):
    assert codes(read(document)) == ['unreadable_file']


def test_not_json():
    assert codes(read_bytes('a.json', b'{"lattice": ')) == ['unreadable_file']

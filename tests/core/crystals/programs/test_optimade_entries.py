"""Entries of OPTIMADE."""

import json

import numpy as np
import pytest

from aiida_goectp.core.crystals import read_bytes

HEADER = '{"x-optimade": {}, "columns": {"_a_gap": "band_gap"}}'
MAGNESIA = {
    'lattice_vectors': [[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]],
    'cartesian_site_positions': [[0, 0, 0], [2.1, 2.1, 2.1]],
    'species': [
        {'name': 'Mg2+', 'chemical_symbols': ['Mg'], 'concentration': [1.0]},
        {'name': 'O', 'chemical_symbols': ['O'], 'concentration': [1.0]},
    ],
    'species_at_sites': ['Mg2+', 'O'],
    'dimension_types': [1, 1, 1],
    'structure_features': [],
    '_a_gap': 7.8,
    '_a_list': [1],
}


def read(*attributes):
    entries = [{'id': f'a-{place}', 'type': 'structures', 'attributes': item} for place, item in enumerate(attributes)]
    lines = [HEADER, *map(json.dumps, entries), '{"id": "x", "type": "references"}']
    return read_bytes('some.optimade.jsonl', '\n'.join(lines).encode())


def test_entry():
    crystals = read(MAGNESIA)
    assert crystals.failures == ()
    assert crystals.ids.tolist() == ['a-0']
    assert crystals.atomic_numbers.tolist() == [12, 8]
    np.testing.assert_allclose(crystals.fractional_positions, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)
    assert {name: column.tolist() for name, column in crystals.properties.items()} == {'band_gap': [7.8]}


def kind(symbols, shares):
    return {'species': [{'name': 'Mg2+', 'chemical_symbols': symbols, 'concentration': shares}, MAGNESIA['species'][1]]}


@pytest.mark.parametrize(
    ('change', 'code'),
    [
        (kind(['Mg', 'vacancy'], [0.9, 0.1]), 'partial_occupancy'),
        (kind(['Mg'], [0.5]), 'partial_occupancy'),
        (kind(['X'], [1.0]), 'unknown_element'),
        (kind([['Mg']], [1.0]), 'unknown_element'),
        (kind([], []), 'unreadable_row'),
        ({'structure_features': ['implicit_atoms']}, 'composition_mismatch'),
        ({'structure_features': ['site_attachments']}, 'composition_mismatch'),
        ({'structure_features': ['assemblies']}, 'partial_occupancy'),
        ({'dimension_types': [1, 1, 0]}, 'not_periodic'),
        ({'lattice_vectors': None}, 'unreadable_row'),
        ({'lattice_vectors': [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}, 'bad_lattice'),
        ({'cartesian_site_positions': [[0, 0, 0]]}, 'unreadable_row'),
        ({'species_at_sites': ['Mg2+', 'S']}, 'unreadable_row'),
        ({'species': None}, 'unreadable_row'),
    ],
)
def test_invalid_entries_are_failed_rows(change, code):
    crystals = read(MAGNESIA | change, MAGNESIA)
    assert [(failure.id, failure.code) for failure in crystals.failures] == [('a-0', code)]
    assert crystals.ids.tolist() == ['a-1']

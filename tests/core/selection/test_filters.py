"""Filters: each condition, several conditions, and conditions that no crystal can meet."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from aiida_goectp.core.crystals import Crystal, CrystalSet, read_structures
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.reasons import join_reasons
from tests.rows import MP20

NUMBERS = [[12, 8], [11, 17], [38, 22, 8, 8, 8], [14]]  # MgO, NaCl, SrTiO3, Si


@pytest.fixture
def crystals():
    rows = [
        Crystal(
            f'c{row}', np.eye(3) * 9, np.array(numbers, np.int16), np.linspace(0, 0.9, 3 * len(numbers)).reshape(-1, 3)
        )
        for row, numbers in enumerate(NUMBERS)
    ]
    properties = {
        'band_gap': [7.8, 8.5, 3.2, np.nan],
        'e_above_hull': [0.0, 0.06, 0.0, 0.01],
        'spacegroup': [225, 225, 221, 227],
        'stable': [True, False, True, True],
        'name': ['periclase', 'halite', 'tausonite', ''],
    }
    return CrystalSet.from_crystals(rows, properties)


@pytest.mark.parametrize(
    ('filters', 'reasons'),
    [
        ({}, ['', '', '', '']),
        ({'min_gap': 3.2}, ['', '', '', 'band_gap missing']),
        ({'min_gap': 5}, ['', '', 'band_gap < 5', 'band_gap missing']),
        ({'max_gap': 7.8}, ['', 'band_gap > 7.8', '', 'band_gap missing']),
        ({'max_hull': 0.05}, ['', 'e_above_hull > 0.05', '', '']),
        ({'elements_all': ['O', 'Ti']}, ['lacks Ti', 'lacks O; lacks Ti', '', 'lacks O; lacks Ti']),
        ({'elements_any': ['Na', 'Si']}, ['none of Na, Si', '', 'none of Na, Si', '']),
        ({'elements_only': ['O', 'Mg', 'Na']}, ['', *['elements beyond O, Na, Mg'] * 3]),
        ({'elements_none': ['O']}, ['contains O', '', 'contains O', '']),
        ({'min_atoms': 2, 'max_atoms': 4}, ['', '', 'number of atoms > 4', 'number of atoms < 2']),
        ({'ranges': {'spacegroup': [225, None]}}, ['', '', 'spacegroup < 225', '']),
        ({'ranges': {'spacegroup': [None, 225]}}, ['', '', '', 'spacegroup > 225']),
        ({'ranges': {'stable': [1, 1]}}, ['', 'stable < 1', '', '']),
        ({'min_gap': 3, 'ranges': {'band_gap': [None, 8]}}, ['', 'band_gap > 8', '', 'band_gap missing']),
        ({'min_gap': 8, 'max_hull': 0.05}, ['band_gap < 8', 'e_above_hull > 0.05', 'band_gap < 8', 'band_gap missing']),
    ],
)
def test_reasons_of_each_condition(crystals, filters, reasons):
    assert [join_reasons(items) for items in Filters(**filters).reasons(crystals)] == reasons
    assert Filters(**filters).passes(crystals).tolist() == [not text for text in reasons]


def test_negative_distance_to_the_hull_passes(crystals):
    crystals.properties['e_above_hull'][0] = -0.1
    assert Filters(max_hull=0.0).passes(crystals)[0]


def test_missing_column_is_refused(crystals):
    with pytest.raises(FormatError, match=r"'volume'.*: band_gap, e_above_hull, name"):
        Filters(ranges={'volume': (0, 1)}).passes(crystals)
    bare = CrystalSet.from_crystals(crystals)
    with pytest.raises(FormatError, match=r"'band_gap'.*: none"):
        Filters(min_gap=1).check_columns(bare.properties)
    with pytest.raises(FormatError, match="'e_above_hull'"):
        Filters(max_hull=0.05).passes(bare)


def test_range_of_a_text_column_is_refused(crystals):
    with pytest.raises(FormatError, match=r"'name'.* text"):
        Filters(ranges={'name': (0, 1)}).passes(crystals)


@pytest.mark.parametrize(
    ('filters', 'message'),
    [
        ({'min_gapp': 1}, 'min_gapp'),
        ({'min_gap': -1}, 'min_gap'),
        ({'min_gap': float('nan')}, 'min_gap'),
        ({'min_gap': 'wide'}, 'min_gap'),
        ({'min_gap': 2, 'max_gap': 1}, 'band_gap between 2'),
        ({'min_gap': 2, 'ranges': {'band_gap': [None, 1]}}, 'band_gap between 2'),
        ({'min_atoms': 9, 'max_atoms': 3}, 'number of atoms between 9'),
        ({'min_gap': 1200}, 'band_gap between 1200'),
        ({'ranges': {'band_gap': [None, -1]}}, 'band_gap between None'),
        ({'min_atoms': 0}, 'min_atoms'),
        ({'ranges': {'n': [2, 1]}}, 'n between 2'),
        ({'ranges': {'n': [float('nan'), 1]}}, 'bound of n is NaN'),
        ({'ranges': {'n': [float('inf'), None]}}, 'n between inf and None'),
        ({'ranges': {'n': [0, -float('inf')]}}, 'n between 0.0 and -inf'),
        ({'ranges': {'n': [1]}}, 'ranges'),
        ({'elements_all': ['Xx']}, "'Xx'"),
        ({'elements_none': ['o']}, "'o'"),
        ({'elements_any': ['X']}, "'X'"),
        ({'elements_all': ['O'], 'elements_none': ['O']}, 'O is both required and excluded'),
        ({'elements_all': ['O', 'Ti'], 'elements_only': ['O']}, 'Ti is both required and excluded'),
        ({'elements_only': ['O'], 'elements_none': ['O', 'S']}, 'elements_only'),
        ({'elements_any': ['O', 'S'], 'elements_none': ['O', 'S']}, 'elements_any'),
        ({'elements_any': ['S'], 'elements_only': ['O']}, 'elements_any'),
        ({'elements_all': ['Ti', 'Ba'], 'elements_any': ['O'], 'max_atoms': 2}, 'max_atoms'),
    ],
)
def test_invalid_filters_are_refused(filters, message):
    with pytest.raises(ValidationError, match=message):
        Filters(**filters)


def test_round_trip_through_json():
    filters = Filters(min_gap=0.1, elements_none=['Pb', 'Hg', 'Pb'], ranges={'n': (None, 2.0)})
    assert Filters.model_validate_json(filters.model_dump_json()) == filters
    assert filters.elements_none == ('Hg', 'Pb')


def test_infinite_bounds_are_no_bounds():
    filters = Filters(ranges={'n': (1, float('inf')), 'm': (-float('inf'), 2)})
    assert filters.ranges == {'n': (1.0, None), 'm': (None, 2.0)}


def test_empty_crystal_set():
    assert Filters(elements_all=['O'], max_atoms=3).passes(CrystalSet.from_crystals([])).shape == (0,)


def test_common_filters_on_materials_project_crystals():
    crystals = read_structures([MP20])
    passed = Filters(min_gap=0.1, max_hull=0.05, elements_none=('Pb',)).passes(crystals)
    gaps, hulls = crystals.properties['band_gap'], crystals.properties['e_above_hull']
    lead = np.array([82 in crystal.atomic_numbers for crystal in crystals])
    assert [int(rule.sum()) for rule in (gaps < 0.1, hulls > 0.05, lead, passed)] == [105, 32, 9, 84]
    assert np.array_equal(passed, (gaps >= 0.1) & (hulls <= 0.05) & ~lead)

"""Filters: each condition alone, several at once, and the impossible refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from aiida_goectp.core.crystals import Crystal, CrystalSet, read_structures
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection import Filters

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
def test_each_condition(crystals, filters, reasons):
    assert Filters(**filters).apply(crystals).tolist() == reasons


def test_a_negative_distance_to_the_hull_passes(crystals):
    crystals.properties['e_above_hull'][0] = -0.1
    assert Filters(max_hull=0.0).apply(crystals)[0] == ''


def test_a_column_that_is_not_there_is_refused_with_those_that_are(crystals):
    with pytest.raises(FormatError, match="'volume', which the crystals lack; there are: band_gap, e_above_hull, name"):
        Filters(ranges={'volume': (0, 1)}).apply(crystals)
    bare = CrystalSet.from_crystals(crystals)
    with pytest.raises(FormatError, match="'band_gap', which the crystals lack; there are: none"):
        Filters(min_gap=1).check_columns(bare.properties)
    with pytest.raises(FormatError, match="'e_above_hull'"):
        Filters(max_hull=0.05).apply(bare)


def test_text_has_no_range(crystals):
    with pytest.raises(FormatError, match="'name', which holds text"):
        Filters(ranges={'name': (0, 1)}).apply(crystals)


@pytest.mark.parametrize(
    ('filters', 'message'),
    [
        ({'min_gapp': 1}, 'Extra inputs'),
        ({'min_gap': -1}, 'greater than or equal to 0'),
        ({'min_gap': float('nan')}, 'finite'),
        ({'min_gap': 'wide'}, 'valid number'),
        ({'min_gap': 2, 'max_gap': 1}, 'nothing can pass: band_gap between 2'),
        ({'min_gap': 2, 'ranges': {'band_gap': [None, 1]}}, 'nothing can pass: band_gap'),
        ({'min_atoms': 9, 'max_atoms': 3}, 'nothing can pass: number of atoms'),
        ({'min_atoms': 0}, 'greater than or equal to 1'),
        ({'ranges': {'n': [2, 1]}}, 'nothing can pass: n between 2'),
        ({'ranges': {'n': [float('nan'), 1]}}, 'a bound of n is NaN'),
        ({'ranges': {'n': [1]}}, 'ranges'),
        ({'elements_all': ['Xx']}, "no chemical element: 'Xx'"),
        ({'elements_none': ['o']}, "no chemical element: 'o'"),
        ({'elements_any': ['X']}, "no chemical element: 'X'"),
        ({'elements_all': ['O'], 'elements_none': ['O']}, 'nothing can pass: O is both'),
        ({'elements_all': ['O', 'Ti'], 'elements_only': ['O']}, 'nothing can pass: Ti'),
    ],
)
def test_impossible_filters_are_refused(filters, message):
    with pytest.raises(ValidationError, match=message):
        Filters(**filters)


def test_filters_survive_json():
    filters = Filters(min_gap=0.1, elements_none=['Pb', 'Hg', 'Pb'], ranges={'n': (None, 2.0)})
    assert Filters.model_validate_json(filters.model_dump_json()) == filters
    assert filters.elements_none == ('Hg', 'Pb')


def test_an_empty_set_passes_through():
    assert Filters(elements_all=['O'], max_atoms=3).apply(CrystalSet.from_crystals([])).shape == (0,)


def test_the_usual_filters_on_real_crystals(shared):
    crystals = read_structures([shared / 'data' / 'mp20_val.jsonl.gz'])
    passed = Filters(min_gap=0.1, max_hull=0.05, elements_none=('Pb',)).apply(crystals) == ''
    gaps, hulls = crystals.properties['band_gap'], crystals.properties['e_above_hull']
    lead = np.array([82 in crystal.atomic_numbers for crystal in crystals])
    assert 1000 < passed.sum() < 4000
    assert np.array_equal(passed, (gaps >= 0.1) & (hulls <= 0.05) & ~lead)

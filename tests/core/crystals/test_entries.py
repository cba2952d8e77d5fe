"""Collection of entries: the result does not depend on the blocks in which they are checked."""

from __future__ import annotations

import codecs
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.crystals import entries
from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.entries import Entry, collect

from .builders import crystal_of, rocksalt

ROWS = [
    Entry(rocksalt('a'), {'whole': 1, 'mixed': 2, 'text': 'x', 'flag': True, 'real': 0.5}, 'file, line 1'),
    Entry(rocksalt('a'), {'whole': 2, 'mixed': 'three', 'text': 'longer', 'flag': False, 'real': 1.5}, 'file, line 2'),
    Entry(Failure('a', 'unreadable_row', 'cut off'), {}, 'file, line 3'),
    Entry(rocksalt('a#2'), {'whole': 3, 'mixed': True, 'flag': True, 'real': 2.5, 'some': 2**70}, 'file, line 4'),
    Entry(crystal_of([]), {'whole': 4, 'band_gap': 1.0}, 'file, line 5'),
    Entry(rocksalt('b'), {'whole': 5, 'band_gap': 'wide'}, 'file, line 6'),
    Entry(rocksalt('b'), {'whole': 6, 'mixed': 0.25, 'text': 'y', 'flag': True, 'real': 3, 'some': 1}, 'file, line 7'),
]


@pytest.mark.parametrize('size', [1, 2, 3, 100])
def test_blocks(monkeypatch, size):
    monkeypatch.setattr(entries, '_BLOCK', size)
    found = collect(iter(ROWS))
    assert found.ids.tolist() == ['a', 'a#3', 'a#2', 'b#2']
    assert found.properties['whole'].tolist() == [1, 2, 3, 6]
    assert found.properties['whole'].dtype == np.int64
    assert found.properties['mixed'].tolist() == ['2', 'three', 'True', '0.25']
    assert found.properties['text'].tolist() == ['x', 'longer', '', 'y']
    assert found.properties['flag'].dtype == bool
    assert found.properties['real'].tolist() == [0.5, 1.5, 2.5, 3.0]
    np.testing.assert_array_equal(found.properties['some'], [np.nan, np.nan, 2.0**70, 1.0])
    assert [(failure.id, failure.code, failure.message[:12]) for failure in found.failures] == [
        ('a#4', 'unreadable_row', 'file, line 3'),
        (ROWS[4].row.id, 'no_atoms', 'file, line 5'),
        ('b', 'unreadable_property', 'file, line 6'),
    ]


@pytest.mark.parametrize(
    ('gap', 'code'), [(0, None), (25.0, None), (101, 'unreadable_property'), (1e3, 'unreadable_property')]
)
def test_an_impossible_band_gap_is_a_failure(gap, code):
    found = collect([Entry(rocksalt('a'), {'band_gap': gap}, 'file'), Entry(rocksalt('b'), {'other': 1e9}, 'file')])
    assert [failure.code for failure in found.failures] == [code] * (code is not None)
    assert len(found) == 2 - (code is not None)


def test_nothing():
    found = collect([])
    assert (len(found), len(found.failures), found.properties) == (0, 0, {})


@given(
    parts=st.lists(st.sampled_from(['\n', '\r\n', '\r', 'a', 'µ', '€', '\x0c', '\u2028', '\ud7ff', 'lattice="1 0 0"'])),
    damage=st.sampled_from([b'', b'\xb5', b'\xe2\x82', b'\xff\n']),
    mark=st.booleans(),
    size=st.integers(1, 9),
)
def test_lines_are_decoded_as_the_whole_text(parts, damage, mark, size):
    """Also where a character, or the end of a line, would be cut."""
    content = codecs.BOM_UTF8 * mark + ''.join(parts).encode() + damage
    with mock.patch.object(entries, '_DECODED_AT_ONCE', size):
        assert list(entries.decoded_lines(content)) == entries.decoded(content).splitlines()

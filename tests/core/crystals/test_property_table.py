"""Property columns from tables: separators, ids, missing values, and text among numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.crystals import Failure
from aiida_goectp.core.crystals.property_table import PropertyTable, TableSettings, add_columns
from aiida_goectp.core.crystals.readers import read_bytes
from aiida_goectp.core.formats.errors import FormatError


def read(content, **settings):
    return PropertyTable.read('t.csv', content, TableSettings(**settings))


def test_columns_are_matched_by_id(crystal_set):
    table = b'\xef\xbb\xbfid,price,colour\n# a remark\nMgO, 2.5 ,white\nbroken.cif,9,\nSi,1,grey\n'
    joined = add_columns(crystal_set, 'table.csv', table)
    np.testing.assert_array_equal(joined.properties['price'], [1, 2.5, np.nan, np.nan, np.nan, np.nan])
    assert list(joined.properties['colour']) == ['grey', 'white', '', '', '', '']
    assert set(joined.properties) == {'band_gap', 'e_above_hull', 'price', 'colour'}
    assert list(joined.hashes) == list(crystal_set.hashes)
    assert joined.failures == crystal_set.failures


@pytest.mark.parametrize(
    'content',
    [
        b'id,gap,word\nSi,1.5,x\nMgO,-2e-1,y\n',
        b'id;gap;word\nSi;1.5;x\nMgO;-2e-1;y\n',
        b'id\tgap\tword\r\nSi\t1.5\tx\r\nMgO\t-2e-1\ty\r\n',
        b'word,gap,id\nx,1.5,Si\ny,-2d-1,MgO\n',
        b'"id","gap","word"\n"Si","1.5","x"\n\n"MgO","-2E-1","y"\n',
        'id,gap,word\nSi,1.5,x\nMgO,-2e-1,y\n'.encode('utf-8-sig'),
    ],
)
def test_separators_and_order_of_columns(content):
    table = read(content)
    assert dict(table.places) == {'Si': 0, 'MgO': 1}
    assert table.columns['gap'].tolist() == [1.5, -0.2]
    assert table.columns['word'].tolist() == ['x', 'y']


def test_another_id_column():
    assert list(read(b'material,gap\nmp-1,2\n', id_column='material').places) == ['mp-1']
    with pytest.raises(FormatError, match=r"no column 'id' .*found material, gap.*--id-column"):
        read(b'material,gap\nmp-1,2\n')


def test_unknown_ids(crystal_set):
    table = read(b'id,price\nSi,1\nSilicon,2\nother,3\n')
    with pytest.raises(FormatError, match=r'2 of 3 ids are unknown, Silicon, other; .*--ignore-unknown'):
        table.add_to(crystal_set)
    joined, report = table.add_to(crystal_set, ignore_unknown=True)
    assert joined.properties['price'][0] == 1
    assert (report.rows, report.unknown, report.without_row) == (1, ('Silicon', 'other'), 5)
    assert report.columns == {'price': 'number'}


def test_row_of_an_id_that_several_crystals_had(crystal_set):
    ids = np.array(['x', 'x#2', 'y', 'z#2', 'x#3', 'w'])
    crystals = replace(crystal_set, ids=ids, failures=(Failure('y#2', 'unreadable_file', 'cut off'),))
    for ignore_unknown in (False, True):
        settings = TableSettings(ignore_unknown=ignore_unknown)
        with pytest.raises(FormatError) as caught:
            add_columns(crystals, 'p.csv', b'id,price\ny,1\nx,2\nw,3\n', settings)
        assert "2 ids are those of several crystals, 'y' (also y#2), 'x' (also x#2, x#3);" in str(caught.value)
    added = add_columns(crystals, 'p.csv', b'id,price\nx,2\nx#2,\nx#3,4\nz#2,5\n')
    assert np.array_equal(added.properties['price'], [2, np.nan, np.nan, 5, 4, np.nan], equal_nan=True)


def test_missing_values():
    column = read(b'id,gap\na,\nb,nan\nc,N/A\nd,1\n', missing=['n/a']).columns['gap']
    np.testing.assert_array_equal(column, [np.nan, np.nan, np.nan, 1])
    assert read(b'id,word\na,-\nb,x\n', missing=['-']).columns['word'].tolist() == ['', 'x']


@pytest.mark.parametrize(
    ('content', 'cells', 'remedy'),
    [
        (b'id,band_gap\nLiD,N/A\n', "line 2: 'N/A'", "--missing 'N/A'"),
        (b'id,price\na,1\n\nb,N/A\nc,?\n', "line 4: 'N/A', line 5: '\\?'", '--text-column'),
        (b'id,price\na,3.0 eV\nb,2 eV\n', "line 2: '3.0 eV', line 3: '2 eV'", 'without unit'),
        (b'id,price\na,3.0eV\n', "line 2: '3.0eV'", 'without unit'),
        (b'id;price\na;3,5\nb;4\n', "line 2: '3,5'", 'decimal point'),
        (b'id,price\na,inf\nb,2\n', "line 2: 'inf'", ''),
        (b'id,price\na,1_000\nb,2\n', "line 2: '1_000'", ''),
        ('id,price\na,\u0663\nb,2\n'.encode(), 'line 2: ', ''),
    ],
)
def test_text_among_numbers_is_named(content, cells, remedy):
    with pytest.raises(FormatError, match=rf't\.csv, column (price|band_gap): .*{cells}.*{remedy}'):
        read(content)


def test_text_columns():
    content = b'id,prototype\na,225\nb,P1\n'
    with pytest.raises(FormatError, match=r"column prototype: 1 entries .*'P1'"):
        read(content)
    assert read(content, text=['prototype']).columns['prototype'].tolist() == ['225', 'P1']
    with pytest.raises(FormatError, match=r"text\.prototyp: unknown column .*'prototype'"):
        read(content, text=['prototyp'])


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        (b'', 'id'),
        (b'id\nSi\n', 'id'),
        (b'id,gap,gap\nSi,1,2\n', 'gap, gap'),
        (b'id,gap,\nSi,1,2\n', 'gap, '),
        (b'id,gap\nSi,1,2\n', 'line 2: 3 entries, expected 2 separated by comma; .*decimal point'),
        (b'id;gap\nSi;1;2\n', 'line 2: 3 entries, expected 2 separated by semicolon'),
        (b'id,gap\nSi,1\nMgO,2\nSi,2\n', "duplicate id 'Si' in lines 2 and 4"),
        (b'id,gap\n,1\n', 'line 2: empty id'),
        (b'id,gap\nSilicon,1\n', 'Silicon'),
        (b'id,band_gap\nSi,1\n', "'band_gap'"),
        (b'id,gap\nSi,"1\nMgO,2\n', 'not a CSV table'),
        (b'id,band_gap\nMgO,nan\nrutile,1100\n', 'line 3, column band_gap: 1100 eV'),
        (b'id,gap\nSi,1e999\n', 'line 2, column gap: .*too large'),
        (b'\xff\xfei\x00d\x00', 'not a table'),
    ],
)
def test_invalid_tables_are_refused(crystal_set, content, named):
    with pytest.raises(FormatError, match=rf't\.csv.*{named}'):
        add_columns(crystal_set, 't.csv', content)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: f'id,a\n{text}'.encode())))
def test_any_content_is_a_table_or_a_format_error(content):
    try:
        table = read(content)
    except FormatError:
        return
    assert all(len(column) == len(table.places) for column in table.columns.values())


def test_text_in_a_band_gap_of_json_lines_is_a_failure():
    row = (
        '{"lattice": [[3, 0, 0], [0, 3, 0], [0, 0, 3]], "species": ["Po"], "frac_coords": [[0, 0, 0]], "band_gap": %s}'
    )
    crystals = read_bytes('d.jsonl', '\n'.join(row % value for value in ('1.5', '"N/A"', 'null')).encode())
    assert crystals.properties['band_gap'].tolist()[0] == 1.5
    assert np.isnan(crystals.properties['band_gap'][1])
    (failure,) = crystals.failures
    assert (failure.id, failure.code) == ('d@1', 'unreadable_property')
    assert "line 2: band_gap: 'N/A'" in failure.message

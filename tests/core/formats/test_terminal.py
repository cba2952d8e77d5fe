"""Text for terminals and spreadsheets."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.formats import terminal
from aiida_goectp.core.formats.terminal import RowsOnDemand, csv_cell, json_pieces, json_text, printable


@given(st.text())
def test_nothing_that_a_terminal_executes_is_left(text):
    assert printable(text).isprintable()
    assert printable(text, keep='\n').replace('\n', '').isprintable()
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('MgO', 'MgO'),
        ('ε∞ ± 3 Å', 'ε∞ ± 3 Å'),
        ('\x1b[31mred\x1b[0m', r'\x1b[31mred\x1b[0m'),
        ('\x9b2J', r'\x9b2J'),
        ('a\u202eb', r'a\u202eb'),
        ('a\nb\r', r'a\nb\r'),
        (3.5, '3.5'),
    ],
)
def test_characters_are_escaped(text, expected):
    assert printable(text) == expected


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_json_has_the_same_content(content):
    text = json_text(content, 1)
    assert json.loads(text) == content
    assert text.replace('\n', '').isprintable()
    assert ''.join(json_pieces(content, 1)) == text


def test_json_of_rows_on_demand(monkeypatch):
    monkeypatch.setattr(terminal, '_PIECE', 5)
    rows = [{'id': 'a\u202eb', 'values': [0.5, None]}, {'id': '\U000e0001', 'values': []}]
    content = {'rows': RowsOnDemand(lambda: iter(rows), 2), 'none': RowsOnDemand(list, 0)}
    pieces = list(json_pieces(content, 2))
    assert len(pieces) > 3
    assert ''.join(pieces) == json_text({'rows': rows, 'none': []}, 2)


@pytest.mark.parametrize(
    ('cell', 'expected'),
    [
        ('=1+2', "'=1+2"),
        ('@SUM(A1)', "'@SUM(A1)"),
        ('+cmd', "'+cmd"),
        ('-cmd', "'-cmd"),
        ('\t=1', "'\\t=1"),
        ('\r=1', "'\\r=1"),
        (' =1', "' =1"),
        ('\uff1d1', "'\uff1d1"),
        ('-1.5e-3', '-1.5e-3'),
        ('+7', '+7'),
        (-1.5, -1.5),
        ('MgO', 'MgO'),
        ('', ''),
        ('a\nb', r'a\nb'),
    ],
)
def test_cells_of_csv(cell, expected):
    assert csv_cell(cell) == expected


@given(st.lists(st.text(min_size=1), min_size=1))
def test_no_cell_of_csv_begins_with_a_formula(cells):
    stream = io.StringIO()
    csv.writer(stream).writerow(map(csv_cell, cells))
    for cell in next(csv.reader(io.StringIO(stream.getvalue()))):
        assert cell[0] not in '=@\t\r'
        if cell[0] in '+-':
            float(cell)

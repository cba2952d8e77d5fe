"""Plain tables: empty columns, missing values, titles."""

import numpy as np

from aiida_goectp.core.formats.text_tables import make_table, show_table, table_title, text_of


def cells(table):
    return [[str(cell) for cell in column.cells] for column in table.columns]


def test_optional_column_is_left_out_if_it_is_empty():
    columns = ['id', 'remarks', 'value']
    table = make_table('T', columns, [['a', '', 1.0], ['b', 'x', 2.0]], 2, optional=('remarks',))
    assert cells(table) == [['a', 'b'], ['', 'x'], ['1', '2']]
    table = make_table('T', columns, [['a', '', 1.0], ['b', '', 2.0]], 2, optional=('remarks',))
    assert cells(table) == [['a', 'b'], ['1', '2']]
    assert [column.justify for column in table.columns] == ['left', 'right']


def test_values_as_text():
    assert [text_of(value) for value in (None, float('nan'), np.float64(1.23456), 12345, 'x')] == [
        *('', '', '1.235', '12345', 'x'),
    ]


def test_brackets_in_an_id_are_printed(capsys):
    show_table(make_table('T', ['id'], [['[bold]a[/bold]']]))
    assert '[bold]a[/bold]' in capsys.readouterr().out


def test_title_contains_the_number_of_rows():
    assert table_title('Rows', 3, 3) == 'Rows, 3'
    assert table_title('Rows', 3, 5) == 'Rows, 3 of 5'


def test_numbers_and_ids_are_not_broken(capsys):
    columns = ['id', 'remarks', *(f'mean of quantity {place}' for place in range(5))]
    row = ['some-long-identifier', 'text of many words ' * 4, *['12.34 ± 0.56'] * 5]
    show_table(make_table('T', columns, [row, row], 2))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    assert sum(line.count('12.34 ± 0.56') for line in lines) == 10
    assert sum(row[0] in line for line in lines) == 2


def test_columns_that_do_not_fit_are_omitted_and_named(capsys):
    """The widest ones first, and never the first one."""
    columns = ['id', *(f'x{place}' for place in range(20)), 'list']
    row = ['some-long-identifier', *['12.34 ± 0.56'] * 20, '1.24±0.75, 11.24±0.75']
    show_table(make_table('T', columns, [row]))
    found = capsys.readouterr()
    assert max(map(len, found.out.splitlines())) <= 120
    assert row[0] in found.out
    shown = found.out.count('12.34 ±')
    assert 8 <= shown == found.out.count(' 0.56 ')
    assert 'list' not in found.out
    names = ['list', *(f'x{place}' for place in range(19, shown - 1, -1))]
    assert found.err.split(';')[0].endswith(f': {", ".join(names)}')


def test_a_table_that_is_too_wide_breaks_them(capsys):
    show_table(make_table('T', ['id', 'value'], [['x' * 100, '12.34 ± 0.56' * 9]], 1))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_numbers_are_broken_before_their_uncertainty_and_ids_are_not(capsys):
    columns = ['id', *(f'x{place}' for place in range(9))]
    row = ['some-long-identifier', *['12.34 ± 0.56'] * 8, '1.24±0.75, 11.24±0.75, 11.59±0.77']
    show_table(make_table('T', columns, [row, row]))
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 120
    assert output.count(row[0]) == 2
    assert output.count('12.34 ±') == output.count(' 0.56 ') == 16
    assert output.count(' 1.24±0.75,') == 2


def test_columns_move_together_before_anything_is_broken(capsys):
    row = ['some-long-identifier', *['12.34 ± 0.56'] * 6]  # 92 characters in 7 columns
    show_table(make_table('T', ['id', *map(str, range(6))], [row], 1))
    assert '   12.34 ± 0.56' in capsys.readouterr().out
    row = ['some-long-identifier', *['12.34 ± 0.56'] * 7]
    show_table(make_table('T', ['id', *map(str, range(7))], [row], 1))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '±' in line]
    assert line.split('  ') == [f' {row[0]}', *row[1:-1], f'{row[-1]} ']

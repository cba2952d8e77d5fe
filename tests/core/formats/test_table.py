"""Declared columns: checks, writing, reading, hashing and version upgrade of a table."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import read_npz, write_npz
from aiida_goectp.core.formats.table import (
    FILLED,
    Column,
    ColumnGroup,
    FloatColumn,
    JsonObject,
    Nested,
    Scalar,
    Table,
    TableFile,
    Text,
    TextColumn,
)


@dataclass(frozen=True, eq=False)
class Scores(Table):
    """Two required columns, two that version 2 added, and scalars."""

    KIND, VERSION = 'scores', 2

    ids: TextColumn
    flags: Annotated[np.ndarray, Column('<u4', fill=0, since=2)] = field(default=FILLED, kw_only=True)
    score: FloatColumn
    tensor: Annotated[np.ndarray, Column('<f8', ('rows', 3, 3), fill=np.nan, since=2)] = FILLED
    model: Text = 'none'
    gap: Annotated[float | None, Scalar('<f8', optional=True)] = None
    settings: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outer(Table):
    """A table within a table, and named columns along its axis."""

    KIND = 'outer'

    inner: Annotated[Scores, Nested(Scores)]
    weights: Annotated[np.ndarray, Column('<f8', fill=1.0, kinds='fiu')] = FILLED
    extra: Annotated[Mapping[str, np.ndarray], ColumnGroup('extra:', Column())] = field(default_factory=dict)


@pytest.fixture
def scores():
    return Scores(np.array(['a', 'bc']), np.array([1.0, np.nan]), settings={'b': [1], 'a': None}, gap=4)


def saved(table) -> io.BytesIO:
    stream = io.BytesIO()
    table.save(stream)
    stream.seek(0)
    return stream


def file_with(table, version=None, **changes) -> io.BytesIO:
    """Return the file of a table with other arrays; ``None`` removes one."""
    arrays = {**read_npz(saved(table), table.KIND, table.VERSION), **changes}
    stream = io.BytesIO()
    kept = {name: array for name, array in arrays.items() if array is not None}
    write_npz(stream, table.KIND, version or table.VERSION, kept)
    stream.seek(0)
    return stream


def test_round_trip(scores):
    back = Scores.load(saved(scores))
    assert back.ids.tolist() == ['a', 'bc']
    np.testing.assert_array_equal(back.score, scores.score)
    assert (back.model, back.gap, back.settings) == ('none', 4.0, {'b': [1], 'a': None})
    assert saved(back).getvalue() == saved(scores).getvalue()
    assert back.content_hash == scores.content_hash


def test_arrays_follow_the_class_body(scores):
    assert list(scores.arrays()) == ['ids', 'flags', 'score', 'tensor', 'model', 'gap', 'settings']
    assert 'gap' not in replace(scores, gap=None).arrays()
    assert json.loads(str(scores.arrays()['settings'])) == scores.settings


def test_defaults_fill_all_rows(scores):
    assert scores.flags.tolist() == [0, 0]
    assert scores.flags.dtype == np.uint32
    assert np.isnan(scores.tensor).all()
    assert scores.tensor.shape == (2, 3, 3)
    assert Scores.columns() == ('ids', 'flags', 'score', 'tensor')
    empty = Scores([], [])
    assert (empty.ids.dtype.kind, empty.score.dtype, empty.tensor.shape) == ('U', float, (0, 3, 3))


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'score': np.zeros(3)}, "'score'"),
        ({'score': np.zeros((2, 1))}, "'score'"),
        ({'score': np.array(['1', '2'])}, "'score'"),
        ({'score': None}, "'score'"),
        ({'tensor': np.zeros((2, 3))}, "'tensor'"),
        ({'flags': np.zeros(2)}, "'flags'"),
        ({'ids': np.arange(2)}, "'ids'"),
        ({'ids': np.array('a')}, "'ids'"),
        ({'model': 3}, "'model'"),
        ({'model': None}, "'model'"),
        ({'gap': [1.0]}, "'gap'"),
        ({'settings': [1]}, 'settings'),
    ],
)
def test_values_that_do_not_match_the_declaration_are_refused(scores, change, name):
    with pytest.raises(FormatError, match=name):
        replace(scores, **change)


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'score': np.zeros(3)}, "'score'"),
        ({'score': None}, "'score'"),
        ({'flags': None}, "'flags'"),
        ({'settings': None}, "'settings'"),
        ({'settings': np.array('{')}, 'settings'),
        ({'settings': np.array('[' * 10_000)}, 'settings'),
        ({'settings': np.array('[1]')}, 'settings'),
        ({'model': np.zeros(2)}, "'model'"),
        ({'unknown': np.zeros(2)}, 'unknown'),
    ],
)
def test_files_that_do_not_match_the_declaration_are_refused(scores, change, name):
    with pytest.raises(FormatError, match=f'scores.npz: .*{name}'):
        Scores.load(file_with(scores, **change))


def test_error_messages_begin_with_the_given_name(scores):
    with pytest.raises(FormatError, match=r'^mine: '):
        Scores.load(file_with(scores, score=np.zeros(3)), name='mine')
    with pytest.raises(FormatError, match=r'^mine: '):
        Scores.load(io.BytesIO(b'no npz'), name='mine')


def test_columns_of_later_versions_are_filled(scores):
    old = Scores.load(file_with(scores, 1, flags=None, tensor=None))
    assert old.flags.tolist() == [0, 0]
    assert saved(old).getvalue() == saved(scores).getvalue()


def test_some_columns_in_blocks(scores):
    with TableFile(Scores, file_with(scores, 1, flags=None, tensor=None)) as rows:
        blocks = list(rows.some_columns(('ids', 'flags', 'tensor'), 1))
        assert [block['ids'].tolist() for block in blocks] == [['a'], ['bc']]
        assert [block['flags'].tolist() for block in blocks] == [[0], [0]]
        assert all(block['tensor'].shape == (1, 3, 3) and np.isnan(block['tensor']).all() for block in blocks)
        assert [block.tolist() for block in rows.column('ids', 1)] == [['a'], ['bc']]


@pytest.mark.parametrize('size', [1, 2, 3, 100])
def test_some_rows(monkeypatch, size):
    """In any order, also repeated, across blocks; of a column that the file lacks, the value that fills it."""
    some = TableFile.some_columns
    monkeypatch.setattr(TableFile, 'some_columns', lambda self, names: some(self, names, size))
    monkeypatch.setattr(TableFile, 'column', lambda self, name: (block[name] for block in some(self, [name], size)))
    table = Scores([f'id{n}' for n in range(7)], np.arange(7.0))
    with TableFile(Scores, file_with(table, 1, flags=None, tensor=None)) as file:
        assert file.whole('score').tolist() == list(range(7))
        assert file.whole('flags').tolist() == [0] * 7
        for rows in ([], [3], [6, 0, 3, 3], [0, 1, 2, 3, 4, 5, 6]):
            found = file.take(np.array(rows, dtype=np.int64), ['ids', 'score', 'tensor'])
            assert found['ids'].tolist() == [f'id{n}' for n in rows]
            assert found['score'].tolist() == rows
            assert found['tensor'].shape == (len(rows), 3, 3)


def test_versions_of_the_future_are_refused(scores):
    with pytest.raises(FormatError, match='version 3'):
        Scores.load(file_with(scores, 3))


def test_nested_tables_and_column_groups(scores):
    table = Outer(scores, extra={'z': np.array([True, False]), 'a': np.array(['x', 'y'])})
    assert list(table.arrays()) == ['inner', 'weights', 'extra:a', 'extra:z']
    assert table.weights.tolist() == [1, 1]
    assert Outer(scores, [2, 3]).weights.dtype == np.float64
    back = Outer.load(saved(table))
    assert back.inner.content_hash == scores.content_hash
    assert back.extra['z'].tolist() == [True, False]
    assert back.extra['a'].tolist() == ['x', 'y']
    assert back.content_hash == table.content_hash
    assert 'inner/score' in table.arrays(unpacked=True)
    for change in ({'extra:a': np.zeros(3)}, {'extra:a': np.zeros(2, complex)}, {'weights': np.ones(3)}):
        (name,) = change
        with pytest.raises(FormatError, match=name):
            Outer.load(file_with(table, **change))
    for inner in (np.zeros(30, np.uint8), np.zeros((2, 2)), None):
        with pytest.raises(FormatError, match=r'inner|scores'):
            Outer.load(file_with(table, inner=inner))


def test_every_field_is_content(scores):
    changes = (
        {'ids': np.array(['a', 'b'])},
        {'flags': np.array([0, 1])},
        {'score': np.array([1.0, 2.0])},
        {'tensor': np.zeros((2, 3, 3))},
        {'model': 'other'},
        {'gap': None},
        {'settings': {}},
    )
    hashes = {replace(scores, **change).content_hash for change in changes}
    assert len(hashes | {scores.content_hash}) == len(changes) + 1
    outer = Outer(scores)
    assert Outer(replace(scores, model='other')).content_hash != outer.content_hash

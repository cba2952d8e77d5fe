"""Kept preparation: predictions equal to the last digit, and files that are refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.readers import read_structures
from aiida_goectp.core.crystals.validation import FLATTEST, MAX_LENGTH, MIN_DISTANCE
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.learning.batches import prepare_batch, prepared_pieces
from aiida_goectp.core.network.elements import HEAVIEST
from aiida_goectp.core.network.prepared import (
    MAX_ATOMS,
    MAX_ERROR,
    PreparedCrystals,
    PreparedFile,
    crystals_hash,
    preparation_error,
    preparation_settings,
    prepare_rows,
    write_prepared,
)
from tests import tiny

DATA = Path(__file__).parents[2] / 'data'


def packed(table: PreparedCrystals) -> bytes:
    stream = io.BytesIO()
    table.save(stream)
    return stream.getvalue()


@pytest.fixture(scope='module')
def crystals():
    """Crystals of all systems, layered ones, and invalid rows."""
    samples = read_structures([DATA / 'petousis2017_mp.jsonl.gz']).take(range(0, 109, 2))
    layered = read_structures([DATA / 'mp20.jsonl.gz']).take(range(0, 210, 3))
    rows = [*samples, *layered, *tiny.with_bad_rows()[0]]
    return CrystalSet.from_crystals([row._replace(id=str(place)) for place, row in enumerate(rows)])


@pytest.fixture(scope='module')
def file(crystals, tmp_path_factory):
    path = tmp_path_factory.mktemp('prepared') / 'prepared.npz'
    write_prepared(path, [packed(piece) for piece in prepared_pieces(crystals)], crystals_hash(crystals))
    return path


def same_arrays(one, other):
    """Assert that all arrays of two objects agree in all bits."""
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == getattr(other, name).dtype
            assert value.tobytes() == getattr(other, name).tobytes(), name


@pytest.mark.parametrize('preset', ['goectp', 'descriptors', 'force_constants'])
def test_graphs_are_equal_in_all_bits(crystals, file, preset):
    rows = np.arange(len(crystals))
    plain = prepare_batch(rows, crystals, preset)
    assert (plain.graphs.vacuum[:, 3] != 1).any()
    assert (np.diff(plain.graphs.graph_offsets) > 1).any() or preset == 'force_constants'
    with PreparedFile(file, crystals, preset) as prepared:
        kept = prepare_batch(rows, crystals, preset, prepared.reader()(len(crystals)))
        following = prepared.reader(7)
        parts = [following(count) for count in (1, 0, 50, len(crystals) - 58)]
    assert kept.errors == plain.errors
    assert sum(map(bool, kept.errors)) == 4
    same_arrays(kept.graphs, plain.graphs)
    if preset == 'force_constants':
        same_arrays(kept.graphs.cells, plain.graphs.cells)
    whole = PreparedCrystals.load(file)
    same_arrays(PreparedCrystals.concatenate(parts), whole.take(rows[7:]))


def test_the_number_of_the_preparation_changes_with_its_results(crystals):
    """The sums belong to ``PREPARATION`` 2: with other ones, increase it and set them anew."""
    table = prepare_rows(crystals.take(range(0, len(crystals), 3)))
    assert preparation_settings()['preparation'] == 2
    counts = [len(table), len(table.numbers), len(table.frames), int(table.symmetry_known.sum())]
    sums = [np.abs(array).sum() for array in (table.lattices, table.frames, table.projectors)]
    sums.append(np.cos(2 * np.pi * table.positions).sum())
    sums += [np.abs(table.rotations).sum(), np.abs(table.vacuum).sum()]
    counts += [(table.vacuum[:, 3] != 1).sum(), table.primitive_atom.sum(), table.numbers.sum()]
    assert counts == [46, 396, 47, 45, 3, 1934, 10504]
    np.testing.assert_allclose(sums, [986.430396, 1031.798413, 532.344683, 23.679895, 177.405332, 46.794257], rtol=1e-6)


def test_the_number_of_the_preparation_changes_with_what_is_refused():
    """Rows with an error are kept as well: with other limits or reasons, increase ``PREPARATION``."""
    assert preparation_settings()['preparation'] == 2
    assert (MAX_ATOMS, HEAVIEST, MIN_DISTANCE, MAX_LENGTH, FLATTEST) == (20_000, 100, 0.5, 10_000.0, 1e-6)
    errors = prepare_rows(CrystalSet.from_crystals(tiny.with_bad_rows()[0])).errors
    assert [error.partition(':')[0] for error in errors if error] == [
        'not_finite', 'bad_lattice', 'atoms_too_close', 'unknown_element',
    ]  # fmt: skip


def test_the_file_is_that_of_the_table(crystals, file):
    table = prepare_rows(crystals)
    whole = PreparedCrystals(
        **{
            name: getattr(table, name)
            for name in PreparedCrystals.stored_fields()
            if name not in ('crystals', 'settings')
        },
        crystals=crystals_hash(crystals),
        settings=preparation_settings(),
    )
    assert PreparedCrystals.load(file).content_hash == whole.content_hash
    assert file.stat().st_size < 800 * len(crystals)


def test_a_long_message_of_one_row_does_not_widen_the_table_without_bound():
    text = preparation_error(ValueError('x' * 100_000))
    assert len(text) == MAX_ERROR
    assert text.startswith('no graph could be built: ValueError: x')
    assert preparation_error(ValueError('short')).endswith('ValueError: short')


def test_a_file_without_rows(tmp_path):
    nothing = CrystalSet.from_crystals([])
    write_prepared(tmp_path / 'prepared.npz', [], crystals_hash(nothing))
    assert len(PreparedCrystals.load(tmp_path / 'prepared.npz')) == 0


def changed(name, value):
    def change(table):
        array = getattr(table, name).copy()
        array[-1] = value
        return {name: array}

    return change


@pytest.mark.parametrize(
    'change',
    [
        changed('positions', np.nan),
        changed('frames', np.inf),
        changed('lattices', 0.0),
        changed('lattices', 1e9),
        changed('numbers', 0),
        changed('numbers', 119),
        changed('primitive_atom', -1),
        changed('primitive_atom', 99),
    ],
)
def test_numbers_that_no_graph_can_be_built_of_are_refused(change):
    crystals = tiny.some_crystals(3)
    table = prepare_rows(crystals)
    values = {name: getattr(table, name) for name in PreparedCrystals.stored_fields()}
    values |= change(table) | {'crystals': crystals_hash(crystals), 'settings': preparation_settings()}
    content = io.BytesIO(packed(PreparedCrystals(**values)))
    with PreparedFile(content, crystals, 'goectp') as file, pytest.raises(FormatError):
        file.reader()(3)


@pytest.mark.parametrize('name', ['atom_offsets', 'frame_offsets', 'given_offsets', 'errors'])
def test_arrays_that_do_not_fit_together_are_refused(name):
    table = prepare_rows(tiny.some_crystals(3))
    values = {key: getattr(table, key) for key in PreparedCrystals.stored_fields()}
    values[name] = np.array(['', '', 'wrong']) if name == 'errors' else values[name][[0, 2, 1, 3]]
    with pytest.raises(FormatError):
        PreparedCrystals(**values)

"""Databases and trajectories, written by ASE."""

import json
import sqlite3

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io.trajectory import Trajectory

from aiida_goectp.core.crystals import read_bytes, read_structures

MGO = bulk('MgO', 'rocksalt', a=4.2)
SLAB = Atoms('Si', cell=[4, 4, 4], pbc=[True, True, False])


def codes(crystals):
    return [failure.code for failure in crystals.failures]


@pytest.fixture(params=['db', 'json'])
def database(request, tmp_path):
    path = tmp_path / f'some.{request.param}'
    with connect(path) as rows:
        rows.write(MGO, band_gap=7.8, name='MgO', data={'note': [1, 2]})
        rows.write(SLAB)
        rows.write(bulk('Si'), band_gap=1.1)
    return path


def test_database(database):
    crystals = read_structures([database])
    assert crystals.ids.tolist() == ['some@1', 'some@3']
    assert crystals.properties['band_gap'].tolist() == [7.8, 1.1]
    assert crystals.properties['name'].tolist() == ['MgO', '']
    np.testing.assert_array_equal(crystals.lattices[0], MGO.cell.array)
    np.testing.assert_allclose(crystals[0].fractional_positions @ crystals.lattices[0], MGO.positions, atol=1e-12)
    assert [(failure.id, failure.code) for failure in crystals.failures] == [('some@2', 'not_periodic')]


def test_reading_changes_nothing_and_leaves_no_file(database):
    before = database.read_bytes()
    read_structures([database])
    assert database.read_bytes() == before
    assert list(database.parent.iterdir()) == [database]


def with_statements(path, *statements):
    """Return the content of a database of one crystal after some statements."""
    with connect(path) as rows:
        rows.write(MGO)
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path.read_bytes()


MANY = 'WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS id, x AS numbers, x AS positions, '
COLUMNS = 'id, numbers, positions, cell, pbc'


@pytest.mark.parametrize(
    'statements',
    [
        # rows without end
        ['DROP TABLE systems', f'CREATE VIEW systems AS {MANY} x AS cell, x AS pbc, x AS key_value_pairs FROM n'],
        # 100 MB for each row
        [
            'ALTER TABLE systems RENAME TO old',
            f'CREATE TABLE systems ({COLUMNS}, key_value_pairs AS (zeroblob(100000000)))',
            f'INSERT INTO systems ({COLUMNS}) SELECT {COLUMNS} FROM old',
        ],
        ['ALTER TABLE systems DROP COLUMN cell'],
        ['DROP TABLE systems'],
    ],
    ids=['view', 'generated', 'column', 'table'],
)
def test_hostile_schemas_are_refused(tmp_path, statements):
    assert codes(read_bytes('a.db', with_statements(tmp_path / 'a.db', *statements))) == ['unreadable_file']


@pytest.mark.parametrize(
    ('change', 'code'),
    [
        ("numbers = x'00'", 'unreadable_row'),
        ("numbers = x'00000000FFFFFF7F'", 'unknown_element'),
        ('positions = NULL', 'unreadable_row'),
        ("cell = x'0000000000000000'", 'unreadable_row'),
        ('cell = zeroblob(72)', 'bad_lattice'),
        ("pbc = 'yes'", 'unreadable_row'),
        ('pbc = 3', 'not_periodic'),
        ("key_value_pairs = '[1]'", 'unreadable_row'),
        ("key_value_pairs = '{'", 'unreadable_row'),
    ],
)
def test_damaged_rows(tmp_path, change, code):
    assert codes(read_bytes('a.db', with_statements(tmp_path / 'a.db', f'UPDATE systems SET {change}'))) == [code]


@pytest.mark.parametrize('content', [b'SQLite format 3\0' + b'\0' * 500, b'text'])
def test_no_database(content):
    assert codes(read_bytes('a.db', content)) == ['unreadable_file']


def test_shapes_of_json_arrays_are_checked(tmp_path):
    with connect(tmp_path / 'a.json') as rows:
        rows.write(MGO)
    document = json.loads((tmp_path / 'a.json').read_text())
    document['1']['positions']['__ndarray__'][0] = [10**9, 3]
    assert codes(read_bytes('a.json', json.dumps(document).encode())) == ['unreadable_row']


@pytest.fixture
def trajectory(tmp_path):
    path = tmp_path / 'some.traj'
    first, second = MGO.copy(), MGO.copy()
    first.calc = SinglePointCalculator(first, energy=-12.5)
    second.set_cell(second.cell * 1.1, scale_atoms=True)
    second.info['gap'] = 2.0
    with Trajectory(path, 'w') as frames:
        for atoms in (first, second, bulk('Si'), SLAB):
            frames.write(atoms)
    return path


def test_trajectory(trajectory):
    crystals = read_structures([trajectory])
    assert crystals.ids.tolist() == ['some@0', 'some@1', 'some@2']
    assert crystals.atomic_numbers.tolist() == [12, 8, 12, 8, 14, 14]
    np.testing.assert_allclose(crystals.lattices[1], MGO.cell.array * 1.1)
    np.testing.assert_allclose(crystals[1].fractional_positions[1] % 1, [0.5, 0.5, 0.5])
    assert crystals.properties['energy'][0] == -12.5
    assert crystals.properties['gap'][1] == 2.0
    assert codes(crystals) == ['not_periodic']


@pytest.mark.parametrize('length', [0, 20, 48, 200, 1000])
def test_cut_trajectory(trajectory, length):
    assert codes(read_bytes('a.traj', trajectory.read_bytes()[:length]))


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        (b'[[2, 3], "float64", 72]', b'[[2, 3], "object_", 72]'),
        (b'[[2, 3], "float64", 72]', b'[[9, 3], "float64",  9]'),
        (b'[[2, 3], "float64", 72]', b'[[99999999,3],"f8",  0]'),
        (b'[[2, 3], "float64", 72]', b'[[2,-3], "float64", 72]'),
    ],
)
def test_arrays_are_checked(trajectory, old, new):
    content = trajectory.read_bytes()
    assert content.count(old) == 1
    assert codes(read_bytes('a.traj', content.replace(old, new)))[0] == 'unreadable_row'


def test_frames_that_share_their_bytes_are_bounded(trajectory):
    content = trajectory.read_bytes()
    offset = int(np.frombuffer(content, '<i8', 1, int(np.frombuffer(content, '<i8', 3, 24)[2]))[0])
    repeated = content[:32] + np.array([1000, len(content)], '<i8').tobytes() + content[48:]
    crystals = read_bytes('a.traj', repeated + np.full(1000, offset, '<i8').tobytes())
    assert codes(crystals) == ['unreadable_file']
    assert len(crystals) < 100

"""Readers: all formats, a code for each fault, and invalid rows do not end the batch."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter

import numpy as np
import pytest
from ase.io import write

from aiida_goectp.core.crystals import CrystalSet, Failure, read_bytes, read_contents, read_structures
from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.core.crystals.entries import Entry, collect
from aiida_goectp.core.crystals.readers import LeftOut, list_structures
from aiida_goectp.core.formats.errors import FormatError
from tests.rows import MP20, PETOUSIS

from .builders import crystal_of, rocksalt

POSCAR = """MgO
1.0
0.0 2.106 2.106
2.106 0.0 2.106
2.106 2.106 0.0
Mg O
1 1
Direct
0.0 0.0 0.0
0.5 0.5 0.5
"""


def row(**changes) -> bytes:
    crystal = rocksalt()
    data = {
        'id': 'mp-1265',
        'lattice': crystal.lattice.tolist(),
        'species': ['Mg', 'O'],
        'frac_coords': crystal.fractional_positions.tolist(),
        'band_gap': 4.45,
    }
    data.update(changes)
    return json.dumps({name: value for name, value in data.items() if value is not ...}).encode()


def only_failure(crystals: CrystalSet) -> Failure:
    assert len(crystals) == 0
    assert len(crystals.failures) == 1
    return crystals.failures[0]


def test_all_formats_give_the_same_crystal(tmp_path):
    (tmp_path / 'a.jsonl').write_bytes(row(id='a'))
    (tmp_path / 'b.jsonl.gz').write_bytes(gzip.compress(row(id='b')))
    (tmp_path / 'c.vasp').write_text(POSCAR)
    (tmp_path / 'CONTCAR').write_text(POSCAR)
    write(tmp_path / 'd.xyz', to_ase(rocksalt()), format='extxyz')
    CrystalSet.from_crystals([rocksalt('e')]).save(tmp_path / 'e.npz')
    (tmp_path / 'f.POSCAR.gz').write_bytes(gzip.compress(POSCAR.encode()))
    crystals = read_structures([tmp_path])
    assert crystals.ids.tolist() == [tmp_path.name, 'a', 'b', 'c', 'd', 'e', 'f']
    assert len(set(crystals.hashes.tolist())) == 1
    assert not crystals.failures


def test_rows_and_properties_of_a_published_table():
    crystals = read_structures([MP20])
    assert len(crystals) == 210
    assert not crystals.failures
    assert np.count_nonzero(crystals.properties['band_gap'] > 0.1) == 105
    assert {'band_gap', 'e_above_hull', 'spacegroup', 'formula'} <= set(crystals.properties)
    assert len(set(crystals.hashes.tolist())) == 210


def test_arrays_of_a_labelled_file_are_no_properties():
    crystals = read_structures([PETOUSIS])
    assert len(crystals) == 109
    assert not {'eps_total', 'eps_electronic', 'lattice', 'species'} & set(crystals.properties)
    assert crystals.properties['pot_ferroelectric'].dtype == bool


def test_the_order_is_that_of_the_files_and_repeated_ids_get_a_number():
    crystals = read_contents(
        [
            ('b.jsonl', row(id='x') + b'\n' + row(id='y')),
            ('a.jsonl', row(id='x') + b'\n' + row(id='x#2') + b'\n' + row(id='x')),
        ]
    )
    assert crystals.ids.tolist() == ['x', 'y', 'x#3', 'x#2', 'x#4']


def test_ids_of_failed_rows_count_as_well():
    crystals = read_contents([('a.vasp', b'nothing'), ('b/a.vasp', POSCAR.encode())])
    assert [failure.id for failure in crystals.failures] == ['a']
    assert crystals.ids.tolist() == ['a#2']


def test_columns_of_different_files_are_merged():
    crystals = read_contents(
        [
            ('a.jsonl', row(id='a', spacegroup=225, stable=True, name='periclase', big=10**30, nothing=None)),
            ('b.jsonl', row(id='b', band_gap=..., name=..., magnetic=False, spacegroup=225, list=[1, 2])),
        ]
    )
    columns = crystals.properties
    assert np.array_equal(columns['band_gap'], [4.45, np.nan], equal_nan=True)
    assert np.array_equal(columns['stable'], [1.0, np.nan], equal_nan=True)
    assert np.array_equal(columns['big'], [1e30, np.nan], equal_nan=True)
    assert columns['spacegroup'].dtype == np.int64
    assert columns['name'].tolist() == ['periclase', '']
    assert set(columns) == {'band_gap', 'spacegroup', 'stable', 'name', 'big', 'magnetic'}


def test_ids_and_texts_are_printable_and_short(tmp_path):
    crystals = read_bytes('a.jsonl', row(id='x\0\n', note='y' * 100_000) + b'\n' + row(id='x', note='\x1b[31mred\0'))
    assert crystals.ids.tolist() == ['x', 'x#2']
    assert crystals.properties['note'].tolist() == ['y' * 200, '[31mred']
    crystals.save(tmp_path / 'crystals.npz')
    assert CrystalSet.load(tmp_path / 'crystals.npz').ids.tolist() == ['x', 'x#2']


@pytest.mark.parametrize(
    ('line', 'code', 'named'),
    [
        (b'{"id": "mp-1", "latt', 'unreadable_row', ''),
        (row().replace(b'{', b'{"lattice": 1, ', 1), 'unreadable_row', "'lattice'"),
        (b'[1, 2]', 'unreadable_row', ''),
        (b'\xff\xfe', 'unreadable_row', ''),
        (b'[' * 100_000, 'unreadable_row', ''),
        (row(lattice=...), 'unreadable_row', 'missing lattice;'),
        (row(species=..., frac_coords=...), 'unreadable_row', 'missing species, frac_coords;'),
        (row(species='MgO'), 'unreadable_row', 'species'),
        (row(species=['Mg']), 'unreadable_row', '1 species'),
        (row(species=[], frac_coords=[]), 'no_atoms', ''),
        (row(lattice=[[1, 0], [0, 1]]), 'unreadable_row', 'lattice (2, 2)'),
        (row(lattice=[[1, 0, 0], [0, 1]]), 'unreadable_row', 'lattice'),
        (row(lattice={'a': 3}), 'unreadable_row', 'lattice'),
        (row(frac_coords=[[0, 0, 'zero'], [0, 0, 0]]), 'unreadable_row', 'frac_coords'),
        (row(frac_coords=[[0, 0, float('nan')], [0, 0, 0]]), 'not_finite', 'atom 1'),
        (row(frac_coords=[[0, 0, None], [0, 0, 0]]), 'not_finite', 'atom 1'),
        (row(lattice=np.full((3, 3), np.inf).tolist()), 'not_finite', 'lattice'),
        (row(lattice=np.zeros((3, 3)).tolist()), 'bad_lattice', ''),
        (row(frac_coords=[[0, 0, 0], [0, 0, 0.1]]), 'atoms_too_close', 'atoms 1 (Mg) and 2 (O)'),
        (row(species=['Mg', 'Xx']), 'unknown_element', "'Xx'"),
        (row(species=['Mg', 8]), 'unknown_element', '8'),
        (row(species=['Mg', {'O': 0.5, 'S': 0.5}]), 'partial_occupancy', "'S': 0.5"),
    ],
)
def test_an_invalid_line_has_a_code_and_the_others_are_read(line, code, named):
    crystals = read_bytes('some.jsonl', row(id='first') + b'\n\n' + line + b'\n' + row(id='last') + b'\n')
    assert crystals.ids.tolist() == ['first', 'last']
    (failure,) = crystals.failures
    assert failure.code == code
    assert failure.message.startswith('some.jsonl, line 3: ')
    assert named in failure.message
    assert len(failure.message) <= 400


def test_rows_without_an_id_are_numbered():
    content = b'\n'.join([row(id=...), b'rubbish', row(id=...)])
    crystals = read_bytes('folder/some.jsonl', content)
    assert crystals.ids.tolist() == ['some@0', 'some@2']
    assert crystals.failures[0].id == 'some@1'


@pytest.mark.parametrize('empty', ['', ' ', '\0'])
def test_empty_ids_are_missing_ones(empty):
    content = row(id=empty) + b'\n' + row(id='a') + b'\n' + row(id=empty)
    assert read_bytes('folder/some.jsonl', content).ids.tolist() == ['some@0', 'a', 'some@2']
    crystal = read_bytes('a.jsonl', row(id='a'))[0]
    entries = [Entry(crystal._replace(id=name), {}) for name in ('a', empty, empty)]
    assert collect(entries).ids.tolist() == ['a', 'crystal@1', 'crystal@2']


def test_deuterium_counts_as_hydrogen():
    assert read_bytes('a.jsonl', row(species=['Li', 'D'])).atomic_numbers.tolist() == [3, 1]


@pytest.mark.parametrize(
    'content',
    [
        gzip.compress(row(), mtime=0)[:-20],
        gzip.compress(row(), mtime=0)[:-4] + b'1234',
        b'no gzip at all',
        gzip.compress(row(), mtime=0) + b'rubbish',
    ],
    ids=['cut off', 'wrong checksum', 'no gzip', 'trailing bytes'],
)
def test_a_damaged_gzip_file(content):
    failure = only_failure(read_bytes('a.jsonl.gz', content))
    assert failure.code == 'unreadable_file'
    assert failure.message.startswith('a.jsonl.gz: ')


def test_several_gzip_members_are_one_file():
    assert len(read_bytes('a.jsonl.gz', gzip.compress(row(id='a') + b'\n') + gzip.compress(row(id='b')))) == 2


def test_a_gzip_file_with_too_large_content(monkeypatch):
    monkeypatch.setattr('aiida_goectp.core.crystals.readers._ALLOWANCE', 1000)
    failure = only_failure(read_bytes('a.jsonl.gz', gzip.compress(bytes(100_000))))
    assert failure.code == 'unreadable_file'
    assert len(read_bytes('a.jsonl.gz', gzip.compress(row()))) == 1


def test_crystals_of_an_npz_file_are_validated():
    bad = crystal_of([[0, 0, 0], [0, 0, 0.01]], id='bad')
    stream = io.BytesIO()
    kept = Failure('old', 'unreadable_file', 'cut off')
    CrystalSet.from_crystals([rocksalt('good'), bad], {'gap': [1.0, 2.0], 'name': ['p', 'q']}, [kept]).save(stream)
    crystals = read_bytes('set.npz', stream.getvalue())
    assert crystals.ids.tolist() == ['good']
    assert crystals.properties['gap'].tolist() == [1.0]
    assert crystals.properties['name'].tolist() == ['p']
    assert [(failure.id, failure.code) for failure in crystals.failures] == [
        ('bad', 'atoms_too_close'),
        ('old', 'unreadable_file'),
    ]
    failure = only_failure(read_bytes('set.npz', stream.getvalue()[:200]))
    assert failure.code == 'unreadable_file'
    assert failure.message.startswith('set.npz: ')


def test_a_folder_is_read_without_subfolders_hidden_and_other_files(tmp_path):
    (tmp_path / 'b.vasp').write_text(POSCAR)
    (tmp_path / 'a.vasp').write_text(POSCAR)
    (tmp_path / '.hidden.vasp').write_text(POSCAR)
    (tmp_path / 'README.md').write_text('not a structure')
    (tmp_path / 'deeper').mkdir()
    (tmp_path / 'deeper' / 'c.vasp').write_text(POSCAR)
    crystals = read_structures([tmp_path])
    assert crystals.ids.tolist() == ['a', 'b']
    assert not crystals.failures


def test_files_of_a_run_are_left_out_of_a_folder(tmp_path):
    (tmp_path / 'a.vasp').write_text(POSCAR)
    endings = (
        'lock',
        'status.json',
        'status.json.writing',
        'partial',
        'partial.old',
        'partial.old2',
        'state',
        'log.jsonl',
        'writing',
    )
    for name in ('POSCAR-1', 'out.npz'):
        for ending in endings:
            (tmp_path / f'{name}.{ending}').write_text('{}')
    listing = list_structures(tmp_path)
    assert [file.name for file in listing.files] == ['a.vasp']
    assert {item.reason for item in listing.left_out} == {LeftOut.RUN_FILE}


def test_one_file_of_a_run_is_read_in_a_folder(tmp_path):
    """The end of a relaxation, its start while there is none; files that are given are read in any case."""
    longer = POSCAR.replace('\n1.0\n', '\n1.01\n', 1)
    assert longer != POSCAR
    for folder, start, end in (('done', POSCAR, longer), ('running', POSCAR, ''), ('waiting', POSCAR, None)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'POSCAR').write_text(start)
        if end is not None:
            (tmp_path / folder / 'CONTCAR').write_text(end)
    (tmp_path / 'done' / 'POSCAR-other').write_text(POSCAR)
    listing = list_structures(tmp_path, recursive=True)
    names = [item.relative_to(tmp_path).as_posix() for item in listing.files]
    assert names == ['done/CONTCAR', 'done/POSCAR-other', 'running/POSCAR', 'waiting/POSCAR']
    left = [(item.path.relative_to(tmp_path).as_posix(), item.reason) for item in listing.left_out]
    assert left == [('done/POSCAR', LeftOut.SAME_CRYSTAL), ('running/CONTCAR', LeftOut.SAME_CRYSTAL)]
    assert len(read_structures([tmp_path / 'done' / 'POSCAR', tmp_path / 'done' / 'CONTCAR'])) == 2


def test_sources_without_a_crystal_are_refused(tmp_path):
    with pytest.raises(FormatError, match=r'\.npz, \.jsonl, \.cif'):
        read_structures([tmp_path])
    with pytest.raises(FormatError, match=r'none\.cif'):
        read_structures([tmp_path / 'none.cif'])
    with pytest.raises(FormatError):
        read_structures([])
    (tmp_path / 'a.vasp').write_text(POSCAR[:60])
    (tmp_path / 'b.vasp').write_text(POSCAR.replace('Mg O', 'Mg Xx'))
    with pytest.raises(FormatError, match='unreadable_file') as caught:
        read_structures([tmp_path])
    assert f"unknown_element: {tmp_path / 'b.vasp'}: line 6: 'Xx'" in str(caught.value)


def test_a_file_of_unknown_format_is_a_failure(tmp_path):
    (tmp_path / 'a.vasp').write_text(POSCAR)
    (tmp_path / 'b.pdf').write_bytes(b'%PDF')
    crystals = read_structures([tmp_path / 'b.pdf', tmp_path / 'a.vasp'])
    assert crystals.ids.tolist() == ['a']
    assert crystals.failures[0].code == 'unknown_format'
    assert '.cif' in crystals.failures[0].message


def test_real_files_damaged_at_random_never_end_the_batch():
    """Every row becomes a crystal or a failure."""
    with gzip.open(MP20) as stream:
        lines = [next(stream) for _ in range(40)]
    rng = np.random.default_rng(0)
    codes: Counter[str] = Counter()
    for _ in range(20):
        damaged = []
        for line in lines:
            content = bytearray(line.rstrip(b'\n'))
            for place in rng.integers(0, len(content), 3):
                content[place] = rng.choice(list(b'0123456789.-[]{}",xyzN'))
            damaged.append(bytes(content))
        crystals = read_bytes('damaged.jsonl', b'\n'.join(damaged))
        assert len(crystals) + len(crystals.failures) == len(lines)
        codes.update(failure.code for failure in crystals.failures)
    assert codes['unreadable_row'] > 100

"""Readers of POSCAR and extended XYZ: spellings, frames, and a code for each fault."""

from __future__ import annotations

import io

import numpy as np
import pytest
from ase.io import write

from aiida_goectp.core.crystals import read_bytes
from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.core.crystals.structurefiles import comment_entries
from tests.rows import PETOUSIS

from .builders import rocksalt

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

FRAME = (
    '2\nLattice="0.0 2.1 2.1 2.1 0.0 2.1 2.1 2.1 0.0" Properties=species:S:1:pos:R:3 '
    'band_gap=4.5 stable=T name=periclase count=3 tensor="1 2 3 4" pbc="T T T"\n'
    'Mg 0.0 0.0 0.0\nO 2.1 2.1 2.1\n'
)


def poscar(text, name='some.vasp'):
    return read_bytes(name, text.encode())


def xyz(text):
    return read_bytes('some.extxyz', text.encode())


def assert_fails(crystals, code, named=''):
    assert len(crystals) == 0
    (failure,) = crystals.failures
    assert failure.code == code, failure
    assert failure.message.startswith('some.')
    assert named in failure.message


@pytest.mark.parametrize(
    'text',
    [
        POSCAR,
        POSCAR.replace('Mg O\n1', '1').replace('MgO\n', 'Mg O\n'),  # VASP 4: the symbols are the comment
        POSCAR.replace('Direct', 'Selective dynamics\nDirect').replace(
            '0.0 0.0 0.0\n0.5 0.5 0.5', '0.0 0.0 0.0 T T F\n0.5 0.5 0.5 F F F'
        ),
        POSCAR.replace('Direct', 'Cartesian').replace('0.5 0.5 0.5', '2.106 2.106 2.106'),
        POSCAR.replace('\n1.0\n', '\n2.0\n').replace('2.106', '1.053'),
        POSCAR.replace('\n1.0\n', f'\n-{2 * 2.106**3!r}\n').replace('2.106', '1.0'),
        POSCAR.replace('Mg O', 'Mg_pv/1a2b O_s/3c4d'),
        POSCAR.replace('1 1', '1 1 ! a comment'),
        POSCAR + '\n  0.1 0.2 0.3\n  0.1',  # velocities, cut off
        POSCAR.replace('\n', '\r\n'),
        POSCAR.replace('0.0 0.0 0.0', '0.0 0.0 0.0 Mg').replace('0.5 0.5 0.5', '0.5 0.5 0.5 O'),
        POSCAR.replace('0.0 0.0 0.0', '0.0 0.0 0.0 F F F'),
    ],
    ids=[
        *('plain', 'vasp4', 'selective', 'cartesian', 'scale', 'volume', 'potcar', 'comment', 'velocities', 'crlf'),
        *('symbols', 'flags'),
    ],
)
def test_spellings_of_one_poscar(text):
    (crystal,) = poscar(text)
    assert crystal.id == 'some'
    assert np.allclose(crystal.lattice, rocksalt().lattice, atol=1e-12)
    assert crystal.atomic_numbers.tolist() == [12, 8]
    assert np.allclose(crystal.fractional_positions, rocksalt().fractional_positions, atol=1e-12)


def test_a_left_handed_lattice_is_kept():
    (crystal,) = poscar(POSCAR.replace('0.0 2.106 2.106\n2.106 0.0 2.106', '2.106 0.0 2.106\n0.0 2.106 2.106'))
    assert np.linalg.det(crystal.lattice) < 0
    assert crystal.lattice[0].tolist() == [2.106, 0.0, 2.106]


@pytest.mark.parametrize('name', ['POSCAR', 'CONTCAR', 'POSCAR_MgO', 'x/y/POSCAR.relaxed', 'a.poscar', 'A.VASP'])
def test_names_of_a_poscar(name):
    assert len(poscar(POSCAR, name)) == 1


@pytest.mark.parametrize(
    ('text', 'code', 'named'),
    [
        ('', 'empty_file', ''),
        (POSCAR[:30], 'unreadable_file', 'line 6'),
        (POSCAR[: POSCAR.index('Direct')], 'unreadable_file', '2 atoms'),
        (POSCAR[: POSCAR.index('0.5 0.5')], 'unreadable_file', '2 atoms'),
        (POSCAR[: POSCAR.index('.5 0.5\n')], 'unreadable_file', ''),
        (POSCAR.replace('1 1', '1 999999999999'), 'unreadable_file', '1000000000000 atoms'),
        (POSCAR.replace('1 1', '-1 1'), 'unreadable_file', 'line 6'),
        (POSCAR.replace('Mg O', 'Mg O K'), 'unreadable_file', '3 chemical symbols'),
        (POSCAR.replace('Mg O', 'Mg'), 'unreadable_file', '1 chemical symbols'),
        (POSCAR.replace('1 1', '0 0'), 'no_atoms', ''),
        (POSCAR.replace('1 1', '1 0'), 'unreadable_file', 'line 10'),
        (POSCAR.replace('0.0 0.0 0.0', '0.0 0.0 0.0 Ca'), 'unreadable_file', 'Ca beside'),
        (POSCAR.replace('Mg O\n1', '1').replace('MgO', 'my best'), 'unknown_element', ''),
        (POSCAR.replace('Mg O', 'Mg Xx'), 'unknown_element', "'Xx'"),
        (POSCAR.replace('Mg O', 'Mg O2-'), 'unknown_element', "'O2-'"),
        (POSCAR.replace('Mg O', 'Mg H.5'), 'unknown_element', "line 6: 'H.5'"),
        (POSCAR.replace('0.5 0.5 0.5', '0.5 nan 0.5'), 'not_finite', 'atom 2'),
        (POSCAR.replace('0.5 0.5 0.5', '0.0 0.0 0.05'), 'atoms_too_close', 'Å'),
        (POSCAR.replace('2.106 2.106 0.0', '0.0 2.106 2.106'), 'bad_lattice', ''),
        (POSCAR.replace('2.106', 'nan'), 'bad_lattice', ''),
        (POSCAR.replace('\n1.0\n', '\n0.0\n'), 'bad_lattice', ''),
        (POSCAR.replace('\n1.0\n', '\none\n'), 'unreadable_file', ''),
    ],
)
def test_faults_of_a_poscar(text, code, named):
    assert_fails(poscar(text), code, named)


def test_symbols_are_not_taken_from_other_files(tmp_path, monkeypatch):
    """ASE reads a POTCAR in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'POTCAR').write_text(' TITEL  = PAW_PBE Mg 13Apr2007\n TITEL  = PAW_PBE O 08Apr2002\n')
    assert_fails(poscar(POSCAR.replace('Mg O\n1', '1').replace('MgO', 'O')), 'unknown_element')


def test_lattice_positions_and_scalars_of_a_frame():
    crystals = xyz(FRAME)
    (crystal,) = crystals
    assert crystal.id == 'some'
    assert np.array_equal(crystal.lattice, rocksalt(edge=4.2).lattice)
    assert np.allclose(crystal.fractional_positions, rocksalt().fractional_positions)
    columns = {name: column[0] for name, column in crystals.properties.items()}
    assert columns == {'band_gap': 4.5, 'stable': True, 'name': 'periclase', 'count': 3}


def test_several_frames_are_numbered_from_zero():
    crystals = xyz(FRAME + FRAME.replace('4.5', '5.5').replace('periclase', 'b') + '\n' + FRAME.replace('stable=T', ''))
    assert crystals.ids.tolist() == ['some@0', 'some@1', 'some@2']
    assert crystals.properties['band_gap'].tolist() == [4.5, 5.5, 4.5]
    assert np.array_equal(crystals.properties['stable'], [1.0, 1.0, np.nan], equal_nan=True)


@pytest.mark.parametrize('number', [1, 2])
def test_ids_of_the_comment_line(number):
    crystals = xyz(FRAME.replace('band_gap', 'id=mp-1 band_gap') + FRAME.replace('band_gap', 'id=12 band_gap') * number)
    assert crystals.ids.tolist() == ['mp-1', '12', '12#2'][: number + 1]
    assert 'id' not in crystals.properties
    broken = FRAME.replace('band_gap', 'id="a b" band_gap').replace('O 2.1', 'O nan')
    assert xyz(FRAME + broken).failures[0].id == 'a b'


TEXTS = ['007', '1e5', 'T', 'nan', '1 2', '1,2', 'T F', 'a = b', '=b', 'C:\\x', 'say "x"', "it's", '_JSON 1', 'é{]', '']


def test_comment_entries_are_read_again():
    numbers = [1.5, np.nan, np.inf, -1e-300, *np.linspace(0, 1, 11)]
    names = {'energy': 'property_energy', 'free_energy': 'property_free_energy', 'stress': 'property_stress'}
    names |= {'Lattice': 'property_Lattice', 'id': 'property_id', 'uid': 'property_uid', 'a = b': 'a = b'}
    frames = []
    for row, text in enumerate(TEXTS):
        atoms = to_ase(rocksalt())
        columns = dict.fromkeys(names, numbers[row]) | {'Lattice': text, 'text': text, 'ok': row % 2 == 0, 'n': row}
        atoms.info = comment_entries(text or 'last', columns)
        frames.append(atoms)
    stream = io.StringIO()
    write(stream, frames, format='extxyz')
    crystals = xyz(stream.getvalue())
    assert crystals.failures == ()
    assert crystals.ids.tolist() == [*TEXTS[:-1], 'last']
    assert set(crystals.properties) == {*names.values(), 'text', 'ok', 'n'}
    for name in ('text', 'property_Lattice'):
        assert crystals.properties[name].tolist() == TEXTS
    assert crystals.properties['ok'].tolist() == [row % 2 == 0 for row in range(len(TEXTS))]
    assert crystals.properties['n'].tolist() == list(range(len(TEXTS)))
    for name in names.keys() - {'Lattice'}:
        assert np.array_equal(crystals.properties[names[name]], numbers, equal_nan=True)


@pytest.mark.parametrize(
    ('entry', 'id'),
    [
        ('id=007', '007'),
        ('id = 1e5', '1e5'),
        ('id="1 2"', '1 2'),
        ('id=T', 'T'),
        ('id=1.5', '1.5'),
        ("note='the id=3 of' id=0x1 uid=5", '0x1'),
        ('uid=5 Uid=6 id=-0', '-0'),
        ('note="id=3"', 'some'),
        ('myid=3', 'some'),
        ('id="_JSON [1]"', 'some'),
    ],
)
def test_ids_are_read_as_they_are_written(entry, id):
    crystals = xyz(FRAME.replace('name=periclase', entry))
    assert crystals.ids.tolist() == [id]
    assert crystals.properties['count'].tolist() == [3]
    assert 'id' not in crystals.properties


def test_files_written_by_ase_are_read():
    source = read_bytes('a.jsonl.gz', PETOUSIS.read_bytes()).take(range(50))
    stream = io.StringIO()
    write(stream, [to_ase(crystal) for crystal in source], format='extxyz')
    back = xyz(stream.getvalue())
    assert len(back) == 50
    for first, second in zip(source, back, strict=True):
        assert np.allclose(first.lattice, second.lattice, atol=1e-8)
        assert np.array_equal(first.atomic_numbers, second.atomic_numbers)
        assert np.allclose(first.fractional_positions, second.fractional_positions, atol=1e-7)


@pytest.mark.parametrize(
    ('frame', 'code', 'named'),
    [
        (FRAME.replace('Lattice=', 'Lettuce='), 'bad_lattice', 'Lattice='),
        ('2\nwater\nMg 0 0 0\nO 2.1 2.1 2.1\n', 'bad_lattice', 'Lattice='),
        (FRAME.replace('2.1 0.0"', '"'), 'unreadable_row', ''),
        (FRAME.replace('T T T', 'T T F'), 'not_periodic', '[True, True, False]'),
        (FRAME.replace('O 2.1', 'Xx 2.1'), 'unknown_element', "'Xx'"),
        (FRAME.replace('O 2.1', 'X 2.1'), 'unknown_element', 'atom 2'),
        (FRAME.replace('O 2.1', 'O nan'), 'not_finite', 'atom 2'),
        (FRAME.replace('O 2.1', 'O two'), 'unreadable_row', ''),
        (FRAME.replace('O 2.1 2.1 2.1', 'O 0.1 0.0 0.0'), 'atoms_too_close', '0.100 Å'),
        (FRAME.replace('O 2.1 2.1 2.1', 'O 2.1'), 'unreadable_row', ''),
        (FRAME.replace('count=3', 'count=3 count=4'), 'unreadable_row', "'count'"),
        (FRAME.replace('count=3', 'lattice="9 0 0 0 9 0 0 0 9"'), 'unreadable_row', "'lattice'"),
        (
            FRAME.replace('pos:R:3', 'pos:R:3:Z:I:1').replace('0.0\nO', '0.0 12\nO').replace('2.1\n', '2.1 16\n'),
            'unreadable_row',
            'atomic number 16',
        ),
        (FRAME.replace('2.1 2.1 0.0"', '0.0 2.1 2.1"'), 'bad_lattice', ''),
        (
            FRAME.replace('pos:R:3', 'pos:R:3:occupancy:R:1')
            .replace('0.0\nO', '0.0 0.5\nO')
            .replace('2.1\n', '2.1 1\n'),
            'partial_occupancy',
            '0.5',
        ),
    ],
)
def test_an_invalid_frame_does_not_end_the_file(frame, code, named):
    crystals = xyz(FRAME + frame + FRAME)
    assert crystals.ids.tolist() == ['some@0', 'some@2']
    (failure,) = crystals.failures
    assert (failure.id, failure.code) == ('some@1', code), failure
    assert failure.message.startswith('some.extxyz, frame 1: ')
    assert named in failure.message


def test_a_frame_with_more_rows_than_announced_is_refused():
    """Its crystal would lack an atom."""
    crystals = xyz(FRAME + FRAME.replace('2\n', '1\n', 1) + FRAME)
    assert crystals.ids.tolist() == ['some@0']
    (failure,) = crystals.failures
    assert (failure.id, failure.code) == ('some@1', 'unreadable_file')
    assert 'line 8' in failure.message


def test_complete_frames_of_a_truncated_file_are_kept():
    crystals = xyz(FRAME + FRAME[:-20])
    assert crystals.ids.tolist() == ['some@0']
    assert crystals.failures[0].code == 'unreadable_file'
    assert 'some.extxyz, frame 1: ' in crystals.failures[0].message
    assert 'line 5' in crystals.failures[0].message
    crystals = xyz(FRAME + 'rubbish\n' + FRAME)
    assert len(crystals) == 1
    assert "line 5: expected a number of atoms, found 'rubbish'" in crystals.failures[0].message


@pytest.mark.parametrize('text', ['99999999999\n', '\0\1', '²\n'])
def test_a_file_without_frames(text):
    assert_fails(xyz(text), 'unreadable_file')


def test_title_is_no_list_of_species_unless_it_fits_the_numbers():
    text = POSCAR.replace('Mg O\n1 1', '1 1')
    assert_fails(poscar(text.replace('MgO', 'In plane strained Mg O film')), 'unknown_element')
    assert poscar(text.replace('MgO', 'Mg O'))[0].atomic_numbers.tolist() == [12, 8]


@pytest.mark.parametrize('isotope', ['D', 'T'])
def test_isotopes_of_hydrogen(isotope):
    assert poscar(POSCAR.replace('Mg O', f'Mg {isotope}'))[0].atomic_numbers.tolist() == [12, 1]
    assert xyz(FRAME.replace('O 2.1', f'{isotope} 2.1'))[0].atomic_numbers.tolist() == [12, 1]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'latin-1'])
def test_encodings_and_line_ends(encoding):
    for name, text in (('POSCAR', POSCAR.replace('MgO', 'MgO é')), ('some.extxyz', FRAME.replace('periclase', 'é'))):
        assert len(read_bytes(name, text.replace('\n', '\r\n').encode(encoding))) == 1


def test_announced_columns_must_exist():
    crystals = xyz(FRAME.replace('pos:R:3', 'pos:R:3:foo:R:100000000'))
    assert [failure.code for failure in crystals.failures] == ['unreadable_row']

"""Inputs of phonopy, Quantum ESPRESSO and FHI-aims."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_goectp.core.crystals import read_bytes, read_structures
from aiida_goectp.core.crystals.programs.units import BOHR

FCC = (np.ones((3, 3)) - np.eye(3)) * 2.1
PW = """&system
  ibrav = 0, nat = 2, ntyp = 2, ecutwfc = 30 ! celldm
/
ATOMIC_SPECIES
Mg1 24.305 mg.upf
O 15.999 o.upf
ATOMIC_POSITIONS crystal
Mg1 0 0 0
O 0.5 1/2 0.5
CELL_PARAMETERS angstrom
0 2.1 2.1
2.1 0 2.1
2.1 2.1 0
"""
AIMS = """lattice_vector 0 2.1 2.1
lattice_vector 2.1 0 2.1
lattice_vector 2.1 2.1 0
atom 0 0 0 Mg
  initial_moment 1
atom 2.1 2.1 2.1 O
"""


def code(name, text):
    (failure,) = read_bytes(name, text.encode()).failures
    return failure.code


def check_magnesia(crystals):
    assert crystals.failures == ()
    np.testing.assert_allclose(crystals.lattices, [FCC])
    assert crystals.atomic_numbers.tolist() == [12, 8]
    np.testing.assert_allclose(crystals.fractional_positions, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)


@pytest.mark.parametrize(
    ('name', 'text', 'id'),
    [
        ('MgO/pw.in', PW, 'MgO'),
        ('b.pw.in', PW, 'b'),
        ('b.pwi', PW, 'b'),
        ('MgO/geometry.in', AIMS, 'MgO'),
        ('MgO/geometry.in.next_step', AIMS, 'MgO'),
        ('b.geometry.in', AIMS.replace('atom 2.1 2.1 2.1', 'atom_frac .5 .5 .5').replace('atom 0', 'atom_frac 0'), 'b'),
    ],
)
def test_inputs(name, text, id):
    crystals = read_bytes(name, text.encode())
    check_magnesia(crystals)
    assert crystals.ids.tolist() == [id]


def test_inputs_written_by_ase(tmp_path):
    atoms = bulk('GaAs', 'zincblende', a=5.65)
    write(tmp_path / 'a.pwi', atoms, format='espresso-in', pseudopotentials={'Ga': 'ga.upf', 'As': 'as.upf'})
    write(tmp_path / 'b.geometry.in', atoms, format='aims')
    crystals = read_structures([tmp_path])
    assert crystals.ids.tolist() == ['a', 'b']
    for crystal in crystals:
        np.testing.assert_allclose(crystal.lattice, atoms.cell.array, atol=1e-8)
        np.testing.assert_allclose(crystal.fractional_positions @ crystal.lattice, atoms.positions, atol=1e-8)


@pytest.mark.parametrize(
    ('old', 'new', 'expected'),
    [
        ('ibrav = 0', 'ibrav = 2', 'unreadable_file'),
        ('ibrav = 0', 'ibrav = 2, A = 4.2', 'unreadable_file'),
        ('ibrav = 0', 'ibrav = 0, space_group = 225', 'unreadable_file'),
        ('ibrav = 0, ', '', 'unreadable_file'),
        ('nat = 2', 'nat = 999999999', 'unreadable_file'),
        ('nat = 2', 'nat = 3', 'unreadable_file'),
        ('O 0.5 1/2 0.5\n', '', 'unreadable_file'),
        ('Mg1 0', 'Xa 0', 'unknown_element'),
        ('2.1 2.1 0\n', '2.1 0 2.1\n', 'bad_lattice'),
    ],
)
def test_invalid_inputs_of_quantum_espresso(old, new, expected):
    assert old in PW
    assert code('a.pwi', PW.replace(old, new)) == expected


# ibrav, celldm 2 to 6, and the axes that pw.x 6.7 printed for them, in units of celldm(1)
LATTICES = """\
1 - 1 0 0 0 1 0 0 0 1
2 - -.5 0 .5 0 .5 .5 -.5 .5 0
3 - .5 .5 .5 -.5 .5 .5 -.5 -.5 .5
-3 - -.5 .5 .5 .5 -.5 .5 .5 .5 -.5
4 ,1.6 1 0 0 -.5 .866025 0 0 0 1.6
5 ,,.3 .591608 -.341565 .730297 0 .68313 .730297 -.591608 -.341565 .730297
-5 ,,.3 -.136136 .700524 .700524 .700524 -.136136 .700524 .700524 .700524 -.136136
6 ,1.3 1 0 0 0 1 0 0 0 1.3
7 ,1.3 .5 -.5 .65 .5 .5 .65 -.5 -.5 .65
8 1.2,1.3 1 0 0 0 1.2 0 0 0 1.3
9 1.2,1.3 .5 .6 0 -.5 .6 0 0 0 1.3
-9 1.2,1.3 .5 -.6 0 .5 .6 0 0 0 1.3
91 1.2,1.3 1 0 0 0 .6 -.65 0 .6 .65
10 1.2,1.3 .5 0 .65 .5 .6 0 0 .6 .65
11 1.2,1.3 .5 .6 .65 -.5 .6 .65 -.5 -.6 .65
12 1.2,1.3,.2 1 0 0 .24 1.175755 0 0 0 1.3
-12 1.2,1.3,,.2 1 0 0 0 1.2 0 .26 0 1.273735
13 1.2,1.3,.2 .5 0 -.65 .24 1.175755 0 .5 0 .65
14 1.2,1.3,.1,.2,.3 1 0 0 .36 1.144727 0 .26 .054511 1.272568
"""
COSINES = {14: ('cosBC', 'cosAC', 'cosAB'), -12: ('', 'cosAC', '')}


@pytest.mark.parametrize('line', LATTICES.splitlines(), ids=lambda line: line.split()[0])
@pytest.mark.parametrize('notation', ['celldm', 'ABC'])
def test_bravais_lattices_of_quantum_espresso(line, notation):
    ibrav, given, *numbers = line.split()
    values = [8.0, *(float(item) if item.strip('-') else None for item in given.split(','))]
    if notation == 'celldm':
        named = {f'celldm({place})': value for place, value in enumerate(values, 1)}
        a = 8 * BOHR
    else:
        named = dict(zip('ABC', [4.0, *(value and value * 4.0 for value in values[1:3])], strict=False))
        named |= dict(zip(COSINES.get(int(ibrav), ('cosAB',)), values[3:], strict=False))
        a = 4.0
    keys = ''.join(f' {name} = {value},' for name, value in named.items() if value is not None)
    text = PW.replace('ibrav = 0,', f'ibrav = {ibrav},{keys}').partition('CELL_PARAMETERS')[0]
    crystals = read_bytes('a.pwi', text.encode())
    assert crystals.failures == ()
    expected = a * np.array(numbers, dtype=float).reshape(3, 3)
    np.testing.assert_allclose(crystals.lattices[0], expected, atol=3e-6)
    np.testing.assert_allclose(crystals.fractional_positions, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)


@pytest.mark.parametrize(
    ('keys', 'expected'),
    [
        ('ibrav = -13, A = 4, B = 4, C = 4, cosAC = 0.1', 'unreadable_file'),
        ('ibrav = 15, A = 4', 'unreadable_file'),
        ('ibrav = 1', 'unreadable_file'),
        ('ibrav = 1, A = 4, celldm(1) = 8', 'unreadable_file'),
        ('ibrav = 1, celldm = 8', 'unreadable_file'),
        ('ibrav = 4, A = 4', 'unreadable_file'),
        ('ibrav = 4, A = 4, C = -1', 'unreadable_file'),
        ('ibrav = 5, A = 4, cosAB = -0.6', 'unreadable_file'),
        ('ibrav = "cubic", A = 4', 'unreadable_file'),
        ('ibrav = 14, A = 4, B = 4, C = 4, cosAB = 0.9, cosAC = 0.9, cosBC = -0.9', 'bad_lattice'),
    ],
)
def test_invalid_bravais_lattices(keys, expected):
    assert code('a.pwi', PW.replace('ibrav = 0', keys).partition('CELL_PARAMETERS')[0]) == expected


def test_positions_in_units_of_the_lattice_parameter():
    text = PW.replace('ibrav = 0', 'ibrav = 2, celldm(1) = 8').partition('CELL_PARAMETERS')[0]
    for unit in ('alat', ''):
        crystals = read_bytes('a.pwi', text.replace('POSITIONS crystal', f'POSITIONS {unit}').encode())
        np.testing.assert_allclose(crystals.fractional_positions[1] @ crystals.lattices[0], np.full(3, 4 * BOHR))


@pytest.mark.parametrize(
    ('old', 'new', 'expected'),
    [
        ('lattice_vector 0', '# 0', 'not_periodic'),
        ('lattice_vector 0', 'lattice_vector 1 1 1\nlattice_vector 0', 'not_periodic'),
        ('atom', 'empty', 'no_atoms'),
        (' Mg', ' Xa', 'unknown_element'),
        (' Mg', '', 'unreadable_file'),
        ('atom 0', 'atom_frac 0', 'unreadable_file'),
    ],
)
def test_invalid_geometries_of_fhi_aims(old, new, expected):
    assert old in AIMS
    assert code('a.geometry.in', AIMS.replace(old, new)) == expected


@pytest.mark.parametrize(('calculator', 'unit'), [(None, 1.0), ('qe', BOHR)])
@pytest.mark.parametrize('primitive', ['F', 'P'])
def test_phonopy(tmp_path, calculator, unit, primitive):
    atoms = bulk('MgO', 'rocksalt', a=4.2 / unit, cubic=True)
    cell = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    phonons = Phonopy(cell, np.eye(3) * 2, primitive_matrix=primitive, calculator=calculator)
    phonons.generate_displacements()
    (tmp_path / 'MgO').mkdir()
    phonons.save(tmp_path / 'MgO' / 'phonopy_disp.yaml')
    crystals = read_structures([tmp_path / 'MgO'])
    assert crystals.ids.tolist() == ['MgO']
    if primitive == 'F':
        check_magnesia(crystals)
    else:
        np.testing.assert_allclose(crystals.lattices, [np.eye(3) * 4.2])
        assert len(crystals.atomic_numbers) == 8


CELL = 'unit_cell:\n  lattice:\n  - [4, 0, 0]\n  - [0, 4, 0]\n  - [0, 0, 4]\n  points:\n'
POINT = '  - symbol: Po\n    coordinates: [0, 0, 0]\n'


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (CELL, 'unreadable_file'),
        (CELL + '  - symbol: Po\n', 'unreadable_file'),
        (CELL + POINT.replace('Po', 'Xa'), 'unknown_element'),
        (CELL + POINT.replace('[0, 0, 0]', '[0, 0]'), 'unreadable_row'),
        (CELL.replace('4, 0, 0', '&a 4, 0, 0').replace('[0, 4, 0]', '[0, *a, 0]') + POINT, 'unreadable_file'),
        (CELL + POINT * 20_000, 'unreadable_file'),
        ('phonopy:\n  calculator: siesta\n' + CELL + POINT, 'unreadable_file'),
        ('physical_unit:\n  length: mile\n' + CELL + POINT, 'unreadable_file'),
        ('points:\n' + POINT, 'unreadable_file'),
    ],
)
def test_invalid_files_of_phonopy(text, expected):
    assert code('phonopy.yaml', text) == expected


def test_only_the_cell_is_parsed():
    text = 'supercell:\n' + '  - [[[' * 100_000 + '\n' + CELL + POINT + 'displacements:\n- *x\n'
    crystals = read_bytes('a.phonopy.yaml', text.encode())
    assert crystals.ids.tolist() == ['a']
    assert crystals.atomic_numbers.tolist() == [84]

"""Inputs of phonopy, Quantum ESPRESSO and FHI-aims."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_goectp.core.crystals import read_bytes, read_structures
from aiida_goectp.core.formats.units import BOHR

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

"""CIF: symmetry expanded exactly; damaged, contradictory and unclear files refused with their code."""

from __future__ import annotations

import re
from pathlib import Path

import gemmi
import numpy as np
import pytest

from aiida_goectp.core.crystals import Failure, read_bytes
from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.data.pymatgen_convert import to_pymatgen

EXAMPLES = sorted((Path(__file__).parents[3] / 'examples' / 'structures').glob('*.cif'))

QUARTZ = """data_quartz
_chemical_formula_sum 'Si O2'
_cell_formula_units_Z 3
_cell_length_a 4.9134
_cell_length_b 4.9134
_cell_length_c 5.4052(3)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_space_group_name_H-M_alt 'P 32 2 1'
loop_
_space_group_symop_operation_xyz
'x,y,z'
'-y,x-y,z+2/3'
'-x+y,-x,z+1/3'
'y,x,-z'
'x-y,-y,-z+1/3'
'-x,-x+y,-z+2/3'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Si1 Si4+ 0.4699 0 0.6667 1
O1 O2- 0.4141 0.2681 0.7854(2) 1.0
"""
OPERATIONS = re.search(r"loop_\n_space_group_symop.*?(?=loop_)", QUARTZ, flags=re.DOTALL).group()  # fmt: skip

MINIMAL = """data_x
_chemical_formula_sum 'Ca O'
_cell_length_a 5
_cell_length_b 6
_cell_length_c 7
_cell_angle_alpha 80
_cell_angle_beta 95
_cell_angle_gamma 100
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Ow1 0.1 0.2 0.3
Ca 0.6 0.7 0.8
"""


def read(text: str, name: str = 'some.cif'):
    return read_bytes(name, text.encode())


def the_failure(text: str) -> Failure:
    crystals = read(text)
    assert len(crystals) == 0
    assert len(crystals.failures) == 1
    assert 'some.cif' in crystals.failures[0].message
    return crystals.failures[0]


def test_quartz_is_expanded_onto_its_special_positions():
    """0.6667 is read as the 2/3 that symmetry demands, so that the space group is found at any tolerance."""
    import spglib

    (crystal,) = read(QUARTZ)
    assert crystal.id == 'some'
    assert sorted(crystal.atomic_numbers.tolist()) == [8] * 6 + [14] * 3
    silicon = crystal.fractional_positions[crystal.atomic_numbers == 14]
    assert np.allclose(np.sort(silicon[:, 2]), [0, 1 / 3, 2 / 3], atol=1e-12)
    cell = (crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers)
    assert spglib.get_symmetry_dataset(cell, symprec=1e-8).number == 154


@pytest.mark.parametrize('volume', ['113.00(5)', '113', '112', '?', '.'])
def test_a_rounded_volume_of_the_cell_is_accepted(volume):
    text = QUARTZ.replace('_cell_length_b', f'_cell_volume {volume}\n_cell_length_b')
    assert len(read_bytes('x.cif', text.encode())) == 1


def test_the_frame_is_that_of_ase():
    (crystal,) = read(MINIMAL)
    a, b, c = crystal.lattice
    assert np.allclose(a, [5, 0, 0])
    assert b[2] == 0
    assert b[1] > 0
    assert c[2] > 0
    assert np.isclose(np.degrees(np.arccos(a @ b / 30)), 100)
    assert np.isclose(np.degrees(np.arccos(b @ c / 42)), 80)


def test_without_symmetry_the_positions_are_taken_as_they_are_and_labels_name_the_elements():
    (crystal,) = read(MINIMAL.replace('0.1 0.2 0.3', '-0.1 1.2 0.3'))
    assert crystal.atomic_numbers.tolist() == [8, 20]
    assert crystal.fractional_positions[0].tolist() == [-0.1, 1.2, 0.3]


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_textbook_files_agree_with_pymatgen_and_with_their_own_space_group(path):
    import spglib
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.cif import CifParser

    (crystal,) = read_bytes(path.name, path.read_bytes())
    other = CifParser(path).parse_structures(primitive=False)[0]
    matcher = StructureMatcher(primitive_cell=False, scale=False, ltol=1e-3, stol=1e-3, angle_tol=0.1)
    assert len(other) == len(crystal.atomic_numbers)
    assert matcher.fit(other, to_pymatgen(crystal))
    stated = int(re.search(r'_space_group_IT_number\s+(\d+)', path.read_text()).group(1))
    cell = (crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers)
    assert spglib.get_symmetry_dataset(cell, symprec=1e-5).number == stated


@pytest.mark.parametrize('kept', ['hall', 'hermann-mauguin'])
@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_the_name_of_the_group_does_as_well_as_its_operations(path, kept):
    text = path.read_text()
    named = re.sub(r"loop_\n_space_group_symop_operation_xyz\n(\s*'.*'\n)+", '', text)
    assert named != text
    if kept == 'hermann-mauguin':
        named = re.sub(r'_space_group_name_Hall.*\n', '', named)
    (first,) = read(text)
    (second,) = read(named)
    assert np.array_equal(first.lattice, second.lattice)
    apart = first.fractional_positions[:, None] - second.fractional_positions
    same = (np.abs(apart - np.rint(apart)).max(axis=2) < 1e-9) & (
        first.atomic_numbers[:, None] == second.atomic_numbers
    )
    assert (same.sum(axis=0) == 1).all()
    assert (same.sum(axis=1) == 1).all()


def test_files_of_ase_and_pymatgen_come_back(tmp_path):
    from ase.io import write

    (crystal,) = read(QUARTZ)
    write(tmp_path / 'a.cif', to_ase(crystal), format='cif')
    to_pymatgen(crystal).to(str(tmp_path / 'p.cif'))
    from pymatgen.io.cif import CifWriter

    CifWriter(to_pymatgen(crystal), symprec=0.01).write_file(tmp_path / 's.cif')
    for name in 'aps':
        (back,) = read((tmp_path / f'{name}.cif').read_text())
        assert np.allclose(np.linalg.norm(back.lattice, axis=1), [4.9134, 4.9134, 5.4052], atol=1e-4)
        assert len(back.atomic_numbers) == 9


@pytest.mark.parametrize('path', EXAMPLES[::8], ids=lambda path: path.stem)
def test_a_cut_off_file_never_passes_for_another_crystal(path):
    """Cut anywhere: either a failure, or, where only comments or digits are lost, the very same composition."""
    text = path.read_text()
    (whole,) = read(text)
    for length in range(0, len(text) - 1, 7):
        crystals = read(text[:length])
        assert len(crystals) + len(crystals.failures) == 1
        for crystal in crystals:
            assert sorted(crystal.atomic_numbers) == sorted(whole.atomic_numbers)


@pytest.mark.parametrize(
    ('text', 'code', 'named'),
    [
        ('', 'empty_file', ''),
        ('\0\1\2 rubbish', 'unreadable_file', ''),
        ('data_x\n_chemical_name quartz\n', 'unreadable_file', ''),
        (QUARTZ[: QUARTZ.index('_cell_angle_beta')], 'unreadable_file', ''),
        (QUARTZ[: QUARTZ.index('_atom_site_fract_y')], 'unreadable_file', ''),
        (QUARTZ[: QUARTZ.index('Si1 ')], 'unreadable_file', ''),
        (QUARTZ[: QUARTZ.index('0.2681')], 'unreadable_file', ''),
        (QUARTZ[: QUARTZ.index('O1')], 'composition_mismatch', 'Si3'),
        (QUARTZ.replace('_cell_length_b 4.9134\n', ''), 'bad_lattice', ''),
        (QUARTZ.replace('_cell_length_b 4.9134', '_cell_length_b ?'), 'bad_lattice', ''),
        (MINIMAL.replace('_cell_length_b 6', '_cell_length_b 0'), 'bad_lattice', ''),
        (MINIMAL.replace('gamma 100', 'gamma 179'), 'bad_lattice', '179'),
        (QUARTZ.replace('_cell_length_b', '_cell_volume 120(1)\n_cell_length_b'), 'bad_lattice', '_cell_volume'),
        (QUARTZ.replace(' 1\nO1', ' 0.5\nO1'), 'partial_occupancy', '0.5'),
        (QUARTZ.replace(' 1\nO1', ' half\nO1'), 'partial_occupancy', 'half'),
        (QUARTZ.replace('Si1 Si4+', 'Q1 Qq4+'), 'unknown_element', 'Qq4+'),
        (QUARTZ.replace('Si1 Si4+', 'Si1 NH4'), 'partial_occupancy', 'NH4'),
        (QUARTZ.replace('Si1 Si4+', 'Si1 Nb,Zr'), 'partial_occupancy', 'Nb,Zr'),
        (QUARTZ.replace('Si1 Si4+', 'Si1 Nb0.8Zr0.2'), 'partial_occupancy', 'Nb0.8Zr0.2'),
        (QUARTZ.replace('Si1 Si4+', 'Si1 CN'), 'unknown_element', 'CN'),
        (QUARTZ.replace('0.4141', 'nan'), 'not_finite', 'nan'),
        (QUARTZ.replace('0.4141', '?'), 'unreadable_file', 'atom site 2'),
        (QUARTZ.replace('0.4141', '?x'), 'unreadable_file', 'atom site 2'),
        (QUARTZ.replace('_b 4.9134', '_b 5.9134'), 'symmetry_mismatch', ''),
        (QUARTZ.replace("'y,x,-z'", "'rubbish'"), 'symmetry_mismatch', 'rubbish'),
        (QUARTZ.replace("'y,x,-z'", "'y,x,−z'"), 'symmetry_mismatch', 'y,x,−z'),
        (QUARTZ.replace("'-y,x-y,z+2/3'", "'-y,x-y,z+⅔'"), 'symmetry_mismatch', '-y,x-y,z+⅔'),
        (QUARTZ.replace("'y,x,-z'\n", ''), 'symmetry_mismatch', '5'),
        (QUARTZ.replace('P 32 2 1', 'P 31 2 1'), 'symmetry_mismatch', '152'),
        (QUARTZ.replace('O1 O2-', 'O1 Si4+'), 'composition_mismatch', 'Si9'),
        (QUARTZ + 'O2 O2- 0.4141 0.2681 0.7854 1.0\n', 'composition_mismatch', 'O12 Si3'),
        (MINIMAL.replace('Ca O', '?').replace('Ow1', 'O1') + 'Ca 0.6 0.7 0.8\n', 'atoms_too_close', ''),
        (MINIMAL.replace('Ca O', '?'), 'unknown_element', 'Ow1'),
        (MINIMAL + 'Ca 0.6 0.7 0.8 0.9\n', 'unreadable_file', ''),
    ],
)
def test_faults_have_their_code(text, code, named):
    failure = the_failure(text)
    assert failure.code == code, failure
    assert named in failure.message


@pytest.mark.parametrize('symbol', ['P 32 2 1', 'P3_221', 'P 32 2 1 ', 'p 3221'])
def test_spellings_of_a_symbol(symbol):
    (crystal,) = read(QUARTZ.replace(OPERATIONS, '').replace('P 32 2 1', symbol))
    assert len(crystal.atomic_numbers) == 9


@pytest.mark.parametrize(
    ('symbol', 'code'),
    [
        ('P 31 2 1', 'composition_mismatch'),
        ('F m -3 m', 'symmetry_mismatch'),
        ('P nonsense', 'symmetry_mismatch'),
        ('?', 'symmetry_mismatch'),
    ],
)
def test_wrong_symbols(symbol, code):
    assert the_failure(QUARTZ.replace(OPERATIONS, '').replace('P 32 2 1', symbol)).code == code


DIAMOND = """data_x
_cell_length_a 5.431
_cell_length_b 5.431
_cell_length_c 5.431
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F d -3 m'
loop_
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si X X X
"""


@pytest.mark.parametrize(('suffix', 'x'), [(':1', 0), (' S', 0), (':2', 0.125), (' Z', 0.125)])
def test_the_origin_stands_behind_the_symbol(suffix, x):
    (crystal,) = read(DIAMOND.replace('d -3 m', 'd -3 m' + suffix).replace('X', str(x)))
    assert len(crystal.atomic_numbers) == 8
    assert np.isclose(to_ase(crystal).get_all_distances(mic=True)[0, 1:].min(), 5.431 * np.sqrt(3) / 4)


def test_ambiguous_origin_is_refused():
    assert the_failure(DIAMOND.replace('X', '0')).code == 'symmetry_mismatch'


def test_rhombohedral_axes_are_told_from_the_cell():
    text = DIAMOND.replace("'F d -3 m'", "'R -3 m'").replace('X', '0.23').replace('90', '60')
    (crystal,) = read(text)
    assert len(crystal.atomic_numbers) == 2
    hexagonal = text.replace('gamma 60', 'gamma 120').replace('60', '90').replace('_c 5.431', '_c 11.8')
    (crystal,) = read(hexagonal.replace('0.23 0.23 0.23', '0 0 0.23'))
    assert len(crystal.atomic_numbers) == 6


def test_several_blocks_are_several_crystals_and_one_may_fail():
    bad = QUARTZ.replace(' 1\nO1', ' 0.5\nO1').replace('data_quartz', 'data_half')
    crystals = read('data_global\n_publ_author x\n' + QUARTZ + bad + MINIMAL)
    assert crystals.ids.tolist() == ['some@0', 'some@2']
    assert crystals.failures[0].id == 'some@1'
    assert 'block data_half' in crystals.failures[0].message


ROCKSALT = """data_x
SYMMETRY
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 0 0 0
Cl1 0.5 0.5 0.5
"""


@pytest.mark.parametrize(
    'symmetry',
    [
        "_space_group.name_H-M_alt 'F m -3 m'",
        "_space_group_name_H-M 'F m -3 m'",
        "_symmetry_space_group_name_H_M 'F m -3 m'",
        "_symmetry_space_group_name_H-M 'F m 3 m'",
        '_symmetry_space_group_name_H-M Fm3m\n_symmetry_Int_Tables_number 225',
        '_space_group.IT_number 225',
        '_SPACE_GROUP_IT_NUMBER 225',
    ],
)
def test_symmetry_under_any_tag(symmetry):
    (crystal,) = read(ROCKSALT.replace('SYMMETRY', symmetry))
    assert len(crystal.atomic_numbers) == 8


@pytest.mark.parametrize(
    'symmetry',
    [
        '_symmetry_cell_setting cubic',
        '_space_group_crystal_system cubic',
        "_parent_space_group.name_H-M_alt 'F m -3 m'\n_space_group_ssg_name 'Fm-3m(00g)'",
        "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_equiv_pos_as_xyz x,y,z",
        "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 221",
        '_symmetry_Int_Tables_number 231',
        "_space_group_name_H-M_alt 'P 1'\n_symmetry_space_group_name_H-M 'F m -3 m'",
        '_space_group_IT_number 1\n_symmetry_Int_Tables_number 225',
        'loop_\n_space_group_symop_operation_xyz\nx,y,z\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z',
        "_space_group_name_Hall '-P 2ac 2n'\n_space_group_name_H-M_alt 'P b n m'",
        "_space_group_name_H-M_alt 'P n m a'\n_space_group_IT_coordinate_system_code cab",
        '_space_group_IT_number 62\n_space_group_IT_coordinate_system_code bac',
        '_parent_space_group.IT_number 225',
        '_magnetic_space_group_number 225.116',
        'loop_\n_symmetry_equiv_pos_site_id\n1\n2',
    ],
)
def test_symmetry_that_is_not_understood_or_contradicts_itself_is_refused(symmetry):
    assert the_failure(ROCKSALT.replace('SYMMETRY', symmetry)).code == 'symmetry_mismatch'


def test_operations_determine_the_origin_that_a_name_leaves_open():
    for suffix, x in ((':1', 0), (':2', 0.125)):
        operations = '\n'.join(
            operation.triplet() for operation in gemmi.find_spacegroup_by_name('F d -3 m' + suffix).operations()
        )
        listed = f"'F d -3 m'\nloop_\n_symmetry_equiv_pos_as_xyz\n{operations}"
        (crystal,) = read(DIAMOND.replace("'F d -3 m'", listed).replace('X', str(x)))
        assert len(crystal.atomic_numbers) == 8


@pytest.mark.parametrize(('code', 'axis'), [('abc', 1), ('cab', 2), ('bca', 0)])
def test_the_code_of_the_setting_permutes_the_axes(code, axis):
    symmetry = f'_space_group_IT_number 62\n_space_group_IT_coordinate_system_code {code}'
    site = ['0.1', '0.2', '0.4']
    site[axis] = '0.25'  # on the mirror plane
    text = ROCKSALT.replace('SYMMETRY', symmetry).replace('Na1 0 0 0\nCl1 0.5 0.5 0.5', f'Na1 {" ".join(site)}')
    (crystal,) = read(text)
    assert len(crystal.atomic_numbers) == 4


def test_one_tag_in_two_notations_has_one_value():
    text = ROCKSALT.replace('SYMMETRY', '_space_group.IT_number 225\n_space_group_IT_number 1')
    assert the_failure(text).code == 'unreadable_file'
    (crystal,) = read(text.replace('number 1\n', 'number 225\n'))
    assert len(crystal.atomic_numbers) == 8


MAGNETIC = """data_x
_chemical_formula_sum 'Mn Te'
loop_
_space_group_symop_magn_operation.id
_space_group_symop_magn_operation.xyz
1 x,y,z,+1
2 x-y,x,z+1/2,+1
3 -y,x-y,z,+1
4 -x,-y,z+1/2,-1
5 -x+y,-x,z,+1
6 y,-x+y,z+1/2,-1
_cell_length_a 4.15
_cell_length_b 4.15
_cell_length_c 6.71
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mn1 0 0 0
Te1 0.333333 0.666667 0.25
"""


def test_magnetic_operations_expand_the_structure():
    (crystal,) = read(MAGNETIC)
    assert sorted(crystal.atomic_numbers.tolist()) == [25, 25, 52, 52]


def test_magnetic_centring_multiplies_the_operations():
    centring = 'loop_\n_space_group_symop_magn_centering.xyz\nx,y,z,+1\nx,y,z+1/2,-1\n'
    identity = re.sub(r'(?m)^[2-6] .*\n', '', MAGNETIC)
    (crystal,) = read(identity.replace('_cell_length_a', centring + '_cell_length_a').replace('6.71', '13.42'))
    assert sorted(crystal.atomic_numbers.tolist()) == [25, 25, 52, 52]


def test_magnetic_centrings_are_translations():
    centring = 'loop_\n_space_group_symop_magn_centering.xyz\nx,y,z,+1\n-x,-y,z+1/2,-1\n'
    assert the_failure(MAGNETIC.replace('_cell_length_a', centring + '_cell_length_a')).code == 'symmetry_mismatch'


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'latin-1', 'cp1252'])
def test_encodings_and_line_ends(encoding):
    text = QUARTZ.replace('data_quartz', "data_quartz\n_publ_author_name 'Müller'").replace('\n', '\r\n')
    content = text.encode(encoding)
    mark = b'\xef\xbb\xbf'  # also before other bytes than UTF-8
    for variant in (content, mark + content.removeprefix(mark)):
        assert len(read_bytes('some.cif', variant)) == 1


def test_operations_in_excess_are_refused():
    operations = '\n'.join(f"'x+{k % 24}/24,y+{k // 24 % 24}/24,z+{k // 576}/24'" for k in range(4000))
    symmetry = 'loop_\n_symmetry_equiv_pos_as_xyz\n' + operations
    assert the_failure(ROCKSALT.replace('SYMMETRY', symmetry)).code == 'symmetry_mismatch'

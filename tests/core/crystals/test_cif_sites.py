"""Atom sites of CIFs: elements from symbols and labels, disorder, hydrogen atoms that are not listed."""

from __future__ import annotations

import pytest

from aiida_goectp.core.crystals import CrystalError, read_bytes
from aiida_goectp.core.crystals.cif_sites import read_sites

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


@pytest.mark.parametrize(
    ('label', 'formula', 'number'),
    [
        ('Si1', '?', 14),
        ('SI1', "'Si O2'", 14),
        ('CL1', "'Na Cl'", 17),
        ('CL1', '?', 17),
        ('FE2A', '?', 26),
        ('O1w', '?', 8),
        ('Ow1', "'H2 O'", 8),
        ('D1', '?', 1),
        ('D2', "'D2 O'", 1),
        ('NA1', "'NA CL'", 11),
        ('CL1', "'NA CL'", 17),
        ('T1', "'D2 O T'", 1),
        ('T1', '?', None),
        ('SI1', '?', None),
        ('Wat1', '?', None),
        ('Wat1', "'O W'", 74),
        ('CO1', '?', None),
        ('Q1', '?', None),
        ('1Fe', '?', None),
    ],
)
def test_labels(label, formula, number):
    items = {'_atom_site_label': [label], '_chemical_formula_sum': [formula.strip("'")]}
    items |= {f'_atom_site_fract_{axis}': ['0'] for axis in 'xyz'}
    if number is None:
        with pytest.raises(CrystalError) as caught:
            read_sites(items)
        assert caught.value.code == 'unknown_element'
    else:
        assert read_sites(items)[0].tolist() == [number]


@pytest.mark.parametrize(
    ('columns', 'values', 'code'),
    [
        ('_atom_site_disorder_assembly _atom_site_disorder_group', ('A 1', 'A 2'), 'partial_occupancy'),
        ('_atom_site_disorder_group', ('1', '2'), 'partial_occupancy'),
        ('_atom_site_disorder_group', ('-1', '.'), 'partial_occupancy'),
        ('_atom_site_disorder_group', ('1', '.'), None),
        ('_atom_site_disorder_group', ('.', '.'), None),
        ('_atom_site_attached_hydrogens', ('0', '2'), 'composition_mismatch'),
        ('_atom_site_attached_hydrogens', ('0', '.'), None),
    ],
)
def test_disorder_and_hydrogen_atoms_that_are_not_listed(columns, values, code):
    text = MINIMAL.replace('_fract_z\n', '_fract_z\n' + '\n'.join(columns.split()) + '\n')
    text = text.replace('0.3\n', f'0.3 {values[0]}\n').replace('0.8\n', f'0.8 {values[1]}\n')
    crystals = read_bytes('some.cif', text.encode())
    assert [failure.code for failure in crystals.failures] == ([code] if code else [])

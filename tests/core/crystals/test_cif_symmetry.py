"""Symmetry of CIFs: every setting of every space group in every spelling is right or refused, never another crystal."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from pymatgen.io.cif import CifParser

from aiida_goectp.core.crystals import read_bytes

SETTINGS = list(gemmi.spacegroup_table())
CASES = [pytest.param(one, marks=[] if row % 4 == 0 else pytest.mark.slow) for row, one in enumerate(SETTINGS)]
SITE = np.array([0.0713, 0.2971, 0.4127])


def cell_of(setting) -> tuple[float, ...]:
    """Return a cell that the operations of a setting leave unchanged, and no higher symmetry of its system does."""
    if setting.ext == 'R':
        return (12.0, 12.0, 12.0, 70.0, 70.0, 70.0)
    system = setting.crystal_system_str()
    if system == 'monoclinic':
        rotations = np.array([operation.rot for operation in setting.operations()]) // 24
        # the one diagonal element that differs from the two others is that of the unique axis
        diagonal = next(np.diag(rotation) for rotation in rotations if abs(np.trace(rotation)) != 3)
        axis = int(np.argmax(diagonal * np.prod(diagonal)))
        angles = [90.0, 90.0, 90.0]
        angles[axis] = 102.0
        return (14.0, 16.0, 18.0, *angles)
    return {
        'triclinic': (14.0, 16.0, 18.0, 80.0, 95.0, 102.0),
        'orthorhombic': (14.0, 16.0, 18.0, 90.0, 90.0, 90.0),
        'tetragonal': (14.0, 14.0, 18.0, 90.0, 90.0, 90.0),
        'trigonal': (14.0, 14.0, 18.0, 90.0, 90.0, 120.0),
        'hexagonal': (14.0, 14.0, 18.0, 90.0, 90.0, 120.0),
        'cubic': (30.0, 30.0, 30.0, 90.0, 90.0, 90.0),
    }[system]


def cif(cell, *lines: str) -> bytes:
    names = ('length_a', 'length_b', 'length_c', 'angle_alpha', 'angle_beta', 'angle_gamma')
    head = ['data_x', *(f'_cell_{name} {value}' for name, value in zip(names, cell, strict=True)), *lines]
    sites = ['loop_', '_atom_site_label', '_atom_site_fract_x', '_atom_site_fract_y', '_atom_site_fract_z']
    return '\n'.join([*head, *sites, 'Si1 ' + ' '.join(map(str, SITE)), '']).encode()


def spellings(setting) -> dict[str, list[str]]:
    listed = [f"'{operation.triplet()}'" for operation in setting.operations()]
    tags = ('_space_group_symop_operation_xyz', '_symmetry_equiv_pos_as_xyz', '_space_group_symop.operation_xyz')
    return {
        'operations': ['loop_', tags[setting.number % 3], *listed],
        'hall': [f'_space_group_name_Hall "{setting.hall}"'],
        'xhm': [f"_space_group_name_H-M_alt '{setting.xhm()}'"],
        'hm': [f"_symmetry_space_group_name_H-M '{setting.hm}'"],
        'short': [f"_space_group.name_H-M_alt '{setting.short_name()}'"],
        'joined': [f"_symmetry_space_group_name_H-M '{setting.hm.replace(' ', '')}'"],
        'number': [f'_space_group_IT_number {setting.number}'],
        'all': [
            # without its origin: the operations determine it
            f"_space_group_name_H-M_alt '{setting.hm}'",
            f'_space_group_IT_number {setting.number}',
            'loop_',
            tags[0],
            *listed,
        ],
    }


def images(operations) -> np.ndarray:
    found = np.array([np.mod(operation.apply_to_xyz(SITE.tolist()), 1.0) for operation in operations])
    return found[np.lexsort(np.round(found, 6).T)]


def same_positions(crystal, wanted: np.ndarray) -> bool:
    if len(crystal.atomic_numbers) != len(wanted):
        return False
    apart = crystal.fractional_positions[:, None] - wanted
    matches = np.abs(apart - np.rint(apart)).max(axis=2) < 1e-6
    return bool((matches.sum(axis=0) == 1).all() and (matches.sum(axis=1) == 1).all())


@pytest.mark.parametrize('setting', CASES, ids=lambda setting: setting.hall.replace(' ', '_'))
def test_every_spelling_is_right_or_refused(setting):
    wanted = images(setting.operations())
    for spelling, lines in spellings(setting).items():
        crystals = read_bytes('x.cif', cif(cell_of(setting), *lines))
        if len(crystals):
            meant = spelling in ('operations', 'hall', 'xhm', 'all') or same_positions(crystals[0], wanted)
            if meant:
                assert same_positions(crystals[0], wanted), spelling
            else:
                # a short name or a number alone denotes the standard setting, which is another one than this
                assert_named_setting(crystals[0], setting, lines[0])
        else:
            assert crystals.failures[0].code == 'symmetry_mismatch', spelling
            assert spelling not in ('operations', 'hall', 'xhm', 'all'), crystals.failures[0]


def assert_named_setting(crystal, setting, line: str) -> None:
    text = line.split(' ', 1)[1].strip("'")
    group = gemmi.find_spacegroup_by_number(int(text)) if text.isdigit() else gemmi.find_spacegroup_by_name(text)
    candidates = [item for item in SETTINGS if (item.number, item.hm) == (group.number, group.hm)]
    assert group.number == setting.number
    assert any(same_positions(crystal, images(item.operations())) for item in candidates)


@pytest.mark.parametrize('setting', CASES, ids=lambda setting: setting.hall.replace(' ', '_'))
def test_pymatgen_finds_the_same_atoms(setting):
    content = cif(cell_of(setting), *spellings(setting)['all'])
    (crystal,) = read_bytes('x.cif', content)
    (structure,) = CifParser.from_str(content.decode()).parse_structures(primitive=False)
    assert structure.lattice.parameters == pytest.approx(cell_of(setting))
    assert same_positions(crystal, structure.frac_coords)


def test_groups_are_shared_by_crystals_without_changing_them():
    """The groups of names and lists are kept: each crystal must be as if it had been the first."""
    setting = gemmi.find_spacegroup_by_name('P 4/n b m:2')
    fitting, other = cell_of(setting), (14.0, 15.0, 18.0, 90.0, 90.0, 90.0)
    for spelling in ('operations', 'xhm', 'all'):
        lines = spellings(setting)[spelling]
        for _ in range(2):
            (crystal,) = read_bytes('x.cif', cif(fitting, *lines))
            assert same_positions(crystal, images(setting.operations()))
            refused = read_bytes('x.cif', cif(other, *lines))
            assert [failure.code for failure in refused.failures] == ['symmetry_mismatch']


def test_long_names_and_lists():
    cut_off = spellings(gemmi.find_spacegroup_by_name('F m -3 m'))['operations'][:-1]
    repeated = cut_off[:2] + cut_off[2:] * 20  # too long to be kept
    for lines in (cut_off, repeated, ["_symmetry_space_group_name_H-M '" + 'P ' * 100 + "'"]):
        crystals = read_bytes('x.cif', cif((30.0, 30.0, 30.0, 90.0, 90.0, 90.0), *lines))
        assert [failure.code for failure in crystals.failures] == ['symmetry_mismatch']
    whole = spellings(gemmi.find_spacegroup_by_name('F m -3 m'))['operations']
    (crystal,) = read_bytes('x.cif', cif((30.0,) * 3 + (90.0,) * 3, *whole[:2], *whole[2:] * 20))
    assert len(crystal.atomic_numbers) == 192

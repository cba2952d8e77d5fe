"""Crystals from CIF: parsed by ASE, expanded by symmetry here so that nothing is dropped or merged unnoticed.

A CIF holds no Cartesian frame. ASE's convention is taken: a along x, b in the xy plane with positive y, c with positive
z. Tensors predicted for such a crystal stand in that frame.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, Failure
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, SYMBOLS
from aiida_goectp.core.crystals.entries import Entry
from aiida_goectp.core.crystals.spacegroups import operations_of
from aiida_goectp.core.crystals.validation import CrystalError

if TYPE_CHECKING:
    from ase.io.cif import CIFBlock

__all__ = ('read_cif',)

_SAME_SITE = 0.05
"""Å; images of one site closer than this are one atom (coordinates rounded to three digits move that far)"""

_MAX_ATOMS = 100_000

_METRIC_TOLERANCE = 0.02
"""of the largest element of the metric tensor; refined cells obey their symmetry far better, other settings do not"""

_OPERATION_TAGS = (
    '_space_group_symop_operation_xyz',
    '_space_group_symop.operation_xyz',
    '_symmetry_equiv_pos_as_xyz',
)
_GROUP_TAGS = (
    ('_space_group_name_hall', '_symmetry_space_group_name_hall'),
    ('_space_group_name_h-m_alt', '_symmetry_space_group_name_h-m'),
    ('_space_group_it_number', '_symmetry_int_tables_number'),
)


def read_cif(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read every data block that holds a structure.

    :param name: file name for messages
    :param stem: for ids; ``@0``, ``@1``, … are appended if there are several structures
    """
    from ase.io.cif import parse_cif

    text = content.decode('utf-8', errors='replace')
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('error', message='Wrong number')  # ASE would drop the row
            warnings.filterwarnings('ignore', message='CIF v2')
            blocks = [block for block in parse_cif(io.StringIO(text)) if _may_hold_structure(block)]
    except Exception as error:  # ASE's parser raises whatever a torn file makes of it
        text = f'not a CIF, or cut off ({type(error).__name__}: {error}); fetch the file again'
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
        return
    if not blocks:
        text = 'no data block holds a cell and atom sites; is the file cut off, or a CIF of something else?'
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
    for number, block in enumerate(blocks):
        label = stem if len(blocks) == 1 else f'{stem}@{number}'
        where = f'{name}, block data_{block.name}'
        try:
            yield Entry(_crystal(label, block), {}, where)
        except CrystalError as error:
            yield Entry(Failure(label, error.code, str(error)), {}, where)
        except Exception as error:  # as above
            text = f'cannot be understood ({type(error).__name__}: {error})'
            yield Entry(Failure(label, 'unreadable_file', text), {}, where)


def _may_hold_structure(block: CIFBlock) -> bool:
    return any(key.startswith(('_cell_length', '_atom_site_')) for key in block)


def _column(block: CIFBlock, *names: str) -> list[Any] | None:
    for name in names:
        if name in block:
            value = block[name]
            return value if isinstance(value, list) else [value]
    return None


def _crystal(label: str, block: CIFBlock) -> Crystal:
    numbers = _site_numbers(block)
    positions = _site_positions(block, len(numbers))
    keep = np.array([flag != 'dum' for flag in _column(block, '_atom_site_calc_flag') or ['d'] * len(numbers)])
    _check_occupancies(block, numbers)
    cell = block.get_cellpar()
    if cell is None or not all(isinstance(value, int | float) for value in cell):
        raise CrystalError('bad_lattice', f'the cell is incomplete: {cell}; lengths and angles are needed')
    cosines = np.cos(np.radians(cell[3:]))
    if not (min(cell[:3]) > 0 and 1 + 2 * cosines.prod() - np.square(cosines).sum() > 1e-9):
        raise CrystalError('bad_lattice', f'the cell spans no volume: lengths and angles {cell}')
    lattice = np.array(block.get_cell().array, dtype=np.float64)
    rotations, translations = _operations(block, lattice)
    if len(numbers) * len(rotations) > _MAX_ATOMS:
        raise CrystalError('unreadable_file', f'{len(numbers)} sites × {len(rotations)} operations are too many')
    images = [_site_images(position, rotations, translations, lattice) for position in positions[keep]]
    counts = [len(image) for image in images]
    atoms = np.repeat(numbers[keep], counts)
    _check_composition(block, atoms)
    return Crystal(label, lattice, atoms, np.concatenate([np.zeros((0, 3)), *images]))


def _site_numbers(block: CIFBlock) -> np.ndarray:
    types = _column(block, '_atom_site_type_symbol')
    labels = _column(block, '_atom_site_label')
    names = types or labels
    if not names:
        raise CrystalError('unreadable_file', 'there is no list of atom sites; is the file cut off?')
    numbers = []
    for name in names:
        match = re.match(r'[A-Za-z]{1,2}', str(name))
        found = ATOMIC_NUMBERS.get(match.group().capitalize()) if types and match else None
        if not types and (match := re.match(r'[A-Z][a-z]?', str(name))):
            # in a label such as Ow1 the second letter need not belong to the symbol
            found = ATOMIC_NUMBERS.get(match.group()) or ATOMIC_NUMBERS.get(match.group()[0])
        if found is None:
            raise CrystalError('unknown_element', f'{str(name)!r:.40} is no chemical element')
        numbers.append(found)
    return np.array(numbers, dtype=np.int16)


def _site_positions(block: CIFBlock, count: int) -> np.ndarray:
    columns = [_column(block, f'_atom_site_fract_{axis}') for axis in 'xyz']
    if any(column is None for column in columns):
        raise CrystalError(
            'unreadable_file', 'fractional coordinates are missing; is the file cut off? (Cartesian CIFs are not read)'
        )
    table = np.full((count, 3), np.nan)
    for axis, column in enumerate(columns):
        if column is None or len(column) != count:
            raise CrystalError('unreadable_file', 'the columns of the atom sites differ in length')
        for site, value in enumerate(column):
            if isinstance(value, str) and value.lower() not in ('nan', 'inf', '-inf'):
                raise CrystalError('unreadable_file', f'atom site {site + 1} has no position: {value!r:.40}')
            table[site, axis] = float(value)
            if not np.isfinite(table[site, axis]):
                raise CrystalError('not_finite', f'atom site {site + 1} has a position that is not finite: {value}')
    return table


def _check_occupancies(block: CIFBlock, numbers: np.ndarray) -> None:
    for site, value in enumerate(_column(block, '_atom_site_occupancy') or []):
        if isinstance(value, int | float) and not abs(value - 1) < 1e-3:
            raise CrystalError(
                'partial_occupancy',
                f'atom site {site + 1} ({SYMBOLS[numbers[site]]}) is occupied by {value}; give an ordered structure',
            )


def _operations(block: CIFBlock, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (m, 3, 3) and translations (m, 3) in fractional coordinates, the identity among them."""
    from ase.spacegroup.spacegroup import parse_sitesym

    metric = lattice @ lattice.T

    def fits(rotations: np.ndarray) -> bool:
        moved = np.einsum('mki,kl,mlj->mij', rotations, metric, rotations)
        return bool(np.abs(moved - metric).max() < _METRIC_TOLERANCE * np.abs(metric).max())

    listed = _column(block, *_OPERATION_TAGS)
    hall, symbol, number = (_stated(block, *tags) for tags in _GROUP_TAGS)
    if listed:
        rotations, translations = parse_sitesym([str(item).strip('\'" ') for item in listed])
        if not fits(rotations):
            raise CrystalError(
                'symmetry_mismatch',
                f'the symmetry operations do not leave the cell {block.get_cellpar()} unchanged',
            )
    elif hall or symbol or number:
        count = int(number) if number and number.isdigit() else None
        rotations, translations = operations_of(hall, symbol, count, fits)
    else:
        rotations, translations = np.eye(3)[None], np.zeros((1, 3))
    if not any((rotation == np.eye(3)).all() for rotation in rotations):
        rotations, translations = np.insert(rotations, 0, np.eye(3), 0), np.insert(translations, 0, 0.0, 0)
    return rotations.astype(np.float64), translations


def _stated(block: CIFBlock, *names: str) -> str | None:
    text = str((_column(block, *names) or ['?'])[0]).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':  # a Hall symbol may end in a quote of its own
        text = text[1:-1].strip()
    return None if text in ('?', '.', '') else text


def _site_images(
    position: np.ndarray, rotations: np.ndarray, translations: np.ndarray, lattice: np.ndarray
) -> np.ndarray:
    """Return the distinct images of a site (k, 3), each the mean over the operations that lead there.

    The mean puts a site whose coordinates were rounded (0.333, 0.667) exactly onto its special position.
    """
    images = np.mod(rotations @ position + translations, 1.0)
    if len(images) == 1:
        return position[None]
    apart = images[:, None] - images
    apart -= np.rint(apart)
    same = np.square(apart @ lattice).sum(axis=2) < _SAME_SITE**2
    _, first = np.unique(np.argmax(same, axis=1), return_index=True)
    shifts = -apart[first]  # from the first image of each place to every image
    weights = same[first, :, None]
    return images[first] + (shifts * weights).sum(axis=1) / weights.sum(axis=1)


def _check_composition(block: CIFBlock, atoms: np.ndarray) -> None:
    """Compare with the formula that the CIF states: the one trace that a cut-off atom list leaves."""
    stated = _column(block, '_chemical_formula_sum')
    units = _column(block, '_cell_formula_units_z')
    text = str(stated[0]).strip('\'" ') if stated else '?'
    parts = re.findall(r'([A-Z][a-z]?)(\d*\.?\d*)', text)
    if any(symbol not in ATOMIC_NUMBERS for symbol, _ in parts):
        return
    want: dict[int, float] = {}
    for symbol, amount in parts:
        want[ATOMIC_NUMBERS[symbol]] = want.get(ATOMIC_NUMBERS[symbol], 0.0) + float(amount or 1)
    if not sum(want.values()) > 0:
        return
    have = Counter(atoms.tolist())
    ratio = len(atoms) / sum(want.values())
    fits = all(abs(have[number] - ratio * want.get(number, 0.0)) < 0.01 * ratio for number in {*want, *have})
    z = units[0] if units and isinstance(units[0], int | float) and units[0] > 0 else None
    # some programs state the content of the whole cell as the formula, and Z beside it
    admitted = (z, 1) if z else (max(1, round(ratio)),)
    if not fits or all(abs(ratio - number) > 0.01 for number in admitted):
        found = ' '.join(f'{SYMBOLS[number]}{count}' for number, count in sorted(have.items()))
        raise CrystalError(
            'composition_mismatch',
            f'the file states {text}{f" × {z}" if z else ""}, its atoms make {found or "nothing"}; '
            'is the atom list cut off, or are atoms missing?',
        )

"""Reader of CIF files: parsed by ASE, expanded by symmetry here, so that no site is dropped or merged silently.

A CIF file contains no Cartesian frame. The convention of ASE is used: a along x, b in the xy plane with positive y, c
with positive z. Tensors of the crystal refer to this frame.
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
"""Å; images of one site closer than this are one atom (coordinates are often rounded to three digits)"""

_MAX_ATOMS = 100_000
"""sites times operations"""

_METRIC_TOLERANCE = 0.02
"""relative to the largest element of the metric tensor; refined cells deviate less, cells of other settings more"""

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
    """Read every data block with a structure.

    :param name: file name for messages
    :param stem: stem of the file name, for ids; ``@0``, ``@1``, … are appended if there are several structures
    :param content: content of the file
    """
    from ase.io.cif import parse_cif

    text = content.decode('utf-8', errors='replace')
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('error', message='Wrong number')  # ASE would drop the row
            warnings.filterwarnings('ignore', message='CIF v2')
            blocks = [
                block
                for block in parse_cif(io.StringIO(text))
                if any(key.startswith(('_cell_length', '_atom_site_')) for key in block)
            ]
    except Exception as error:  # ASE raises various errors for damaged files
        text = f'not a CIF, or cut off ({type(error).__name__}: {error}); fetch the file again'
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
        return
    if not blocks:
        text = 'no data block with a cell and atom sites; is the file cut off, or not of a crystal structure?'
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
    for number, block in enumerate(blocks):
        label = stem if len(blocks) == 1 else f'{stem}@{number}'
        where = f'{name}, block data_{block.name}'
        try:
            yield Entry(_crystal(label, block), {}, where)
        except CrystalError as error:
            yield Entry(Failure(label, error.code, str(error)), {}, where)
        except Exception as error:  # as above
            text = f'invalid structure ({type(error).__name__}: {error})'
            yield Entry(Failure(label, 'unreadable_file', text), {}, where)


def _column(block: CIFBlock, *names: str) -> list[Any] | None:
    """Return the values of the first of these tags in the block."""
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
        raise CrystalError('bad_lattice', f'the cell has no volume: lengths and angles {cell}')
    lattice = np.array(block.get_cell().array, dtype=np.float64)
    rotations, translations = _operations(block, lattice)
    if len(numbers) * len(rotations) > _MAX_ATOMS:
        raise CrystalError('unreadable_file', f'{len(numbers)} sites × {len(rotations)} operations exceed {_MAX_ATOMS}')
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
        raise CrystalError('unreadable_file', 'no list of atom sites; is the file cut off?')
    numbers = []
    for name in names:
        match = re.match(r'[A-Za-z]{1,2}', str(name))
        found = ATOMIC_NUMBERS.get(match.group().capitalize()) if types and match else None
        if not types and (match := re.match(r'[A-Z][a-z]?', str(name))):
            # in a label such as Ow1 the second letter is not part of the symbol
            found = ATOMIC_NUMBERS.get(match.group()) or ATOMIC_NUMBERS.get(match.group()[0])
        if found is None:
            raise CrystalError('unknown_element', f'{str(name)!r:.40} is not a chemical element')
        numbers.append(found)
    return np.array(numbers, dtype=np.int16)


def _site_positions(block: CIFBlock, count: int) -> np.ndarray:
    columns = [_column(block, f'_atom_site_fract_{axis}') for axis in 'xyz']
    if any(column is None for column in columns):
        raise CrystalError(
            'unreadable_file', 'no fractional coordinates; is the file cut off? (Cartesian ones are not supported)'
        )
    table = np.full((count, 3), np.nan)
    for axis, column in enumerate(columns):
        if column is None or len(column) != count:
            raise CrystalError('unreadable_file', 'columns of atom sites have different lengths')
        for site, value in enumerate(column):
            if isinstance(value, str) and value.lower() not in ('nan', 'inf', '-inf'):
                raise CrystalError('unreadable_file', f'atom site {site + 1} has no position: {value!r:.40}')
            table[site, axis] = float(value)
            if not np.isfinite(table[site, axis]):
                raise CrystalError(
                    'not_finite', f'atom site {site + 1} has the position {value}; expected a finite number'
                )
    return table


def _check_occupancies(block: CIFBlock, numbers: np.ndarray) -> None:
    for site, value in enumerate(_column(block, '_atom_site_occupancy') or []):
        if isinstance(value, int | float) and not abs(value - 1) < 1e-3:
            raise CrystalError(
                'partial_occupancy',
                f'atom site {site + 1} ({SYMBOLS[numbers[site]]}) has occupancy {value}; give an ordered structure',
            )


def _operations(block: CIFBlock, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (m, 3, 3) and translations (m, 3) in fractional coordinates, including the identity."""
    from ase.spacegroup.spacegroup import parse_sitesym

    metric = lattice @ lattice.T

    def fits(rotations: np.ndarray) -> bool:
        transformed = np.einsum('mki,kl,mlj->mij', rotations, metric, rotations)
        return bool(np.abs(transformed - metric).max() < _METRIC_TOLERANCE * np.abs(metric).max())

    listed = _column(block, *_OPERATION_TAGS)
    hall, symbol, number = (_text(block, *tags) for tags in _GROUP_TAGS)
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


def _text(block: CIFBlock, *names: str) -> str | None:
    """Return the first value of a tag without quotes; None if missing or unknown."""
    text = str((_column(block, *names) or ['?'])[0]).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':  # a Hall symbol may itself end with a quote
        text = text[1:-1].strip()
    return None if text in ('?', '.', '') else text


def _site_images(
    position: np.ndarray, rotations: np.ndarray, translations: np.ndarray, lattice: np.ndarray
) -> np.ndarray:
    """Return the distinct images of a site, (k, 3), each the mean over the operations that give it.

    The mean moves a site with rounded coordinates (0.333, 0.667) exactly onto its special position.
    """
    images = np.mod(rotations @ position + translations, 1.0)
    if len(images) == 1:
        return position[None]
    differences = images[:, None] - images
    differences -= np.rint(differences)
    same = np.square(differences @ lattice).sum(axis=2) < _SAME_SITE**2
    _, first = np.unique(np.argmax(same, axis=1), return_index=True)
    shifts = -differences[first]  # from the first image at each position to every image
    weights = same[first, :, None]
    return images[first] + (shifts * weights).sum(axis=1) / weights.sum(axis=1)


def _check_composition(block: CIFBlock, atoms: np.ndarray) -> None:
    """Compare with the chemical formula in the file, to detect an atom list that is cut off."""
    stated = _column(block, '_chemical_formula_sum')
    units = _column(block, '_cell_formula_units_z')
    text = str(stated[0]).strip('\'" ') if stated else '?'
    parts = re.findall(r'([A-Z][a-z]?)(\d*\.?\d*)', text)
    if any(symbol not in ATOMIC_NUMBERS for symbol, _ in parts):
        return
    expected: dict[int, float] = {}
    for symbol, amount in parts:
        expected[ATOMIC_NUMBERS[symbol]] = expected.get(ATOMIC_NUMBERS[symbol], 0.0) + float(amount or 1)
    if not sum(expected.values()) > 0:
        return
    found = Counter(atoms.tolist())
    ratio = len(atoms) / sum(expected.values())
    same = all(abs(found[number] - ratio * expected.get(number, 0.0)) < 0.01 * ratio for number in {*expected, *found})
    z = units[0] if units and isinstance(units[0], int | float) and units[0] > 0 else None
    # some programs write the content of the whole cell as the formula in addition to Z
    allowed = (z, 1) if z else (max(1, round(ratio)),)
    if not same or all(abs(ratio - number) > 0.01 for number in allowed):
        content = ' '.join(f'{SYMBOLS[number]}{count}' for number, count in sorted(found.items()))
        raise CrystalError(
            'composition_mismatch',
            f'the formula is {text}{f" × {z}" if z else ""}, the atom sites give {content or "nothing"}; '
            'is the atom list cut off?',
        )

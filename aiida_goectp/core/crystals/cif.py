"""Crystals from CIF: parsed by gemmi, expanded by symmetry here so that nothing is dropped or merged unnoticed.

A CIF has no Cartesian frame. The convention of ASE is used: a along x, b in the xy plane with positive y, c with
positive z. Tensors predicted for such a crystal are in that frame.

Memory is bounded by a small multiple of the file plus the atoms of the cell (at most 100,000).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.crystals.cif_sites import check_composition, cif_number, read_sites
from aiida_goectp.core.crystals.cif_symmetry import symmetry_operations
from aiida_goectp.core.crystals.crystalset import Crystal, Failure
from aiida_goectp.core.crystals.entries import Entry, decoded
from aiida_goectp.core.crystals.validation import CrystalError

if TYPE_CHECKING:
    import gemmi

__all__ = ('read_cif',)

_SAME_SITE = 0.05
"""Å; images of one site closer than this are one atom (coordinates rounded to three digits move that far)"""

_MAX_ATOMS = 100_000

_CELL = tuple(
    f'_cell_{name}' for name in ('length_a', 'length_b', 'length_c', 'angle_alpha', 'angle_beta', 'angle_gamma')
)


_VOLUME_TOLERANCE = 0.02
"""relative difference of the stated volume, which may be rounded; at least 1 Å³"""


def read_cif(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read every data block that holds a structure.

    :param name: file name for messages
    :param stem: for ids; ``@0``, ``@1``, … are appended if there are several structures
    """
    import gemmi

    try:
        blocks = [_items(block) for block in gemmi.cif.read_string(decoded(content))]
    except (ValueError, RuntimeError) as error:
        text = f'not a CIF, or cut off: {" ".join(str(error).split())[:200]}'
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
        return
    structures = [
        (title, items)
        for title, items in blocks
        if any(tag.startswith(('_cell_length', '_atom_site_')) for tag, _ in items)
    ]
    if not structures:
        text = 'no data block holds a cell and atom sites; is the file cut off, or a CIF of something else?'
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
    for number, (title, items) in enumerate(structures):
        label = stem if len(structures) == 1 else f'{stem}@{number}'
        where = f'{name}, block data_{title}'
        try:
            yield Entry(_crystal(label, _unique(items)), {}, where)
        except CrystalError as error:
            yield Entry(Failure(label, error.code, str(error)), {}, where)


def _items(block: gemmi.cif.Block) -> tuple[str, list[tuple[str, list[str]]]]:
    """Return the name of a block and its items: tag in lower case, dots as underscores, and values without quotes."""
    items: list[tuple[str, list[str]]] = []
    item: Any
    for item in block:
        if item.pair is not None:
            items.append((_tag(item.pair[0]), [_plain(item.pair[1])]))
        elif item.loop is not None:
            width = item.loop.width()
            for column, tag in enumerate(item.loop.tags):
                items.append((_tag(tag), [_plain(value) for value in item.loop.values[column::width]]))
    return block.name, items


def _unique(items: list[tuple[str, list[str]]]) -> dict[str, list[str]]:
    """Return tag → values.

    :raises CrystalError: ``unreadable_file`` if a tag has two values: ``_cell.length_a`` beside ``_cell_length_a``
    """
    found: dict[str, list[str]] = {}
    for tag, values in items:
        if found.setdefault(tag, values) != values:
            raise CrystalError('unreadable_file', f'{tag:.60} is given twice with different values; remove one')
    return found


def _plain(value: str) -> str:
    """Return a value without its quotes; ``?`` (unknown) and ``.`` (default) stay."""
    import gemmi

    return value if value in ('?', '.') else gemmi.cif.as_string(value)


def _tag(tag: str) -> str:
    return tag.lower().replace('.', '_')


def _crystal(label: str, items: dict[str, list[str]]) -> Crystal:
    numbers, positions = read_sites(items)
    lattice = _lattice(items)
    rotations, translations = symmetry_operations(items, lattice)
    if len(numbers) * len(rotations) > _MAX_ATOMS:
        raise CrystalError(
            'unreadable_file', f'{len(numbers)} sites × {len(rotations)} operations exceed {_MAX_ATOMS} atoms'
        )
    images = [_site_images(position, rotations, translations, lattice) for position in positions]
    atoms = np.repeat(numbers, [len(image) for image in images])
    check_composition(items, atoms)
    return Crystal(label, lattice, atoms, np.concatenate([np.zeros((0, 3)), *images]))


def _lattice(items: dict[str, list[str]]) -> np.ndarray:
    """Return the lattice (3, 3) in Å, rows a, b, c, in the frame of ASE."""
    from ase.geometry import cellpar_to_cell

    texts = [' '.join(items.get(tag, ['?'])[:1]) for tag in _CELL]
    cell = [cif_number(text) for text in texts]
    if None in cell:
        raise CrystalError('bad_lattice', f'the cell is incomplete: {", ".join(texts):.80}; give lengths and angles')
    lengths, angles = np.array(cell[:3], dtype=float), np.array(cell[3:], dtype=float)
    cosines = np.cos(np.radians(angles))
    if not (np.isfinite(lengths).all() and lengths.min() > 0 and 1 + 2 * cosines.prod() - (cosines**2).sum() > 1e-9):
        raise CrystalError('bad_lattice', f'the cell has no volume: lengths and angles {", ".join(texts):.80}')
    lattice = np.array(cellpar_to_cell([*lengths.tolist(), *angles.tolist()]), dtype=np.float64)
    volume, stated = abs(np.linalg.det(lattice)), cif_number(' '.join(items.get('_cell_volume', ['?'])[:1]))
    if stated is not None and abs(stated - volume) > max(_VOLUME_TOLERANCE * volume, 1.0):
        raise CrystalError(
            'bad_lattice',
            f'_cell_volume is {stated:g} Å³, the volume of the cell {volume:g} Å³: a length or an angle is wrong, or '
            'the item belongs to another cell; correct or remove it',
        )
    return lattice


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

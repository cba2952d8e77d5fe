"""``GammaPhonons``: predicted phonons at Γ of many crystals, a part of ``predictions.npz``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.dielectric.gamma_modes import (
    GammaModes,
    folded,
    from_blocks,
    gamma_modes,
    longitudinal_frequencies,
    mean_by_atom,
    to_blocks,
)
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.formats.table import Column, Table

__all__ = ('NATURAL_HYDROGEN', 'GammaPhonons', 'PhononCell')

NATURAL_HYDROGEN = 'masses are standard atomic weights; D and T are treated as H'
"""to be printed beside frequencies of a crystal with hydrogen: no crystal has masses of its own"""


class PhononCell(NamedTuple):
    """Lattice response of one crystal in a cell of n atoms, from a prediction or from DFPT."""

    lattice: np.ndarray
    """(3, 3) Å, rows, in the Cartesian frame of the crystal"""
    atomic_numbers: np.ndarray
    """(n,)"""
    fractional_positions: np.ndarray
    """(n, 3)"""
    electronic: np.ndarray
    """(3, 3) ε_∞"""
    born_charges: np.ndarray
    """(n, 3, 3) e; indices atom, field, displacement"""
    force_constants: np.ndarray
    """(3n, 3n) eV/Å² at Γ; an index is 3 × atom + direction"""

    @property
    def volume(self) -> float:
        """Å³."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def masses(self) -> np.ndarray:
        """(n,) u, standard atomic weights; D and T are hydrogen."""
        from ase.data import atomic_masses

        return atomic_masses[self.atomic_numbers]

    def crystal(self) -> Crystal:
        """Return the cell without its response, and without id."""
        return Crystal('', self.lattice, self.atomic_numbers, self.fractional_positions)

    def modes(self) -> GammaModes:
        """Return the optical modes."""
        return gamma_modes(self.force_constants, self.born_charges, self.masses, self.volume)

    def primitive(self) -> PhononCell:
        """Return the response of the primitive cell; the cell itself if it is primitive.

        The modes are those of the larger cell in which all primitive cells move alike; the others have q ≠ 0.
        """
        from aiida_goectp.core.crystals.symmetry import canonical_cell

        found = canonical_cell(self.crystal())
        n = len(found.atomic_numbers)
        if n == len(self.atomic_numbers):
            return self
        return PhononCell(
            found.lattice,
            found.atomic_numbers,
            found.fractional_positions,
            self.electronic,
            mean_by_atom(self.born_charges, found.primitive_atom, n),
            folded(to_blocks(self.force_constants), found.primitive_atom, n),
        )

    def longitudinal(self, direction: np.ndarray) -> np.ndarray:
        """Return the frequencies with the macroscopic field; see :func:`.longitudinal_frequencies`."""
        return longitudinal_frequencies(
            self.force_constants, self.born_charges, self.electronic, self.masses, self.volume, direction
        )


@dataclass(frozen=True, eq=False)
class GammaPhonons(Table):
    """Phonons at Γ of n crystals in their primitive cells, without the macroscopic field.

    Force constants, Born charges and modes are those of the reduced primitive cell of each crystal in the Cartesian
    frame of the crystal as given. A row without phonons has no atoms: a failed one, and a layered crystal whose layers
    were brought closer for the prediction. The arrays of a row with n atoms follow those of the rows before: n atoms,
    n² pairs of atoms, 3n − 3 modes.

    :param atom_counts: (n,) atoms of the primitive cell; 0 for a row without phonons
    :param given_counts: (n,) atoms of the crystal as given; 0 for a row without phonons
    :param lattices: (n, 3, 3) Å, rows, of the primitive cell
    :param atomic_numbers: one an atom
    :param fractional_positions: (3,) an atom, of the primitive cell
    :param born_charges: (3, 3) e an atom; indices field, displacement
    :param force_constants: (3, 3) eV/Å² a pair of atoms, the second atom running fastest
    :param primitive_atom: index within the primitive cell of each atom of the crystal as given
    :param frequencies: THz, transverse, one a mode in ascending order; imaginary ones are negative
    :param contributions: (3, 3) to the ionic permittivity, one a mode; see :class:`.GammaModes`
    :param infrared_active: whether each mode is infrared active
    :raises FormatError: arrays that do not fit together
    """

    KIND = 'gamma_phonons'

    atom_counts: Annotated[np.ndarray, Column('<i4')]
    given_counts: Annotated[np.ndarray, Column('<i4')]
    lattices: Annotated[np.ndarray, Column('<f8', ('rows', 3, 3))]
    atomic_numbers: Annotated[np.ndarray, Column('<i2', ('atoms',))]
    fractional_positions: Annotated[np.ndarray, Column('<f8', ('atoms', 3))]
    born_charges: Annotated[np.ndarray, Column('<f4', ('atoms', 3, 3))]
    force_constants: Annotated[np.ndarray, Column('<f4', ('pairs', 3, 3))]
    primitive_atom: Annotated[np.ndarray, Column('<i4', ('given',))]
    frequencies: Annotated[np.ndarray, Column('<f4', ('modes',))]
    contributions: Annotated[np.ndarray, Column('<f4', ('modes', 3, 3))]
    infrared_active: Annotated[np.ndarray, Column('?', ('modes',), kinds='b')]

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.atom_counts < 0).any() or (self.given_counts < self.atom_counts).any():
            raise FormatError('gamma_phonons: numbers of atoms that are negative, or fewer than in the primitive cell')
        for axis, offsets in self._offsets().items():
            if self.axis_lengths[axis] != offsets[-1]:
                raise FormatError(
                    f'gamma_phonons: {self.axis_lengths[axis]} {axis}; the numbers of atoms need {offsets[-1]}'
                )
        if len(self.primitive_atom):
            limits = np.repeat(self.atom_counts, self.given_counts)
            if (self.primitive_atom < 0).any() or (self.primitive_atom >= limits).any():
                raise FormatError('gamma_phonons: primitive_atom refers to atoms that the primitive cell does not have')

    def _offsets(self) -> dict[str, np.ndarray]:
        """Return where the arrays of each row begin, (n + 1,), by axis."""
        n = self.atom_counts.astype(np.int64)
        counts = {'atoms': n, 'pairs': n**2, 'given': self.given_counts, 'modes': np.maximum(3 * n - 3, 0)}
        return {axis: np.concatenate([[0], np.cumsum(count)]).astype(np.int64) for axis, count in counts.items()}

    def __len__(self) -> int:
        return len(self.atom_counts)

    @classmethod
    def empty(cls, rows: int) -> GammaPhonons:
        """Return rows without phonons."""
        return cls(
            np.zeros(rows, dtype=np.int32),
            np.zeros(rows, dtype=np.int32),
            np.zeros((rows, 3, 3)),
            np.zeros(0, dtype=np.int16),
            np.zeros((0, 3)),
            np.zeros((0, 3, 3), dtype=np.float32),
            np.zeros((0, 3, 3), dtype=np.float32),
            np.zeros(0, dtype=np.int32),
            np.zeros(0, dtype=np.float32),
            np.zeros((0, 3, 3), dtype=np.float32),
            np.zeros(0, dtype=bool),
        )

    @classmethod
    def from_cells(
        cls, cells: Sequence[PhononCell | None], primitive_atoms: Sequence[np.ndarray | None]
    ) -> GammaPhonons:
        """Return one row for each cell, with its modes; a row without phonons for None.

        :param primitive_atoms: index within the cell of each atom of the crystal as given, None where the cell is
        """
        rows = [row for row, cell in enumerate(cells) if cell is not None]
        found = cls.empty(len(cells))
        if not rows:
            return found
        known = [cell for cell in cells if cell is not None]
        maps = [atoms for atoms in primitive_atoms if atoms is not None]
        modes = [cell.modes() for cell in known]
        found.atom_counts[rows] = [len(cell.atomic_numbers) for cell in known]
        found.given_counts[rows] = [len(atoms) for atoms in maps]
        found.lattices[rows] = [cell.lattice for cell in known]
        return cls(
            found.atom_counts,
            found.given_counts,
            found.lattices,
            np.concatenate([cell.atomic_numbers for cell in known]).astype(np.int16),
            np.concatenate([cell.fractional_positions for cell in known]),
            np.concatenate([cell.born_charges for cell in known]).astype(np.float32),
            np.concatenate([to_blocks(cell.force_constants) for cell in known]).astype(np.float32),
            np.concatenate(maps).astype(np.int32),
            np.concatenate([mode.frequencies for mode in modes]).astype(np.float32),
            np.concatenate([mode.contributions for mode in modes]).astype(np.float32),
            np.concatenate([mode.active for mode in modes]),
        )

    @classmethod
    def join(cls, parts: Sequence[GammaPhonons]) -> GammaPhonons:
        """Return the rows of all parts, one after the other."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.stored_fields()})

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> GammaPhonons:
        """Return the given rows in the given order."""
        chosen = np.arange(len(self))[rows]
        taken: dict[str, Any] = {name: getattr(self, name)[chosen] for name in self.columns()}
        for axis, offsets in self._offsets().items():
            elements, _ = ranges(offsets, chosen)
            taken.update({name: getattr(self, name)[elements] for name in self.columns(axis)})
        return GammaPhonons(**taken)

    def cell(self, row: int, electronic: np.ndarray) -> PhononCell | None:
        """Return the lattice response of a row; None for a row without phonons.

        :param electronic: (3, 3) ε_∞ of this row
        """
        n = int(self.atom_counts[row])
        if not n:
            return None
        offsets = self._offsets()
        atoms, pairs = (slice(*offsets[axis][row : row + 2]) for axis in ('atoms', 'pairs'))
        return PhononCell(
            self.lattices[row],
            self.atomic_numbers[atoms],
            self.fractional_positions[atoms],
            np.asarray(electronic),
            self.born_charges[atoms].astype(np.float64),
            from_blocks(self.force_constants[pairs].astype(np.float64)),
        )

    def charges_as_given(self, row: int) -> np.ndarray:
        """Return the Born charges of the atoms of the crystal as given, (m, 3, 3) e."""
        offsets = self._offsets()
        atoms, given = (slice(*offsets[axis][row : row + 2]) for axis in ('atoms', 'given'))
        return self.born_charges[atoms][self.primitive_atom[given]]

    def record(self, row: int) -> dict[str, Any]:
        """Return Born charges and phonons of a row as plain JSON; both are None for a row without phonons.

        ``born_charges`` has one tensor for each atom of the crystal as given, ``phonons`` the primitive cell with its
        charges and modes.
        """
        n = int(self.atom_counts[row])
        if not n:
            return {'born_charges': None, 'phonons': None}
        atoms, modes = slice(*self._offsets()['atoms'][row : row + 2]), self.row_modes(row)
        finite = np.isfinite(self.contributions[modes]).all(axis=(1, 2))
        return {
            'born_charges': self.charges_as_given(row).tolist(),
            'phonons': {
                'lattice': self.lattices[row].tolist(),
                'species': symbols_of(self.atomic_numbers[atoms]),
                'frac_coords': self.fractional_positions[atoms].tolist(),
                'born_charges': self.born_charges[atoms].tolist(),
                'frequencies': self.frequencies[modes].tolist(),
                'infrared_active': self.infrared_active[modes].tolist(),
                'contributions': [
                    tensor.tolist() if known else None
                    for tensor, known in zip(self.contributions[modes], finite, strict=True)
                ],
            },
        }

    def row_modes(self, row: int) -> slice:
        """Return the place of the modes of a row in ``frequencies``, ``contributions`` and ``infrared_active``."""
        return slice(*self._offsets()['modes'][row : row + 2])

"""``DielectricResponse``: one computed or measured dielectric response with its cell, and ``dielectric.npz``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.phonons import neutral
from aiida_goectp.core.dielectric.tensors import rotate
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.table import Column, JsonObject, Scalar, Stored, Table, Text

__all__ = ('DielectricResponse',)


_CRYSTAL: Mapping[str, Stored] = {
    'id': Scalar('U'),
    'lattice': Column('<f8', (3, 3)),
    'atomic_numbers': Column('<i2', ('atoms',)),
    'fractional_positions': Column('<f8', ('atoms', 3)),
}


class _CrystalArrays(Stored):
    """A crystal, stored as its id and three arrays."""

    def check(self, label: str, name: str, value: Crystal, lengths: dict[str, int]) -> Crystal:
        """Return the crystal with checked arrays."""
        crystal = Crystal(*(part.check(label, key, getattr(value, key), lengths) for key, part in _CRYSTAL.items()))
        lengths['modes'] = 3 * lengths['atoms']
        return crystal

    def encode(self, name: str, value: Crystal) -> dict[str, np.ndarray]:
        """Return the id and the arrays."""
        parts = [part.encode(key, getattr(value, key)) for key, part in _CRYSTAL.items()]
        return {key: array for part in parts for key, array in part.items()}

    def decode(self, name: str, arrays: dict[str, np.ndarray], limit: int) -> Crystal:
        """Remove the arrays and return the crystal; the check refuses a missing one."""
        return Crystal(*(part.decode(key, arrays, limit) for key, part in _CRYSTAL.items()))


def _tensor(*shape: int | str, optional: bool = True, since: int = 1) -> Column:
    return Column('<f8', shape, kinds='fiu', optional=optional, since=since)


_Number = Annotated[float | None, Scalar('<f8', optional=True)]


@dataclass(frozen=True, eq=False)
class DielectricResponse(Table):
    """Dielectric response of one crystal in the Cartesian frame of its cell.

    An unknown array is ``None``, never zero.

    :param crystal: the cell of the tensors, after the relaxation if there is one
    :param electronic: (3, 3) clamped-ion relative permittivity ε_∞, as computed (not symmetrised)
    :param ionic: (3, 3) ionic contribution to the static relative permittivity
    :param born_charges: (n, 3, 3) Born effective charges in e, as computed (acoustic sum rule not enforced); indices
        atom, field, displacement
    :param frequencies: (3n,) THz at Γ without the non-analytic term; imaginary frequencies are negative, the three
        acoustic ones, projected out of the force constants, are zero
    :param band_gap: eV, Kohn-Sham; 0 for a metal, ``None`` if unknown
    :param max_force: eV/Å, largest force on an atom in this cell
    :param scf_converged: whether ground state and response converged
    :param engine: program, such as ``vasp``
    :param functional: such as ``PBEsol``
    :param settings: further settings that determine the numbers, plain JSON; the gate on the cutoff reads ``cutoff``
        and ``recommended_cutoff`` (both eV), that on the gap ``occupations`` (``fixed``, ``smearing``, …)
    :param force_constants: (3n, 3n) eV/Å² at Γ, symmetric, with the translations projected out; an index is 3 × atom +
        direction
    :raises FormatError: inconsistent shapes, or numbers that are not finite
    """

    KIND, VERSION = 'dielectric', 2

    crystal: Annotated[Crystal, _CrystalArrays()]
    electronic: Annotated[np.ndarray, _tensor(3, 3, optional=False)]
    ionic: Annotated[np.ndarray | None, _tensor(3, 3)] = None
    born_charges: Annotated[np.ndarray | None, _tensor('atoms', 3, 3)] = None
    frequencies: Annotated[np.ndarray | None, _tensor('modes')] = None
    band_gap: _Number = None
    max_force: _Number = None
    scf_converged: Annotated[bool, Scalar('?')] = True
    engine: Text = ''
    functional: Text = ''
    settings: JsonObject = field(default_factory=dict)
    force_constants: Annotated[np.ndarray | None, _tensor('modes', 'modes', since=2)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ('electronic', 'ionic', 'born_charges', 'frequencies', 'force_constants', 'band_gap', 'max_force'):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise FormatError(f'{self._label()}: {name} contains numbers that are not finite; omit unknown values')

    def _label(self) -> str:
        return f'dielectric of {self.crystal.id}'

    @property
    def total(self) -> np.ndarray | None:
        """(3, 3) static relative permittivity ε_∞ + ε_ionic; ``None`` if the ionic part is unknown."""
        return None if self.ionic is None else self.electronic + self.ionic

    def phonon_cell(self) -> PhononCell | None:
        """Return the lattice response, with charges whose sum is zero; None without force constants or Born charges."""
        if self.force_constants is None or self.born_charges is None:
            return None
        crystal = self.crystal
        return PhononCell(
            np.asarray(crystal.lattice),
            np.asarray(crystal.atomic_numbers),
            np.asarray(crystal.fractional_positions),
            self.electronic,
            neutral(self.born_charges),
            self.force_constants,
        )

    def rotated(self, rotation: np.ndarray) -> DielectricResponse:
        """Return the response of the crystal after its vectors are transformed from v to R v.

        :param rotation: (3, 3) rotation or reflection R
        :raises ValueError: a matrix that is not orthogonal
        """
        tensors: dict[str, Any] = {
            name: rotate(getattr(self, name), rotation)
            for name in ('electronic', 'ionic', 'born_charges')
            if getattr(self, name) is not None
        }
        if self.force_constants is not None:
            turn = np.kron(np.eye(len(self.crystal.atomic_numbers)), rotation)
            tensors['force_constants'] = turn @ self.force_constants @ turn.T
        crystal = self.crystal._replace(lattice=np.asarray(self.crystal.lattice) @ np.asarray(rotation).T)
        return replace(self, crystal=crystal, **tensors)

"""``DielectricResponse``: one computed (or measured) dielectric response with the cell in whose frame it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.dielectric.tensors import rotate
from aiida_goectp.core.formats.npz import FormatError, check_shape, hash_arrays, read_npz, write_npz

__all__ = ('DielectricResponse',)

_KIND, _VERSION = 'dielectric', 1
_CRYSTAL = ('lattice', 'atomic_numbers', 'fractional_positions')
_ARRAYS = ('electronic', 'ionic', 'born_charges', 'frequencies')
_NUMBERS = ('band_gap', 'max_force')


@dataclass(frozen=True, eq=False)
class DielectricResponse:
    """The dielectric response of one crystal; everything in the Cartesian frame of its cell.

    An array that the engine does not give is ``None``, never zeros.

    :param crystal: the cell that the tensors belong to (after relaxation, if there was one)
    :param electronic: (3, 3) clamped-ion relative permittivity ε_∞, as computed (not symmetrised)
    :param ionic: (3, 3) ionic contribution to the static relative permittivity
    :param born_charges: (n, 3, 3) Born effective charges in e, as computed (their sum not yet taken off): atom, field,
        displacement
    :param frequencies: (3n,) THz at Γ without the non-analytic term, imaginary ones negative; the acoustic modes have
        been projected out of the force constants and count among them as zeros
    :param band_gap: eV, Kohn-Sham; 0 for a metal, ``None`` if unknown
    :param max_force: eV/Å, largest force on an atom in this cell
    :param scf_converged: whether ground state and response converged
    :param engine: who computed it, e.g. ``vasp``
    :param functional: e.g. ``PBEsol``
    :param settings: what else determines the numbers, plain JSON; the gate on the cutoff reads ``cutoff`` and
        ``recommended_cutoff`` (both eV)
    :raises FormatError: shapes that do not fit together, or numbers that are not finite
    """

    crystal: Crystal
    electronic: np.ndarray
    ionic: np.ndarray | None = None
    born_charges: np.ndarray | None = None
    frequencies: np.ndarray | None = None
    band_gap: float | None = None
    max_force: float | None = None
    scf_converged: bool = True
    engine: str = ''
    functional: str = ''
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        label = f'dielectric of {self.crystal.id}'
        n = len(self.crystal.atomic_numbers)
        check_shape(label, 'lattice', np.asarray(self.crystal.lattice), (3, 3), 'f')
        check_shape(label, 'atomic_numbers', np.asarray(self.crystal.atomic_numbers), (n,), 'iu')
        check_shape(label, 'fractional_positions', np.asarray(self.crystal.fractional_positions), (n, 3), 'f')
        shapes = {'electronic': (3, 3), 'ionic': (3, 3), 'born_charges': (n, 3, 3), 'frequencies': (3 * n,)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None and name != 'electronic':
                continue
            array = check_shape(label, name, None if value is None else np.asarray(value), shape, 'fiu')
            object.__setattr__(self, name, array.astype(np.float64))
            if not np.isfinite(array).all():
                raise FormatError(f'{label}: {name} holds numbers that are not finite; leave out what is not known')
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None:
                if not np.isfinite(value):
                    raise FormatError(f'{label}: {name} is {value}; leave it out if it is not known')
                object.__setattr__(self, name, float(value))
        object.__setattr__(self, 'scf_converged', bool(self.scf_converged))

    @property
    def total(self) -> np.ndarray | None:
        """(3, 3) static relative permittivity ε_∞ + ε_ionic; ``None`` if the ionic part is not known."""
        return None if self.ionic is None else self.electronic + self.ionic

    @cached_property
    def content_hash(self) -> str:
        """Hash of all that it holds."""
        return hash_arrays(self._arrays())

    def rotated(self, rotation: np.ndarray) -> DielectricResponse:
        """Return the response of the crystal after its vectors went from v to R v.

        :param rotation: (3, 3) rotation or reflection R
        :raises ValueError: a matrix that is not orthogonal
        """
        turned: dict[str, Any] = {
            name: rotate(getattr(self, name), rotation)
            for name in ('electronic', 'ionic', 'born_charges')
            if getattr(self, name) is not None
        }
        crystal = self.crystal._replace(lattice=np.asarray(self.crystal.lattice) @ np.asarray(rotation).T)
        return replace(self, crystal=crystal, **turned)

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write ``dielectric.npz``, format version 1; the same content gives the same bytes."""
        write_npz(target, _KIND, _VERSION, self._arrays())

    @classmethod
    def load(cls, source: str | Path | IO[bytes]) -> DielectricResponse:
        """Read ``dielectric.npz``.

        :raises FormatError: not such a file, another version, an unknown array, shapes that do not fit together
        """
        arrays = read_npz(source, _KIND, _VERSION)
        label = str(source) if isinstance(source, str | Path) else 'dielectric.npz'
        try:
            texts: dict[str, Any] = {name: _text(arrays, name) for name in ('id', 'engine', 'functional', 'settings')}
            settings = json.loads(texts.pop('settings'))
            if not isinstance(settings, dict):
                raise FormatError(f'settings must be a JSON object, found {type(settings).__name__}')
            crystal = Crystal(texts.pop('id'), *(_take(arrays, name) for name in _CRYSTAL))
            numbers: dict[str, Any] = {
                name: float(check_shape('', name, arrays.pop(name), (), 'f')) for name in _NUMBERS if name in arrays
            }
            converged = check_shape('', 'scf_converged', arrays.pop('scf_converged', None), (), 'b')
            parts: dict[str, Any] = {name: arrays.pop(name) for name in _ARRAYS if name in arrays}
            if arrays or 'electronic' not in parts:
                raise FormatError(f'unknown arrays {", ".join(arrays)}' if arrays else "array 'electronic' is missing")
            return cls(crystal, **parts, **numbers, **texts, scf_converged=bool(converged), settings=settings)
        except (FormatError, json.JSONDecodeError) as error:
            raise FormatError(f'{label}: {str(error).removeprefix(": ")}') from error

    def _arrays(self) -> dict[str, np.ndarray]:
        numbers = {name: getattr(self, name) for name in (*_ARRAYS, *_NUMBERS)}
        return {
            'id': np.array(self.crystal.id, dtype=np.str_),
            'lattice': np.asarray(self.crystal.lattice).astype('<f8'),
            'atomic_numbers': np.asarray(self.crystal.atomic_numbers).astype('<i2'),
            'fractional_positions': np.asarray(self.crystal.fractional_positions).astype('<f8'),
            **{name: np.asarray(value).astype('<f8') for name, value in numbers.items() if value is not None},
            'scf_converged': np.array(self.scf_converged),
            'engine': np.array(self.engine, dtype=np.str_),
            'functional': np.array(self.functional, dtype=np.str_),
            'settings': np.array(json.dumps(dict(self.settings), sort_keys=True)),
        }


def _text(arrays: dict[str, np.ndarray], name: str) -> str:
    return str(check_shape('', name, arrays.pop(name, None), (), 'U'))


def _take(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Return and remove an array that must be there."""
    if name not in arrays:
        raise FormatError(f'array {name!r} is missing')
    return arrays.pop(name)

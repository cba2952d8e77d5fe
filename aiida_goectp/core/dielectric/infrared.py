"""``InfraredSpectra``: permittivity and reflectivity against frequency from one or more sources, and their files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Any

import numpy as np

from aiida_goectp.core.dielectric.gamma_modes import WAVENUMBER, permittivity_spectrum, reflectivity
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.formats.table import Column, Scalar, Table, TextColumn
from aiida_goectp.core.formats.terminal import csv_cell, json_text

__all__ = ('InfraredSpectra', 'axis_name', 'default_range', 'infrared_spectra', 'principal_axes')

_EQUAL = 1e-4
"""relative difference of principal values below which they are equal"""
_SAME_SPECTRUM = 1e-3
"""relative difference of spectra below which two axes are equivalent"""
_NOT_COUPLED = 1e-9
"""share of the largest entry of ε along the axes below which an entry is zero"""
_NO_MODES = 30.0
"""THz, end of the range of a crystal without optical modes"""


@dataclass(frozen=True, eq=False)
class InfraredSpectra(Table):
    """Relative permittivity ε(ω) and reflectivity at normal incidence, from s sources at k frequencies.

    :param labels: (s,) name of each source, such as ``prediction`` and ``DFPT``
    :param frequencies: (k,) THz, ascending
    :param axes: (s, 3, 3) unit vectors, rows: principal axes of ε_∞, in the Cartesian frame of each source
    :param real: (s, k, 3, 3) real part of ε, Cartesian
    :param imaginary: (s, k, 3, 3) imaginary part, positive where light is absorbed
    :param reflectivity: (s, k, 3) for light that is polarised along each axis and travels along another one, see
        :attr:`incidence`
    :param damping: THz, γ/2π of all modes
    """

    KIND = 'infrared'

    labels: TextColumn
    frequencies: Annotated[np.ndarray, Column('<f8', ('frequencies',))]
    axes: Annotated[np.ndarray, Column('<f8', ('rows', 3, 3))]
    real: Annotated[np.ndarray, Column('<f8', ('rows', 'frequencies', 3, 3))]
    imaginary: Annotated[np.ndarray, Column('<f8', ('rows', 'frequencies', 3, 3))]
    reflectivity: Annotated[np.ndarray, Column('<f8', ('rows', 'frequencies', 3))]
    damping: Annotated[float, Scalar('<f8')]

    @property
    def permittivity(self) -> np.ndarray:
        """(s, k, 3) complex ε along the axes."""
        return np.einsum('sai,skij,saj->ska', self.axes, self.real + 1j * self.imaginary, self.axes)

    @property
    def incidence(self) -> np.ndarray:
        """(3,) index of the axis along which light polarised along each axis travels.

        It is that of the other two to which ε of the first source couples the polarisation less: b of a monoclinic
        crystal for a polarisation in the plane across b. Where ε is diagonal, both give the same reflectivity.
        """
        return _incidence(self.axes[0], self.real[0] + 1j * self.imaginary[0])

    def distinct_axes(self) -> list[list[int]]:
        """Return the axes in groups whose spectra are equal in every source, such as ``[[0, 1], [2]]``."""
        values = self.permittivity
        scale = _SAME_SPECTRUM * np.abs(values).max(axis=(1, 2))[:, None]
        groups: list[list[int]] = []
        for axis in range(3):
            known = next((g for g in groups if (np.abs(values[..., g[0]] - values[..., axis]) < scale).all()), None)
            if known is None:
                groups.append([axis])
            else:
                known.append(axis)
        return groups

    def csv(self) -> bytes:
        """Return a table with one line for each source and frequency; ε along the axes, without its other entries.

        ``axis_1_x`` … are the components of the axes, in the Cartesian frame of the source; ``incidence_1`` … the
        number of the axis along which the light of each reflectivity travels.
        """
        names = ['source', 'frequency_thz', 'wavenumber_per_cm']
        names += [f'{name}_{axis}' for axis in (1, 2, 3) for name in ('real', 'imaginary', 'reflectivity')]
        names += [f'axis_{axis}_{component}' for axis in (1, 2, 3) for component in 'xyz']
        names += [f'incidence_{axis}' for axis in (1, 2, 3)]
        stream = io.StringIO()
        writer = csv.writer(stream)
        writer.writerow(names)
        values, incidence = self.permittivity, self.incidence + 1
        for source, label in enumerate(self.labels):
            last = [*(self.axes[source] + 0.0).reshape(-1), *incidence]  # + 0.0 turns −0.0 into 0.0
            for place, frequency in enumerate(self.frequencies):
                numbers = [frequency, frequency * WAVENUMBER]
                for axis in range(3):
                    value = values[source, place, axis]
                    numbers += [value.real, value.imag, self.reflectivity[source, place, axis]]
                writer.writerow([csv_cell(str(label)), *(f'{number:.8g}' for number in (*numbers, *last))])
        return stream.getvalue().encode()

    def json(self) -> bytes:
        """Return an object with the arrays; real and imaginary part are full tensors, ``incidence`` counts from 1."""
        content: dict[str, Any] = {
            'damping': self.damping,
            'frequencies': self.frequencies.tolist(),
            'incidence': (self.incidence + 1).tolist(),
            'sources': [
                {
                    'label': str(label),
                    **{name: getattr(self, name)[row].tolist() for name in ('axes', 'real', 'imaginary')},
                    'reflectivity': self.reflectivity[row].tolist(),
                }
                for row, label in enumerate(self.labels)
            ],
        }
        return (json_text(content) + '\n').encode()

    def npz(self) -> bytes:
        """Return the content of ``infrared.npz``."""
        stream = io.BytesIO()
        self.save(stream)
        return stream.getvalue()


def infrared_spectra(cells: Mapping[str, PhononCell], frequencies: np.ndarray, damping: float) -> InfraredSpectra:
    """Return the spectra of cells of one crystal.

    The axes of each source are the principal axes of its ε_∞, in the order of those of the first source that they are
    closest to after the rotation between both crystals; without it if structure matching finds none. In monoclinic and
    triclinic crystals the principal axes of ε(ω) turn with the frequency.

    :param cells: label → cell
    :param frequencies: (k,) THz
    :param damping: THz, γ/2π of every mode; positive
    :raises ValueError: a damping that is not positive
    """
    axes: list[np.ndarray] = []
    spectra, reflected = [], []
    for cell in cells.values():
        own = principal_axes(cell.electronic)
        axes.append(own if not axes else _in_order_of(own, axes[0], _rotation(next(iter(cells.values())), cell)))
        spectrum = permittivity_spectrum(cell.modes(), cell.electronic, cell.volume, frequencies, damping)
        spectra.append(spectrum)
        travels = axes[-1][_incidence(axes[0], spectra[0])]
        reflected.append(
            np.stack([reflectivity(spectrum, *pair) for pair in zip(axes[-1], travels, strict=True)], axis=1)
        )
    values = np.array(spectra)
    return InfraredSpectra(
        np.array(list(cells)), frequencies, np.array(axes), values.real, values.imag, np.array(reflected), damping
    )


def default_range(cells: Mapping[str, PhononCell]) -> tuple[float, float]:
    """Return the range from zero to beyond the highest longitudinal frequency, THz."""
    highest = [
        float(cell.longitudinal(axis).max(initial=0.0))
        for cell in cells.values()
        for axis in principal_axes(cell.electronic)
    ]
    return 0.0, 1.2 * max(highest) if max(highest) > 0 else _NO_MODES


def principal_axes(tensor: np.ndarray) -> np.ndarray:
    """Return the principal axes of the symmetric part of a tensor (3, 3) as unit vectors, rows.

    Where principal values are equal, the axes closest to x, y and z are chosen. Axes along x, y and z are in this
    order, others in the order of ascending principal values; the largest component of each is positive.
    """
    values, vectors = np.linalg.eigh((tensor + np.asarray(tensor).T) / 2)
    axes: list[np.ndarray] = []
    ends = [*(np.flatnonzero(np.diff(values) > _EQUAL * np.abs(values).max()) + 1).tolist(), 3]
    for start, end in zip([0, *ends], ends, strict=False):
        candidates = vectors[:, start:end] @ vectors[:, start:end].T  # x, y and z, projected
        for _ in range(end - start):
            lengths = np.linalg.norm(candidates, axis=1)
            # of equal lengths the first, whatever the rounding
            axis = candidates[int(np.argmax(lengths > lengths.max() - 1e-6))]
            axis = axis / np.linalg.norm(axis)
            axes.append(axis * np.sign(axis[np.abs(axis).argmax()]))
            candidates = candidates - np.outer(candidates @ axis, axis)
    found = np.array(axes)
    largest = np.abs(found).argmax(axis=1)
    if np.abs(found).max(axis=1).min() > 1 - 1e-6:
        found = np.eye(3)[np.sort(largest)]
    return found


def _incidence(axes: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Return the index (3,) of the other axis, rows of (3, 3), to which ε (k, 3, 3) couples each axis least."""
    couplings = np.abs(axes @ spectrum @ axes.T).sum(axis=0)
    couplings[couplings < _NOT_COUPLED * couplings.max()] = 0.0  # of equal ones the first, whatever the rounding
    np.fill_diagonal(couplings, np.inf)
    return couplings.argmin(axis=1)


def _in_order_of(axes: np.ndarray, reference: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return the axes, rows, in the order in which they are closest to those of a reference after a rotation."""
    overlap = np.abs(reference @ rotation @ axes.T)
    best = max(permutations(range(3)), key=lambda order: overlap[range(3), order].sum())
    return axes[list(best)]


def _rotation(first: PhononCell, second: PhononCell) -> np.ndarray:
    """Return the rotation or reflection (3, 3) from the frame of the second crystal to that of the first.

    That of the same crystal in another orientation; the identity if the structures do not match.
    """
    from aiida_goectp.core.crystals.matching import align  # importing numba takes a second
    from aiida_goectp.core.crystals.symmetry import canonical_cell

    found = align(canonical_cell(first.crystal()), canonical_cell(second.crystal()))
    return np.eye(3) if found is None else found.rotation


def axis_name(axis: np.ndarray) -> str:
    """Return ``x``, ``y``, ``z``, or the components of a unit vector (3,)."""
    largest = int(np.abs(axis).argmax())
    if abs(axis[largest]) > 1 - 1e-6:
        return 'xyz'[largest]
    return f'[{" ".join(f"{value + 0.0:.2f}" for value in np.round(axis, 2))}]'

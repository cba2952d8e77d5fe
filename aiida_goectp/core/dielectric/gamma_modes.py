"""Vibrations at Γ from force constants and Born charges: frequencies, infrared activity, permittivity, reflectivity.

With the mass-weighted force constants D = M^−½ Φ M^−½, their eigenvalues λ and eigenvectors e, and the mode effective
charges S = Σ Z* M^−½ e, the permittivity at the frequency ω is (Gonze and Lee, Phys. Rev. B 55, 10355 (1997), eqs. 51
to 58)

.. math:: ε(ω) = ε_∞ + \\frac{e²}{ε_0 V} \\sum_m \\frac{S_m ⊗ S_m}{λ_m − ω² − iγω}
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = (
    'DIPOLE_STRENGTH',
    'THZ',
    'WAVENUMBER',
    'GammaModes',
    'ModeGroup',
    'degenerate_modes',
    'folded',
    'from_blocks',
    'gamma_modes',
    'longitudinal_frequencies',
    'mean_by_atom',
    'mode_groups',
    'permittivity_spectrum',
    'reflectivity',
    'to_blocks',
    'unit_vector',
)

DIPOLE_STRENGTH = 180.9512801
"""eV Å, e²/ε₀, CODATA 2018"""
THZ = 15.6333023
"""THz, frequency of one atomic mass unit on a spring of 1 eV/Å², CODATA 2018"""
WAVENUMBER = 33.35640952
"""cm⁻¹ of 1 THz"""
_SAME_FREQUENCY = 0.01
"""THz"""
_ACTIVE = 1e-4
"""share of the strongest squared mode effective charge below which a mode is infrared inactive"""
_NO_CHARGE = 1e-9
"""e²/u, squared mode effective charge that is due to rounding; that of polar modes is 10⁻³ to 10"""
_PERPENDICULAR = 1e-6
"""cosine of the angle between perpendicular directions"""


class GammaModes(NamedTuple):
    """The 3n − 3 optical modes of a crystal with n atoms, in ascending order."""

    frequencies: np.ndarray
    """(3n − 3,) THz, transverse; imaginary ones are negative"""
    vectors: np.ndarray
    """(3n − 3, n, 3) orthonormal eigenvectors of the mass-weighted force constants"""
    charges: np.ndarray
    """(3n − 3, 3) e/√u, mode effective charges"""
    contributions: np.ndarray
    """(3n − 3, 3, 3) to the static permittivity; only the sum over modes of equal frequency is unique. Negative for a
    mode with imaginary frequency, which has no static response; infinite for one of zero frequency"""
    active: np.ndarray
    """(3n − 3,) whether the mode is infrared active"""


class ModeGroup(NamedTuple):
    """Optical modes of equal frequency."""

    modes: slice
    """their places among the modes"""
    frequency: float
    """THz, mean; negative if imaginary"""
    active: bool
    """whether one of them is infrared active"""
    contribution: float
    """to the polycrystalline average of the ionic permittivity; without meaning if the frequency is imaginary"""

    @property
    def degeneracy(self) -> int:
        """Number of modes."""
        return int(self.modes.stop - self.modes.start)


def to_blocks(matrix: np.ndarray) -> np.ndarray:
    """Return the (n², 3, 3) blocks of a matrix (3n, 3n), one a pair of atoms, the second atom running fastest."""
    n = len(matrix) // 3
    return matrix.reshape(n, 3, n, 3).transpose(0, 2, 1, 3).reshape(n * n, 3, 3)


def from_blocks(blocks: np.ndarray) -> np.ndarray:
    """Return the matrix (3n, 3n) of blocks (n², 3, 3)."""
    n = round(len(blocks) ** 0.5)
    return blocks.reshape(n, n, 3, 3).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)


def mean_by_atom(values: np.ndarray, atoms: np.ndarray, count: int) -> np.ndarray:
    """Return the means over the atoms of a crystal as given that are the same atom of the primitive cell."""
    total = np.zeros((count, 3, 3))
    np.add.at(total, atoms, values)
    return total / np.bincount(atoms, minlength=count)[:, None, None]


def folded(blocks: np.ndarray, atoms: np.ndarray, count: int) -> np.ndarray:
    """Return the force constants (3n, 3n) of the primitive cell: sums over the images of the second atom.

    :param blocks: (m², 3, 3) of the m atoms of the crystal as given
    :param atoms: (m,) the atom of the primitive cell of each
    :param count: n
    """
    m = len(atoms)
    total = np.zeros((count, count, 3, 3))
    np.add.at(total, (atoms[:, None], atoms[None, :]), blocks.reshape(m, m, 3, 3).astype(np.float64))
    return (total * (count / m)).transpose(0, 2, 1, 3).reshape(3 * count, 3 * count)


def gamma_modes(force_constants: np.ndarray, born_charges: np.ndarray, masses: np.ndarray, volume: float) -> GammaModes:
    """Return the optical modes at Γ without the macroscopic field.

    :param force_constants: (3n, 3n) eV/Å²; an index is 3 × atom + direction. Translations are projected out
    :param born_charges: (n, 3, 3) e; indices atom, field, displacement
    :param masses: (n,) u
    :param volume: Å³
    """
    values, vectors = _optical_modes(_mass_weighted(force_constants, masses), masses)
    weighted = np.asarray(born_charges) / np.sqrt(masses)[:, None, None]
    charges = np.einsum('ifd,mid->mf', weighted, vectors)
    with np.errstate(divide='ignore', invalid='ignore'):
        contributions = DIPOLE_STRENGTH / volume * charges[:, :, None] * charges[:, None, :] / values[:, None, None]
    strengths = (charges**2).sum(axis=1)
    active = strengths > max(_ACTIVE * strengths.max(initial=0.0), _NO_CHARGE)
    contributions[np.isnan(contributions)] = 0.0  # a mode without charge and frequency
    return GammaModes(_as_frequencies(values), vectors, charges, contributions, active)


def degenerate_modes(frequencies: np.ndarray) -> list[slice]:
    """Return the modes of equal frequency, within 0.01 THz of the one before and of the same sign.

    :param frequencies: (k,) THz, ascending
    """
    split = (np.diff(frequencies) > _SAME_FREQUENCY) | (np.diff(np.sign(frequencies)) != 0)
    ends = [*(np.flatnonzero(split) + 1).tolist(), len(frequencies)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False) if end > start]


def mode_groups(frequencies: np.ndarray, contributions: np.ndarray, active: np.ndarray) -> list[ModeGroup]:
    """Return the modes in groups of equal frequency, ascending; the arrays are those of :class:`GammaModes`."""
    shares = np.trace(contributions, axis1=1, axis2=2) / 3
    return [
        ModeGroup(modes, float(frequencies[modes].mean()), bool(active[modes].any()), float(shares[modes].sum()))
        for modes in degenerate_modes(frequencies)
    ]


def longitudinal_frequencies(
    force_constants: np.ndarray,
    born_charges: np.ndarray,
    electronic: np.ndarray,
    masses: np.ndarray,
    volume: float,
    direction: np.ndarray,
) -> np.ndarray:
    """Return the frequencies of the optical modes for q → 0 along a direction, with their macroscopic field.

    :param force_constants: as for :func:`gamma_modes`
    :param born_charges: likewise
    :param electronic: (3, 3) ε_∞
    :param masses: (n,) u
    :param volume: Å³
    :param direction: (3,) of q, Cartesian, any length
    :return: (3n − 3,) THz, ascending; imaginary ones are negative
    :raises ValueError: a vector without direction
    """
    q = unit_vector(direction, 'direction')
    field = np.einsum('f,ifd->id', q, born_charges).ravel()
    term = DIPOLE_STRENGTH / volume * np.outer(field, field) / (q @ electronic @ q)
    return _as_frequencies(_optical_modes(_mass_weighted(force_constants + term, masses), masses)[0])


def permittivity_spectrum(
    modes: GammaModes, electronic: np.ndarray, volume: float, frequencies: np.ndarray, damping: float
) -> np.ndarray:
    """Return the relative permittivity at given frequencies, (k, 3, 3) complex.

    :param electronic: (3, 3) ε_∞
    :param volume: Å³
    :param frequencies: (k,) THz
    :param damping: THz, γ/2π of every mode; positive
    :raises ValueError: a damping that is not positive, with which light would be amplified, or ε infinite at a mode;
        the frequency zero, if a mode with charge has it
    """
    if not 0 < damping < np.inf:
        raise ValueError(f'damping {damping:g}: expected a positive number (THz)')
    omega = np.asarray(frequencies)[:, None]
    charged = modes.charges.any(axis=1)  # a mode without charge and frequency, as between distant atoms, would be 0/0
    squares = (np.sign(modes.frequencies) * modes.frequencies**2)[charged]
    charges, distance = modes.charges[charged], squares - omega**2 - 1j * damping * omega
    if not distance.all():
        raise ValueError('a mode of zero frequency has no static permittivity; give frequencies above zero')
    response = DIPOLE_STRENGTH / volume * THZ**2 / distance
    return electronic + np.einsum('km,ma,mb->kab', response, charges, charges)


def reflectivity(spectrum: np.ndarray, polarisation: np.ndarray, incidence: np.ndarray) -> np.ndarray:
    """Return the reflectivity at normal incidence on a thick crystal, (k,), between 0 and 1.

    In the crystal, the displacement has no component along the direction of incidence n. With this condition, field
    and displacement across n are related by a (2, 2) tensor N² = ε_⊥⊥ − ε_⊥n ε_n⊥/ε_nn, and the reflected field is
    (1 − N)(1 + N)⁻¹ times the incident one (Berreman, J. Opt. Soc. Am. 62, 502 (1972)). Both polarisations of the
    reflected light are counted. Along a principal axis of ε the result is the squared modulus of (√ε − 1)/(√ε + 1); in
    monoclinic and triclinic crystals, whose principal axes turn with the frequency, that formula is wrong by up to 0.8.

    :param spectrum: (k, 3, 3) complex, result of :func:`permittivity_spectrum`
    :param polarisation: (3,) direction of the electric field of the incident light, any length
    :param incidence: (3,) direction in which it travels, perpendicular to the field, any length
    :raises ValueError: a vector without direction, or directions that are not perpendicular
    """
    field, normal = unit_vector(polarisation, 'polarisation'), unit_vector(incidence, 'incidence')
    if abs(field @ normal) > _PERPENDICULAR:
        raise ValueError(f'polarisation {field.tolist()} is not perpendicular to the incidence {normal.tolist()}')
    axes = np.array([field, np.cross(normal, field), normal])
    turned = axes @ np.asarray(spectrum, dtype=complex) @ axes.T
    squared = turned[:, :2, :2] - turned[:, :2, 2:] * turned[:, 2:, :2] / turned[:, 2:, 2:]
    # the square root by the theorem of Cayley and Hamilton, which needs no eigenvectors: they may coincide
    indices = np.sqrt(np.linalg.eigvals(squared))[:, :, None, None]
    index = (squared + indices[:, 0] * indices[:, 1] * np.eye(2)) / (indices[:, 0] + indices[:, 1])
    reflected = np.linalg.solve(np.eye(2) + index, np.eye(2) - index)[:, :, 0]
    return (np.abs(reflected) ** 2).sum(axis=1)


def unit_vector(vector: np.ndarray, name: str) -> np.ndarray:
    """Return the unit vector of a direction.

    :param vector: (3,) any length
    :param name: for the message
    :raises ValueError: a vector that is zero or not finite
    """
    array = np.asarray(vector, dtype=float)
    largest = np.abs(array).max(initial=0.0)
    if not 0 < largest < np.inf:
        raise ValueError(f'{name} {array.tolist()}: expected finite numbers, not all zero')
    scaled = array / largest  # the square of a very small or large number is zero or infinite
    return scaled / np.linalg.norm(scaled)


def _mass_weighted(force_constants: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Return D = M^−½ Φ M^−½ (3n, 3n), with the symmetric part of Φ."""
    roots = np.repeat(np.sqrt(masses), 3)
    return (force_constants + force_constants.T) / (2 * np.outer(roots, roots))


def _optical_modes(dynamical: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (3n − 3,) and eigenvectors (3n − 3, n, 3) in the complement of the rigid translations."""
    n = len(masses)
    translations = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))
    inner = np.linalg.svd(translations, full_matrices=True)[0][:, 3:]
    values, vectors = np.linalg.eigh(inner.T @ dynamical @ inner)
    return values, (inner @ vectors).T.reshape(-1, n, 3)


def _as_frequencies(values: np.ndarray) -> np.ndarray:
    """Return THz of eigenvalues in eV/(Å² u)."""
    return THZ * np.sign(values) * np.sqrt(np.abs(values))

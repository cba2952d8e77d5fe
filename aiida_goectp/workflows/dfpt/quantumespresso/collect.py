"""Conversion of the outputs of ``pw.x`` and ``ph.x`` into one :class:`.DielectricData`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.phonons import (
    RYDBERG_PER_BOHR2,
    DynamicalMatrix,
    frequencies,
    ionic_tensor,
    parse_dynamical_matrix,
    parse_tensors,
    project_translations,
    response_converged,
)
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.quantumespresso.functional import functional_name

__all__ = (
    'band_gap',
    'band_gap_quantumespresso',
    'collect_quantumespresso',
    'dielectric_from_quantumespresso',
)

MATRIX, TENSORS, OUTPUT = 'DYN_MAT/dynamical-matrix-1', 'tensors.xml', 'aiida.out'

_POSITION_TOLERANCE = 1e-3  # Å
_MAX_NUMBER = 1e12  # eV, eV/Å; a larger number is damaged


@calcfunction
def collect_quantumespresso(
    structure: orm.StructureData,
    ground_state: orm.Dict,
    bands: orm.BandsData,
    trajectory: orm.TrajectoryData,
    retrieved: orm.FolderData,
    settings: orm.Dict,
    rotation: orm.ArrayData | None = None,
) -> DielectricData:
    """Return the dielectric response of one run of ``pw.x`` and one of ``ph.x``.

    :param structure: cell of both runs
    :param ground_state: output ``output_parameters`` of ``pw.x``
    :param bands: output ``output_band`` of ``pw.x``
    :param trajectory: output ``output_trajectory`` of ``pw.x``, for the forces
    :param retrieved: retrieved files of ``ph.x``
    :param settings: settings to be stored with the response; ``recommended_cutoff`` (eV) is used by the cutoff gate
    :param rotation: array ``rotation`` (3, 3) by which the cell was rotated; the response is rotated back
    :raises FormatError: no response in the files, or a response of another cell
    """
    crystal = crystal_from_structure(structure.get_formula(), structure)
    retrieved_names = {str(root / name) for root, _, names in retrieved.base.repository.walk() for name in names}
    names = {TENSORS, MATRIX, OUTPUT} & retrieved_names
    files = {
        name: retrieved.base.repository.get_object_content(name, mode='rb').decode(errors='replace') for name in names
    }
    parameters = ground_state.get_dict()
    result = dielectric_from_quantumespresso(
        crystal,
        files,
        gap=band_gap(*bands.get_bands(also_occupations=True)),
        forces=trajectory.get_array('forces') if 'forces' in trajectory.get_arraynames() else None,
        ground_state=parameters,
        settings=settings.get_dict(),
    )
    if rotation is not None:
        result = result.rotated(rotation.get_array('rotation').T)
    return DielectricData(result)


def dielectric_from_quantumespresso(
    crystal: Crystal,
    files: Mapping[str, str],
    *,
    gap: float,
    forces: np.ndarray | None,
    ground_state: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> DielectricResponse:
    """Return the dielectric response of one run of ``pw.x`` and one of ``ph.x``.

    :param crystal: cell of both runs, in its Cartesian frame, which pw.x keeps (``ibrav = 0``)
    :param files: contents by name: ``tensors.xml``; ``DYN_MAT/dynamical-matrix-1`` if phonons were computed; standard
        output ``aiida.out``, from which the convergence of the response is read
    :param gap: Kohn-Sham band gap, eV
    :param forces: (…, n, 3) eV/Å, the last ones count; damaged ones are unknown
    :param ground_state: ``output_parameters`` of aiida-quantumespresso for ``pw.x``
    :param settings: stored with the response, extended by cutoff, version and mesh; the parameters of both programs in
        ``ground_state`` and ``response`` name the functional
    :raises FormatError: no response in the files, or a response of another cell
    """
    ionic = modes = constants = None
    electronic, charges, matrix, problems = _read(files)
    if matrix is not None:
        _check_same_cell(crystal, matrix.lattice, matrix.positions)
        modes = frequencies(matrix.force_constants, matrix.masses)
        constants = project_translations(matrix.force_constants) * RYDBERG_PER_BOHR2
    if electronic is None:
        found = '; '.join(problems) or ', '.join(sorted(files)) or 'none'
        raise FormatError(
            f'{crystal.id}: no dielectric tensor in the files of ph.x ({found}); ph.x computes it for an insulator '
            'with epsil = .true.'
        )
    if charges is not None and len(charges) != len(crystal.atomic_numbers):
        raise FormatError(f'{crystal.id}: {len(crystal.atomic_numbers)} atoms, charges of {len(charges)} in {TENSORS}')
    if matrix is not None and charges is not None:
        ionic = ionic_tensor(matrix.force_constants, charges, float(abs(np.linalg.det(crystal.lattice))))
    convergence = (ground_state.get('convergence_info') or {}).get('scf_conv') or {}
    notes = [*settings.get('notes', ()), *problems]
    return DielectricResponse(
        crystal,
        electronic,
        ionic=ionic,
        born_charges=charges,
        frequencies=modes,
        force_constants=constants,
        band_gap=gap,
        max_force=_max_force(forces, len(crystal.atomic_numbers)),
        scf_converged=bool(convergence.get('convergence_achieved', True)) and response_converged(files.get(OUTPUT, '')),
        engine='quantumespresso',
        functional=_functional(ground_state, settings),
        settings={
            **settings,
            **({'notes': notes} if notes else {}),
            'cutoff': ground_state.get('wfc_cutoff'),
            'version': ground_state.get('creator_version'),
            'mesh': ground_state.get('monkhorst_pack_grid'),
            'mesh_offset': ground_state.get('monkhorst_pack_offset'),
        },
    )


def _functional(ground_state: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    parameters = {**(settings.get('ground_state') or {}), **(settings.get('response') or {})}
    text = str(ground_state.get('dft_exchange_correlation') or '')
    return functional_name(text, parameters, bool(ground_state.get('lda_plus_u_calculation')))


def _read(
    files: Mapping[str, str],
) -> tuple[np.ndarray | None, np.ndarray | None, DynamicalMatrix | None, list[str]]:
    """Return ε_∞, Born charges, the dynamical matrix, and what is wrong with a damaged file, whose part is missing."""
    electronic = charges = matrix = None
    problems = []
    try:
        if TENSORS in files:
            electronic, charges = parse_tensors(files[TENSORS])
    except FormatError as error:
        problems.append(str(error))
    try:
        if files.get(MATRIX, '').strip():  # ph.x creates an empty file before the first phonon
            matrix = parse_dynamical_matrix(files[MATRIX])
            electronic = matrix.electronic if electronic is None else electronic
            charges = matrix.born_charges if charges is None else charges
    except FormatError as error:
        problems.append(str(error))
    return electronic, charges, matrix, problems


def _max_force(forces: Any, n: int) -> float | None:
    """Return the largest of the last forces on n atoms in eV/Å; ``None`` if they are unknown or damaged."""
    if forces is None:
        return None
    array = np.asarray(forces, dtype=np.float64)
    if not array.size or array.size % (3 * n) or not (np.abs(array) < _MAX_NUMBER).all():
        return None
    return float(np.linalg.norm(array.reshape(-1, n, 3)[-1], axis=-1).max())


def _check_same_cell(crystal: Crystal, lattice: np.ndarray, positions: np.ndarray) -> None:
    """Check that a dynamical matrix belongs to a crystal: same cell, Cartesian frame and order of atoms.

    :raises FormatError: it does not
    """
    if len(positions) != len(crystal.atomic_numbers):
        raise FormatError(f'{crystal.id}: {len(crystal.atomic_numbers)} atoms, {len(positions)} in {MATRIX}')
    deviation = np.abs(lattice - crystal.lattice).max()
    if deviation > _POSITION_TOLERANCE:
        raise FormatError(
            f'{crystal.id}: the lattice in {MATRIX} differs by {deviation:.3g} Å: another cell or Cartesian frame'
        )
    steps = positions @ np.linalg.inv(lattice) - crystal.fractional_positions
    deviation = np.abs((steps - np.round(steps)) @ lattice).max()
    if deviation > _POSITION_TOLERANCE:
        raise FormatError(
            f'{crystal.id}: a position in {MATRIX} differs by {deviation:.3g} Å: another cell or order of atoms'
        )


@calcfunction
def band_gap_quantumespresso(bands: orm.BandsData) -> orm.Float:
    """Return the band gap in eV on the k-point mesh of a ``pw.x`` run; 0 for a metal."""
    return orm.Float(band_gap(*bands.get_bands(also_occupations=True)))


def band_gap(bands: np.ndarray, occupations: np.ndarray) -> float:
    """Return the difference between the lowest empty and the highest occupied state on the mesh, 0 for a metal.

    This is an upper bound: the band edges need not be on the mesh.

    :param bands: (k, bands) or (spins, k, bands), eV
    :param occupations: same shape; a partial occupation makes the crystal a metal
    :raises ValueError: no empty band, or damaged numbers
    """
    if np.ndim(bands) < 2 or np.shape(bands) != np.shape(occupations) or not np.size(bands):
        raise ValueError(f'bands of the shape {np.shape(bands)}, occupations of the shape {np.shape(occupations)}')
    levels = np.reshape(bands, (-1, *np.shape(bands)[-2:]))
    filling = np.reshape(occupations, levels.shape)
    if not (np.abs([levels, filling]) < _MAX_NUMBER).all() or not filling.max() > 0:
        raise ValueError('band energies or occupations of pw.x are damaged')
    filling = filling / filling.max()
    full, empty = filling > 0.99, filling < 0.01
    if not empty.any():
        raise ValueError('pw.x computed no empty band; increase the number of bands, nbnd')
    count = full.sum(axis=2)
    if not (full | empty).all() or (count != count[:, :1]).any():
        return 0.0
    return float(max(levels[empty].min() - levels[full].max(), 0.0))

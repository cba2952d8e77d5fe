"""From the outputs of ``pw.x`` and ``ph.x`` to one :class:`.DielectricResponse` node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.phonons import (
    frequencies,
    ionic_tensor,
    parse_dynamical_matrix,
    parse_tensors,
    response_converged,
)
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData

__all__ = (
    'band_gap',
    'band_gap_quantumespresso',
    'collect_quantumespresso',
    'dielectric_from_quantumespresso',
    'functional_name',
)

MATRIX, TENSORS, OUTPUT = 'DYN_MAT/dynamical-matrix-1', 'tensors.xml', 'aiida.out'

_FUNCTIONALS = {
    'PBESOL': 'PBEsol',
    'PSX PSC': 'PBEsol',
    'PBX PBC': 'PBE',
    'PZ': 'LDA',
    'PW': 'LDA',
    'PBE': 'PBE',
    'REVPBE': 'revPBE',
}
_SAME_PLACE = 1e-3  # Å


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
    """Gather the outputs of one ``pw.x`` and one ``ph.x`` run in one node.

    :param structure: the cell of both runs
    :param ground_state: output ``output_parameters`` of ``pw.x``
    :param bands: output ``output_band`` of ``pw.x``
    :param trajectory: output ``output_trajectory`` of ``pw.x``, for the forces
    :param retrieved: retrieved files of ``ph.x``
    :param settings: to be kept with the tensor; ``recommended_cutoff`` in eV goes to its gate
    :param rotation: array ``rotation`` (3, 3) by which the cell had been turned; the response is turned back
    :raises FormatError: no response in the files, or one of another cell
    """
    crystal = crystal_from_structure(structure.get_formula(), structure)
    names = {TENSORS, MATRIX, OUTPUT} & _names(retrieved)
    files = {name: retrieved.base.repository.get_object_content(name, mode='r') for name in names}
    parameters = ground_state.get_dict()
    result = dielectric_from_quantumespresso(
        crystal,
        files,
        gap=band_gap(*bands.get_bands(also_occupations=True)),
        forces=trajectory.get_array('forces')[-1] if 'forces' in trajectory.get_arraynames() else None,
        ground_state=parameters,
        settings=settings.get_dict(),
    )
    if rotation is not None:
        result = result.rotated(rotation.get_array('rotation').T)
    return DielectricData(result)


def _names(folder: orm.FolderData) -> set[str]:
    return {str(root / name) for root, _, files in folder.base.repository.walk() for name in files}


def dielectric_from_quantumespresso(
    crystal: Crystal,
    files: Mapping[str, str],
    *,
    gap: float,
    forces: np.ndarray | None,
    ground_state: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> DielectricResponse:
    """Return the dielectric response that a run of ``pw.x`` and ``ph.x`` gives.

    :param crystal: the cell of both runs, in its frame, which pw.x keeps (``ibrav = 0``)
    :param files: by name: ``tensors.xml`` and, if the phonons were computed, ``DYN_MAT/dynamical-matrix-1``; the
        standard output ``aiida.out`` says whether the response converged
    :param gap: eV
    :param forces: (n, 3) eV/Å
    :param ground_state: parsed output of ``pw.x`` as aiida-quantumespresso gives it
    :param settings: kept as they are, with cutoff, version and mesh added
    :raises FormatError: no response in the files, or one of another cell
    """
    electronic = charges = ionic = modes = None
    if TENSORS in files:
        electronic, charges = parse_tensors(files[TENSORS])
    if files.get(MATRIX, '').strip():  # ph.x makes the file, empty, before the first phonon
        matrix = parse_dynamical_matrix(files[MATRIX])
        _check_same_cell(crystal, matrix.lattice, matrix.positions)
        electronic = matrix.electronic if electronic is None else electronic
        charges = matrix.born_charges if charges is None else charges
        modes = frequencies(matrix.force_constants, matrix.masses)
        if charges is not None:
            ionic = ionic_tensor(matrix.force_constants, charges, float(abs(np.linalg.det(crystal.lattice))))
    if electronic is None:
        raise FormatError(
            f'{crystal.id}: ph.x left no dielectric tensor ({", ".join(sorted(files)) or "no file at all"}); it needs '
            'epsil = .true. and an insulator'
        )
    convergence = ground_state.get('convergence_info', {}).get('scf_conv', {})
    return DielectricResponse(
        crystal,
        electronic,
        ionic=ionic,
        born_charges=charges,
        frequencies=modes,
        band_gap=gap,
        max_force=None if forces is None else float(np.linalg.norm(forces, axis=-1).max()),
        scf_converged=bool(convergence.get('convergence_achieved', True)) and response_converged(files.get(OUTPUT, '')),
        engine='quantumespresso',
        functional=functional_name(str(ground_state.get('dft_exchange_correlation', ''))),
        settings={
            **settings,
            'cutoff': ground_state.get('wfc_cutoff'),
            'version': ground_state.get('creator_version'),
            'mesh': ground_state.get('monkhorst_pack_grid'),
            'mesh_offset': ground_state.get('monkhorst_pack_offset'),
        },
    )


def _check_same_cell(crystal: Crystal, lattice: np.ndarray, positions: np.ndarray) -> None:
    """Refuse a dynamical matrix of another cell, another frame or another order of the atoms."""
    if len(positions) != len(crystal.atomic_numbers):
        raise FormatError(f'{crystal.id}: {len(crystal.atomic_numbers)} atoms, {len(positions)} in {MATRIX}')
    away = np.abs(lattice - crystal.lattice).max()
    if away > _SAME_PLACE:
        raise FormatError(
            f'{crystal.id}: the lattice of {MATRIX} differs by {away:.3g} Å: another cell or another frame'
        )
    steps = positions @ np.linalg.inv(lattice) - crystal.fractional_positions
    away = np.abs((steps - np.round(steps)) @ lattice).max()
    if away > _SAME_PLACE:
        raise FormatError(f'{crystal.id}: an atom of {MATRIX} lies {away:.3g} Å away: another order, or another cell')


def functional_name(text: str) -> str:
    """Return the usual name of a functional as ``pw.x`` spells it; an unknown one as it stands."""
    words = ' '.join(text.upper().replace('+', ' ').replace('-', ' ').split())
    for short, name in _FUNCTIONALS.items():
        if words == short or (' ' in short and words.endswith(short)):
            return name
    return text


@calcfunction
def band_gap_quantumespresso(bands: orm.BandsData) -> orm.Float:
    """Return the gap in eV over the mesh of a run of ``pw.x``; 0 for a metal."""
    return orm.Float(band_gap(*bands.get_bands(also_occupations=True)))


def band_gap(bands: np.ndarray, occupations: np.ndarray) -> float:
    """Return the smallest difference between an empty and a full state on the mesh, 0 if there is none.

    The band edges need not lie on the mesh: the true gap is at most this.

    :param bands: (k, bands) or (spins, k, bands) eV
    :param occupations: of the same shape; partial ones make a metal
    :raises ValueError: no empty band, so that there is no telling
    """
    levels = np.reshape(bands, (-1, *np.shape(bands)[-2:]))
    share = np.reshape(occupations, levels.shape)
    share = share / share.max()
    full, empty = share > 0.99, share < 0.01
    if not empty.any():
        raise ValueError('pw.x computed no empty band: ask for more bands (nbnd) than are occupied')
    count = full.sum(axis=2)
    if not (full | empty).all() or (count != count[:, :1]).any():
        return 0.0
    return float(max(levels[empty].min() - levels[full].max(), 0.0))

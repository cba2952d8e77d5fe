"""Dielectric response of one run of ``pw.x`` and one of ``ph.x``, from parsed outputs and files of ``ph.x``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.espresso_functional import functional_name
from aiida_goectp.core.dfpt.same_cell import check_same_cell
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
from aiida_goectp.core.dielectric.phonons_xml import parse_matrix_xml
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('MATRIX', 'OUTPUT', 'TENSORS', 'dielectric_from_quantumespresso', 'equal_tensors')

MATRIX, TENSORS, OUTPUT = 'DYN_MAT/dynamical-matrix-1', 'tensors.xml', 'aiida.out'
"""names of the files of ``ph.x``, those of aiida-quantumespresso"""

_TENSOR_TOLERANCE = 1e-3  # of the largest element; runs that differ by less may be mixed
_MAX_NUMBER = 1e12  # eV, eV/Å; a larger number is damaged


def dielectric_from_quantumespresso(
    crystal: Crystal,
    files: Mapping[str, str],
    *,
    gap: float | None,
    forces: np.ndarray | None,
    ground_state: Mapping[str, Any],
    settings: Mapping[str, Any],
    lattice: np.ndarray | None = None,
) -> DielectricResponse:
    """Return the dielectric response of one run of ``pw.x`` and one of ``ph.x``.

    :param crystal: cell of both runs, in its Cartesian frame, which pw.x keeps with ``ibrav = 0``
    :param files: contents by name: ``tensors.xml``; ``DYN_MAT/dynamical-matrix-1``, text or XML, if phonons were
        computed; standard output ``aiida.out``, from which the convergence of the response is read
    :param gap: Kohn-Sham band gap, eV; ``None`` if unknown
    :param forces: (…, n, 3) eV/Å, the last ones count; damaged ones are unknown
    :param ground_state: ``output_parameters`` of aiida-quantumespresso for ``pw.x``
    :param settings: stored with the response, extended by cutoff, version and mesh; the parameters of both programs in
        ``ground_state`` and ``response`` name the functional
    :param lattice: (3, 3) Å, rows, as printed by pw.x, for a run with another ``ibrav`` than 0
    :raises FormatError: no response in the files, or a response of another cell or run
    """
    ionic = modes = constants = None
    electronic, charges, matrix, problems = _read(files, lattice)
    if matrix is not None:
        _check_same_cell(crystal, matrix)
        modes = frequencies(matrix.force_constants, matrix.masses)
        constants = project_translations(matrix.force_constants) * RYDBERG_PER_BOHR2
    if electronic is None:
        found = '; '.join(problems) or ', '.join(sorted(files)) or 'none'
        raise CollectError(
            Refusal.NO_RESPONSE,
            f'{crystal.id}: no dielectric tensor in the files of ph.x ({found}); ph.x computes it for an insulator '
            'with epsil = .true.',
        )
    if charges is not None and len(charges) != len(crystal.atomic_numbers):
        raise CollectError(
            Refusal.OTHER_CELL,
            f'{crystal.id}: {len(crystal.atomic_numbers)} atoms, charges of {len(charges)} in {TENSORS}',
        )
    if matrix is not None and charges is not None:
        ionic = ionic_tensor(matrix.force_constants, charges, float(abs(np.linalg.det(crystal.lattice))))
    convergence = (ground_state.get('convergence_info') or {}).get('scf_conv') or {}
    # phonons that were interrupted or did not converge do not change the response to a field
    converged = response_converged(files.get(OUTPUT, ''), field_only=matrix is None)
    return DielectricResponse(
        crystal,
        electronic,
        ionic=ionic,
        born_charges=charges,
        frequencies=modes,
        force_constants=constants,
        band_gap=gap,
        max_force=_max_force(forces, len(crystal.atomic_numbers)),
        scf_converged=bool(convergence.get('convergence_achieved', True)) and converged,
        engine='quantumespresso',
        functional=_functional(ground_state, settings),
        settings=_settings(settings, [*settings.get('notes', ()), *problems], ground_state),
    )


def equal_tensors(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two dielectric tensors (3, 3) are those of one run; a damaged number makes no difference."""
    difference = np.abs(first - second)
    return not (difference > _TENSOR_TOLERANCE * np.nanmax(np.abs([first, second]))).any()


def _check_same_cell(crystal: Crystal, matrix: DynamicalMatrix) -> None:
    cell = crystal.lattice, crystal.fractional_positions
    check_same_cell(crystal.id, cell, (matrix.lattice, matrix.positions), MATRIX)


def _settings(settings: Mapping[str, Any], notes: list[str], ground_state: Mapping[str, Any]) -> dict[str, Any]:
    names = {'wfc_cutoff': 'cutoff', 'creator_version': 'version', 'monkhorst_pack_grid': 'mesh'}
    names['monkhorst_pack_offset'] = 'mesh_offset'
    found = {name: ground_state.get(key) for key, name in names.items()}
    return {**settings, **({'notes': notes} if notes else {}), **found}


def _functional(ground_state: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    parameters = {**(settings.get('ground_state') or {}), **(settings.get('response') or {})}
    text = str(ground_state.get('dft_exchange_correlation') or '')
    return functional_name(text, parameters, bool(ground_state.get('lda_plus_u_calculation')))


def _read(
    files: Mapping[str, str], lattice: np.ndarray | None
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
            text = files[MATRIX]
            is_xml = text.lstrip().startswith('<')
            matrix = parse_matrix_xml(text) if is_xml else parse_dynamical_matrix(text, lattice=lattice)
    except FormatError as error:
        problems.append(str(error))
    if matrix is not None:
        both = [tensor for tensor in (electronic, matrix.electronic) if tensor is not None]
        if len(both) == 2 and not equal_tensors(*both):
            raise CollectError(
                Refusal.OTHER_RUN, f'the dielectric tensors in {TENSORS} and {MATRIX} differ; keep the files of one run'
            )
        electronic = matrix.electronic if electronic is None else electronic
        charges = matrix.born_charges if charges is None else charges
    return electronic, charges, matrix, problems


def _max_force(forces: Any, n: int) -> float | None:
    """Return the largest of the last forces on n atoms in eV/Å; ``None`` if they are unknown or damaged."""
    if forces is None:
        return None
    array = np.asarray(forces, dtype=np.float64)
    if not array.size or array.size % (3 * n) or not (np.abs(array) < _MAX_NUMBER).all():
        return None
    return float(np.linalg.norm(array.reshape(-1, n, 3)[-1], axis=-1).max())

"""Dielectric response of one VASP run, from parsed outputs and OUTCAR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.same_cell import check_same_cell
from aiida_goectp.core.dfpt.vasp_functional import functional_name
from aiida_goectp.core.dfpt.vasprun import Vasprun
from aiida_goectp.core.dielectric.gamma_modes import THZ, gamma_modes
from aiida_goectp.core.dielectric.outcar import OutcarDielectric, ground_state_steps, read_outcar
from aiida_goectp.core.dielectric.response import DielectricResponse

__all__ = ('dielectric_from_vasp',)

_ZERO_IONIC = 1e-5
_FERMI_TOLERANCE = 0.01  # eV; levels have four decimals
_HESSIAN_UNITS = {'': THZ, 'THz^2': 1.0}
_MASS_TOLERANCE = 0.01  # u; OUTCAR has two or three decimals
_CUTOFF_TOLERANCE = 0.1  # eV; OUTCAR has one decimal
_TENSOR_TOLERANCE = 1e-3  # of the largest element; both files have six decimals or more
_MAX_NUMBER = 1e12  # no quantity can be larger; a larger number is damaged
_NO_CHARGE = 0.05  # e; with smaller Born charges (Si) an ionic part of zero is correct


def dielectric_from_vasp(
    crystal: Crystal,
    misc: Mapping[str, Any],
    settings: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    files: Mapping[str, bytes],
    species: Sequence[str] = (),
    potentials: Sequence[str] = (),
    vasprun: Vasprun | None = None,
) -> DielectricResponse:
    """Return the dielectric response of one run of VASP.

    What is damaged or not finite is treated as missing.

    :param crystal: cell of the run, in its Cartesian frame
    :param misc: ``forces`` (eV/Å), ``run_status``, ``version``; ``band_properties`` and ``fermi_level`` (eV) count
        without levels in the files
    :param settings: ``incar`` and others; the list ``notes`` is extended
    :param arrays: ``epsilon``, ``epsilon_ion``, ``born_charges``, ``hessian``, as far as available
    :param files: ``OUTCAR`` and ``vasprun.xml``, as far as available
    :param species: symbols in the order of the lists of INCAR; by default of first appearance
    :param potentials: LEXCH of the potentials, where OUTCAR does not list them
    :param vasprun: content of ``vasprun.xml``, if it was read
    :raises CollectError: no dielectric tensor, or files of different cells
    """
    outcar = read_outcar(files['OUTCAR'].decode(errors='replace')) if 'OUTCAR' in files else None
    if outcar is not None and vasprun is not None:
        _check_same_run(crystal, outcar, vasprun)
    notes = list(settings.get('notes', ()))
    electronic = _tensor(arrays, 'epsilon')
    if electronic is None and outcar is not None and outcar.electronic is not None:
        electronic = outcar.electronic
        notes.append('tensors read from OUTCAR: vasprun.xml contains none (truncated, or larger than 500 MB)')
    if electronic is None:
        raise CollectError(
            Refusal.NO_RESPONSE,
            f'{crystal.id}: no dielectric tensor in the parsed outputs ({", ".join(sorted(arrays)) or "none"}) or in '
            'OUTCAR; check whether VASP reached the linear response (LEPSILON)',
        )
    born = _born_charges(arrays, outcar, len(crystal.atomic_numbers))
    incar = {str(key).lower(): value for key, value in dict(settings.get('incar', {})).items()}
    ionic = _ionic(arrays, outcar, born, incar, notes)
    frequencies, force_constants = _vibrations(crystal, arrays, outcar, vasprun, str(misc.get('version', '')))
    potentials = (outcar.potential_functionals if outcar else ()) or potentials
    species = species or list(dict.fromkeys(symbols_of(crystal.atomic_numbers)))
    return DielectricResponse(
        crystal,
        electronic,
        ionic=ionic,
        born_charges=born,
        frequencies=frequencies,
        force_constants=force_constants,
        band_gap=_band_gap(misc, outcar, vasprun, notes),
        max_force=_max_force(misc.get('forces')),
        scf_converged=_converged(misc, outcar, files, notes),
        engine='vasp',
        functional=functional_name(incar, species, potentials),
        settings=_settings(settings, misc.get('version'), incar.get('encut'), outcar, notes),
    )


def _settings(
    settings: Mapping[str, Any], version: Any, cutoff: Any, outcar: OutcarDielectric | None, notes: list[str]
) -> dict[str, Any]:
    """Return the settings that are stored with the response, with version, cutoffs and notes as far as known."""
    extra = {
        'version': version,
        'cutoff': outcar.cutoff if outcar and outcar.cutoff else cutoff,
        'recommended_cutoff': outcar.recommended_cutoff if outcar else None,
        'notes': notes,
    }
    return {**settings, **{key: value for key, value in extra.items() if value not in (None, [])}}


def _check_same_run(crystal: Crystal, outcar: OutcarDielectric, vasprun: Vasprun) -> None:
    """Check that OUTCAR and vasprun.xml have the same cell, atoms, cutoff and ε_∞, as far as both contain them.

    :raises CollectError: another cell, or another run of this cell
    """
    _check_same_settings(crystal, outcar, vasprun)
    if outcar.structure is not None and vasprun.initial is not None:
        lattice, positions = outcar.structure
        if [array.shape[1] for array in vasprun.initial] == [3, 3] and len(vasprun.initial[0]) == 3:
            check_same_cell(crystal.id, vasprun.initial, (lattice, positions @ lattice), 'OUTCAR')
    masses, others = vasprun.masses, outcar.masses
    if masses is None or others is None:
        return
    if len(masses) != len(others) or np.abs(masses - others).max() > _MASS_TOLERANCE:
        message = f'{crystal.id}: the masses of the atoms in OUTCAR are not those in vasprun.xml: another crystal'
        raise CollectError(Refusal.OTHER_CELL, message)


def _check_same_settings(crystal: Crystal, outcar: OutcarDielectric, vasprun: Vasprun) -> None:
    """Check that OUTCAR and vasprun.xml have the same cutoff and the same ε_∞.

    With LCALCEPS there may be two tensors, of perturbation theory and of finite fields.

    :raises CollectError: they differ
    """
    cutoff = _number(vasprun.parameters.get('enmax'))
    if cutoff is not None and outcar.cutoff is not None and abs(cutoff - outcar.cutoff) > _CUTOFF_TOLERANCE:
        raise CollectError(
            Refusal.OTHER_RUN,
            f'{crystal.id}: ENCUT is {outcar.cutoff:g} eV in OUTCAR and {cutoff:g} eV in vasprun.xml: files of two '
            'runs; keep those of one run in the folder',
        )
    tensor = _tensor(vasprun.reference_step().arrays, 'epsilon')
    if tensor is None or outcar.electronic is None or vasprun.parameters.get('lcalceps') is True:
        return
    if np.abs(tensor - outcar.electronic).max() > _TENSOR_TOLERANCE * max(1.0, np.abs(tensor).max()):
        raise CollectError(
            Refusal.OTHER_RUN,
            f'{crystal.id}: the dielectric tensor in OUTCAR (trace {np.trace(outcar.electronic):g}) is not that in '
            f'vasprun.xml (trace {np.trace(tensor):g}): files of two runs; keep those of one run in the folder',
        )


def _max_force(forces: Any) -> float | None:
    """Return the largest force on an atom in eV/Å; ``None`` if the forces are unknown or damaged."""
    array = _numbers(forces)
    if array is None or array.ndim < 2 or array.shape[-1] != 3:
        return None
    return float(np.linalg.norm(array, axis=-1).max())


def _numbers(values: Any) -> np.ndarray | None:
    """Return finite numbers as an array, ``None`` for anything else."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.size and (np.abs(array) < _MAX_NUMBER).all() else None


def _number(value: Any) -> float | None:
    array = _numbers(value)
    return array.item() if array is not None and array.size == 1 else None


def _tensor(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Return the last (3, 3) block of an array of stacked blocks, one for each ionic step."""
    array = _numbers(arrays.get(name))
    if array is None or array.ndim < 2 or array.shape[-1] != 3 or array.size % 9:
        return None
    return array.reshape(-1, 3)[-3:]


def _born_charges(arrays: Mapping[str, np.ndarray], outcar: OutcarDielectric | None, n: int) -> np.ndarray | None:
    stacked = _numbers(arrays.get('born_charges'))
    if stacked is not None and stacked.shape[-2:] == (3, 3) and stacked.size % (9 * n) == 0:
        return stacked.reshape(-1, 3, 3)[-n:]
    if outcar is not None and outcar.born_charges is not None and len(outcar.born_charges) == n:
        return outcar.born_charges
    return None


def _ionic(
    arrays: Mapping[str, np.ndarray],
    outcar: OutcarDielectric | None,
    born: np.ndarray | None,
    incar: Mapping[str, Any],
    notes: list[str],
) -> np.ndarray | None:
    """Return the ionic part; ``None`` if it was not requested, is missing, or is zero although atoms carry charges."""
    if incar.get('ibrion') not in (None, 5, 6, 7, 8):
        return None
    ionic = _tensor(arrays, 'epsilon_ion')
    if ionic is None and outcar is not None:
        ionic = outcar.ionic
    if ionic is None:
        return None
    if np.abs(ionic).max() < _ZERO_IONIC and (born is None or np.abs(born).max() > _NO_CHARGE):
        notes.append('ionic part of zero although the Born charges are not zero: treated as not computed')
        return None
    return ionic


def _vibrations(
    crystal: Crystal,
    arrays: Mapping[str, np.ndarray],
    outcar: OutcarDielectric | None,
    vasprun: Vasprun | None,
    version: str,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return frequencies and force constants at Γ with the translations projected out; ``None`` where unknown.

    :return: (3n,) THz, ascending, imaginary ones negative; (3n, 3n) eV/Å²
    """
    n = len(crystal.atomic_numbers)
    listed = None if outcar is None or outcar.frequencies is None else outcar.frequencies
    if listed is not None and len(listed) != 3 * n:
        listed = None
    hessian = _numbers(arrays.get('hessian'))
    if hessian is None or hessian.ndim < 2 or hessian.shape[-1] != 3 * n or hessian.size % (9 * n * n):
        return _without_acoustic(listed), None
    dynamical = -hessian.reshape(-1, 3 * n)[-3 * n :]
    masses = _masses(crystal, outcar, vasprun)
    weight = np.sqrt(np.repeat(masses, 3))
    translations = np.tile(np.eye(3), (n, 1)) * weight[:, None]
    translations /= np.linalg.norm(translations, axis=0)
    projector = np.eye(3 * n) - translations @ translations.T
    projected = projector @ (dynamical + dynamical.T) / 2 @ projector
    values = np.linalg.eigvalsh(projected)
    unit = None if vasprun is None else vasprun.reference_step().hessian_unit
    factor = _hessian_factor(unit, version, listed, values)
    if factor is None:
        return _without_acoustic(listed), None
    constants = projected * np.outer(weight, weight) * (factor / THZ) ** 2
    # not the roots of all values: those of translations are rounding, of which half would be imaginary frequencies
    optical = gamma_modes(constants, np.zeros((n, 3, 3)), masses, 1.0).frequencies
    return np.sort(np.concatenate([np.zeros(3), optical])), constants


def _hessian_factor(unit: str | None, version: str, listed: np.ndarray | None, values: np.ndarray) -> float | None:
    """Return THz of the square root of an eigenvalue of the Hessian; ``None`` if its unit is unknown.

    VASP writes eV/(Å² u) without a unit up to 6.1, later THz² with its unit (github.com/phonopy/phonopy, pull request
    266). Without vasprun.xml, the frequencies in OUTCAR decide.

    :param unit: as stated in vasprun.xml; empty if it states none, None without the file
    :param listed: (3n,) THz, frequencies in OUTCAR
    :param values: (3n,) eigenvalues
    """
    if unit is not None:
        return _HESSIAN_UNITS.get(unit)
    if listed is not None and np.abs(values).max() > 0:
        ratio = np.abs(listed).max() / np.sqrt(np.abs(values).max())
        return min((1.0, THZ), key=lambda factor: abs(np.log(max(ratio, 1e-9) / factor)))
    return THZ if version.startswith('5') else None


def _masses(crystal: Crystal, outcar: OutcarDielectric | None, vasprun: Vasprun | None) -> np.ndarray:
    """Return the masses (n,) in u by which VASP weighted the Hessian: POMASS; else standard atomic weights."""
    from ase.data import atomic_masses

    for found in (vasprun, outcar):
        if found is not None and found.masses is not None and len(found.masses) == len(crystal.atomic_numbers):
            return found.masses
    return atomic_masses[crystal.atomic_numbers]


def _without_acoustic(listed: np.ndarray | None) -> np.ndarray | None:
    """Return frequencies without eigenvectors: the three closest to zero are taken as the acoustic ones."""
    if listed is None:
        return None
    kept = listed.copy()
    kept[np.argsort(np.abs(listed))[:3]] = 0.0
    return np.sort(kept)


def _band_gap(
    misc: Mapping[str, Any], outcar: OutcarDielectric | None, vasprun: Vasprun | None, notes: list[str]
) -> float | None:
    """Return the band gap in eV of the levels in vasprun.xml, else in OUTCAR, else the parsed one, else ``None``.

    The gap of finite differences is that of the undisplaced structure; that of a displaced one is taken, with a note,
    if no file contains it. aiida-vasp takes each level with an occupation above 10⁻⁸ as filled, so that its gap of a
    metal with smearing is the distance between two levels. Such a metal is recognised by a Fermi energy below its
    highest filled level.
    """
    if vasprun is not None and (gap := vasprun.reference_step().band_gap) is not None:
        return gap
    if outcar is not None and outcar.band_gap is not None:
        return outcar.band_gap
    if vasprun is not None and (gap := vasprun.displaced_gap()) is not None:
        notes.append('band gap of a displaced structure: no file contains the levels of the undisplaced one')
        return gap
    properties = misc.get('band_properties') or {}
    parsed, top = _number(properties.get('band_gap')), _number(properties.get('vbm'))
    fermi = _number(misc.get('fermi_level'))
    if parsed is not None and top is not None and fermi is not None and fermi < top - _FERMI_TOLERANCE:
        return 0.0
    return None if parsed is None else max(parsed, 0.0)  # infinite, and None, if no empty band was computed


def _converged(
    misc: Mapping[str, Any], outcar: OutcarDielectric | None, files: Mapping[str, bytes], notes: list[str]
) -> bool:
    """Return whether ground state and response converged, from the loops in OUTCAR if available.

    The parser of aiida-vasp compares the sum of the iterations of ground state and responses with NELM, and checks the
    convergence of the last loop only, so that an unconverged ground state can remain undetected.
    """
    if outcar is not None and outcar.loops:
        failed = [loop.steps for loop in outcar.loops if not loop.converged]
        if failed:
            notes.append(f'{len(failed)} of {len(outcar.loops)} self-consistency loops did not reach EDIFF')
        return not failed
    if 'vasprun.xml' in files and (found := ground_state_steps(files['vasprun.xml'])) is not None:
        steps, nelm = found
        if steps >= nelm:
            notes.append(f'the ground state stopped after NELM = {nelm} steps')
        return steps < nelm
    return bool((misc.get('run_status') or {}).get('electronic_converged', False))

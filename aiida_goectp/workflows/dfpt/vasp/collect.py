"""From the outputs of a VASP linear response to one :class:`.DielectricResponse` node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.outcar import OutcarDielectric, ground_state_steps, read_outcar
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData

__all__ = ('CollectError', 'collect_vasp', 'dielectric_from_vasp', 'functional_name')

VASP_TO_THZ = 15.633302
"""THz for √(eV/Å²/amu) = √(e/amu)/(2π Å), CODATA 2018; vasprun.xml of VASP 5 gives eV/Å²/amu, of VASP 6 also THz²"""

_GGA = {'ps': 'PBEsol', 'pe': 'PBE', 'am': 'AM05', '91': 'PW91', 'rp': 'RPBE', 're': 'revPBE', 'ca': 'LDA'}
_ZERO_IONIC = 1e-5
_NO_CHARGE = 0.05  # e; crystals with smaller Born charges (Si) have no ionic part worth the name


class CollectError(ValueError):
    """The outputs hold no dielectric tensor; the message says what there is."""


@calcfunction
def collect_vasp(
    structure: orm.StructureData,
    misc: orm.Dict,
    settings: orm.Dict,
    retrieved: orm.FolderData | None = None,
    dielectrics: orm.ArrayData | None = None,
    born_charges: orm.ArrayData | None = None,
    hessian: orm.ArrayData | None = None,
) -> DielectricData:
    """Gather the outputs of one linear response of ``vasp.vasp`` in one node.

    :param structure: the structure that the response was computed for; its frame is that of the tensors
    :param misc: output ``misc`` of aiida-vasp
    :param settings: what was asked for: ``incar`` and whatever else is to be kept with the tensor
    :param retrieved: the retrieved files, for what the parser leaves out
    :param dielectrics: output of the same name; absent when vasprun.xml is cut off or too large
    :param born_charges: output of the same name
    :param hessian: output of the same name
    :raises CollectError: no dielectric tensor, neither parsed nor in OUTCAR
    """
    arrays = {
        name: node.get_array(name)
        for node in (dielectrics, born_charges, hessian)
        if node is not None
        for name in node.get_arraynames()
    }
    files: dict[str, bytes] = {
        name: retrieved.base.repository.get_object_content(name, mode='rb')
        for name in ('OUTCAR', 'vasprun.xml')
        if retrieved is not None and name in retrieved.base.repository.list_object_names()
    }
    crystal = crystal_from_structure(structure.get_formula(), structure)
    result = dielectric_from_vasp(crystal, misc.get_dict(), settings.get_dict(), arrays, files)
    return DielectricData(result)


def dielectric_from_vasp(
    crystal: Crystal,
    misc: Mapping[str, Any],
    settings: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    files: Mapping[str, bytes],
) -> DielectricResponse:
    """Return the dielectric response that a run of VASP gives.

    :param crystal: the cell of the run, in its frame
    :param misc: ``band_properties``, ``forces`` (eV/Å), ``run_status``, ``version``
    :param settings: ``incar`` and more; ``notes`` is a list of remarks to which this function adds its own
    :param arrays: ``epsilon``, ``epsilon_ion``, ``born_charges``, ``hessian``, each if there
    :param files: ``OUTCAR`` and ``vasprun.xml``, each if there
    :raises CollectError: no dielectric tensor
    """
    outcar = read_outcar(files['OUTCAR'].decode(errors='replace')) if 'OUTCAR' in files else None
    notes = list(settings.get('notes', ()))
    electronic = _tensor(arrays, 'epsilon')
    if electronic is None and outcar is not None and outcar.electronic is not None:
        electronic = outcar.electronic
        notes.append('the tensors come from OUTCAR: vasprun.xml gave none (cut off, or larger than 500 MB)')
    if electronic is None:
        raise CollectError(
            f'{crystal.id}: neither the parsed outputs ({", ".join(sorted(arrays)) or "none"}) nor OUTCAR hold a '
            'dielectric tensor; look whether VASP reached the linear response (LEPSILON)'
        )
    born = _born_charges(arrays, outcar, len(crystal.atomic_numbers))
    incar = {str(key).lower(): value for key, value in dict(settings.get('incar', {})).items()}
    ionic = _ionic(arrays, outcar, born, incar, notes)
    forces = misc.get('forces')
    extra = {
        'version': misc.get('version'),
        'cutoff': outcar.cutoff if outcar and outcar.cutoff else incar.get('encut'),
        'recommended_cutoff': outcar.recommended_cutoff if outcar else None,
        'notes': notes,
    }
    return DielectricResponse(
        crystal,
        electronic,
        ionic=ionic,
        born_charges=born,
        frequencies=_frequencies(crystal, arrays, outcar, str(misc.get('version', ''))),
        band_gap=_band_gap(misc.get('band_properties'), outcar),
        max_force=None if forces is None else float(np.linalg.norm(np.atleast_2d(forces), axis=-1).max()),
        scf_converged=_converged(misc, outcar, files, notes),
        engine='vasp',
        functional=functional_name(incar),
        settings={**settings, **{key: value for key, value in extra.items() if value not in (None, [])}},
    )


def functional_name(incar: Mapping[str, Any]) -> str:
    """Return the name of the functional of an INCAR: ``PBEsol``, ``PBE``, …, ``+U`` added if it is on.

    Without GGA and METAGGA it is that of the potentials, which are PBE (or LDA) ones.
    """
    if incar.get('metagga'):
        name = str(incar['metagga']).strip()
    else:
        gga = str(incar.get('gga', 'pe')).strip().lower()
        name = _GGA.get(gga, gga.upper())
    return f'{name}+U' if incar.get('ldau') else name


def _tensor(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Return the last (3, 3) block of an array in which the blocks of all ionic steps are stacked."""
    if name not in arrays:
        return None
    array = np.asarray(arrays[name], dtype=np.float64)
    if array.ndim < 2 or array.shape[-1] != 3 or array.size < 9 or not np.isfinite(array).all():
        return None
    return array.reshape(-1, 3)[-3:]


def _born_charges(arrays: Mapping[str, np.ndarray], outcar: OutcarDielectric | None, n: int) -> np.ndarray | None:
    if 'born_charges' in arrays:
        stacked = np.asarray(arrays['born_charges'], dtype=np.float64).reshape(-1, 3, 3)
        if len(stacked) >= n and np.isfinite(stacked).all():
            return stacked[-n:]
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
    """Return the ionic part; ``None`` if it was not asked for, is not there, or is zero where it cannot be."""
    if incar.get('ibrion') not in (None, 5, 6, 7, 8):
        return None
    ionic = _tensor(arrays, 'epsilon_ion')
    if ionic is None and outcar is not None:
        ionic = outcar.ionic
    if ionic is None:
        return None
    if np.abs(ionic).max() < _ZERO_IONIC and (born is None or np.abs(born).max() > _NO_CHARGE):
        notes.append('the ionic part came out as zero although the atoms carry charges: it counts as not computed')
        return None
    return ionic


def _frequencies(
    crystal: Crystal, arrays: Mapping[str, np.ndarray], outcar: OutcarDielectric | None, version: str
) -> np.ndarray | None:
    """Return the (3n,) frequencies in THz with the acoustic modes taken out, ascending; imaginary ones negative."""
    from ase.data import atomic_masses

    n = len(crystal.atomic_numbers)
    listed = None if outcar is None or outcar.frequencies is None else outcar.frequencies
    if listed is not None and len(listed) != 3 * n:
        listed = None
    hessian = arrays.get('hessian')
    if hessian is None or np.size(hessian) < 9 * n * n:
        if listed is None:
            return None
        # without the matrix the acoustic modes cannot be told by their form; they are the three nearest to zero
        kept = listed.copy()
        kept[np.argsort(np.abs(listed))[:3]] = 0.0
        return np.sort(kept)
    dynamical = -np.asarray(hessian, dtype=np.float64).reshape(-1, 3 * n)[-3 * n :]
    weight = np.sqrt(np.repeat(atomic_masses[crystal.atomic_numbers], 3))
    shift = np.tile(np.eye(3), (n, 1)) * weight[:, None]
    shift /= np.linalg.norm(shift, axis=0)
    without = np.eye(3 * n) - shift @ shift.T
    values = np.linalg.eigvalsh(without @ (dynamical + dynamical.T) / 2 @ without)
    factor = VASP_TO_THZ if version.startswith('5') else None
    if listed is not None and np.abs(values).max() > 0:  # OUTCAR names its unit, vasprun.xml has two
        ratio = np.abs(listed).max() / np.sqrt(np.abs(values).max())
        factor = min((1.0, VASP_TO_THZ), key=lambda unit: abs(np.log(max(ratio, 1e-9) / unit)))
    if factor is None:
        return None
    return np.sort(np.sign(values) * np.sqrt(np.abs(values)) * factor)


def _band_gap(properties: Mapping[str, Any] | None, outcar: OutcarDielectric | None) -> float | None:
    """Return the gap of the parsed bands, else of those in OUTCAR; ``None`` if neither knows it."""
    gap = (properties or {}).get('band_gap')
    if gap is not None and np.isfinite(gap):  # infinite where no empty band was computed
        return max(float(gap), 0.0)
    return None if outcar is None else outcar.band_gap


def _converged(
    misc: Mapping[str, Any], outcar: OutcarDielectric | None, files: Mapping[str, bytes], notes: list[str]
) -> bool:
    """Return whether ground state and response converged.

    The parser's own verdict is not used where OUTCAR can be asked: it adds up the iterations of the ground state and of
    every response, and calls the sum unconverged; and it looks at the last loop only, which hides a ground state that
    did not converge.
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
    return bool(misc.get('run_status', {}).get('electronic_converged', False))

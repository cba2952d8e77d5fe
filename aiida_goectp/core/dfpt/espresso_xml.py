"""XML output of ``pw.x`` 6.4 or later: structure, functional, bands, forces and convergence of a ground state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.crystals.validation import require_valid
from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.espresso_hubbard import hubbard_parameters
from aiida_goectp.core.dielectric.band_gap import band_gap
from aiida_goectp.core.dielectric.phonons import BOHR
from aiida_goectp.core.formats.numbers import fortran_number

__all__ = ('GroundState', 'read_pw_xml')

_HARTREE = 27.211386245988
"""eV, CODATA 2018"""
_NOT_SELF_CONSISTENT = ('nscf', 'bands')
"""values of ``calculation`` that read the density of an earlier run and report no convergence"""
_DISPERSION = ('vdw_corr', 'dftd3_version', 'dftd3_threebody')
_DEFAULTS = {'london_s6': 0.75, 'london_rcut': 200.0}
"""parameter of the dispersion by Grimme (2006) → default"""


class GroundState(NamedTuple):
    """Ground state of one run of ``pw.x``."""

    crystal: Crystal
    """in the Cartesian frame of the run, also for ``ibrav`` other than 0"""
    gap: float | None
    """eV on the mesh; 0 for a metal, ``None`` if no empty band was computed"""
    occupations: str
    """fixed, smearing, tetrahedra, …; empty if not stated"""
    forces: np.ndarray | None
    """(n, 3) eV/Å"""
    parameters: dict[str, Any]
    """as ``output_parameters`` of aiida-quantumespresso: functional, cutoff, version, convergence, mesh"""
    namelists: dict[str, dict[str, Any]]
    """parameters that define the functional, by namelist"""


def read_pw_xml(name: str, content: bytes) -> GroundState:
    """Read ``data-file-schema.xml`` or ``PREFIX.xml``.

    :param name: id of the crystal
    :raises CollectError: truncated or invalid XML, a run that did not end, one without bands, one that was not
        self-consistent, or a charged cell
    :raises CrystalError: an invalid structure
    """
    if b'<!DOCTYPE' in content or b'<!ENTITY' in content:
        raise CollectError(Refusal.UNREADABLE_FILE, 'XML of pw.x: declares entities, which pw.x does not write')
    try:
        root = ElementTree.fromstring(content)  # safe: entities are refused above
    except ElementTree.ParseError as error:
        raise CollectError(Refusal.UNREADABLE_FILE, f'XML of pw.x: truncated or invalid ({error})') from error
    output = root.find('output')
    if output is None:
        raise CollectError(Refusal.UNFINISHED, 'XML of pw.x without output: the run did not finish')
    if (calculation := _text(root, 'input/control_variables/calculation')) in _NOT_SELF_CONSISTENT:
        raise CollectError(
            Refusal.UNSUPPORTED,
            f"XML of pw.x with calculation = '{calculation}', which contains neither convergence nor forces of the "
            "ground state; run pw.x again with calculation = 'scf' and startingpot = 'file', which is short",
        )
    if (charge := fortran_number(_text(root, 'input/bands/tot_charge', '0'))) != 0:
        raise CollectError(
            Refusal.UNSUPPORTED,
            f'XML of pw.x with tot_charge = {charge:g}: a charged cell, with the uniform background that makes it '
            'neutral, has no dielectric tensor of a crystal; compute the neutral cell',
        )
    try:
        crystal = _crystal(name, output)
        found = _bands(output)
    except (ValueError, AttributeError) as error:
        raise CollectError(Refusal.UNREADABLE_FILE, f'XML of pw.x: {error}') from error
    try:
        gap = band_gap(*found)
    except ValueError as error:
        raise CollectError(Refusal.UNSUPPORTED, f'band gap of pw.x: {error}') from error
    return GroundState(
        require_valid(crystal),
        gap,
        _text(output, 'band_structure/occupations_kind'),
        _forces(output, len(crystal.atomic_numbers)),
        _parameters(root),
        _names(root),
    )


def _numbers(text: str | None) -> np.ndarray:
    return np.array([fortran_number(word) for word in (text or '').split()])


def _matrix(texts: Sequence[str | None]) -> np.ndarray:
    """Return a row of numbers for each text.

    :raises ValueError: rows of different lengths
    """
    rows = [_numbers(text) for text in texts]
    if len({len(row) for row in rows}) != 1:
        raise ValueError('rows of different lengths')
    return np.array(rows)


def _text(element: ElementTree.Element, path: str, default: str = '') -> str:
    return (element.findtext(path) or default).strip()


def _flag(element: ElementTree.Element, path: str) -> bool:
    return _text(element, path).lower() in ('true', '1')


def _crystal(name: str, output: ElementTree.Element) -> Crystal:
    """Return the last structure of the run.

    :raises ValueError: missing or damaged elements
    """
    structure = output.find('atomic_structure')
    if structure is None:
        raise ValueError('no atomic_structure in the output')
    lattice = _matrix([structure.findtext(f'cell/{axis}') for axis in ('a1', 'a2', 'a3')]) * BOHR
    atoms = structure.findall('atomic_positions/atom')
    positions = _matrix([atom.text for atom in atoms]) * BOHR
    shapes = lattice.shape, positions.shape
    if shapes != ((3, 3), (len(atoms), 3)) or not abs(np.linalg.det(lattice)) > 0:
        raise ValueError('damaged cell or positions')
    symbols = [re.sub(r'[^A-Za-z].*', '', atom.get('name', '')) for atom in atoms]  # a label may be Fe1 or O_up
    numbers = [ATOMIC_NUMBERS.get(symbol.capitalize(), 0) for symbol in symbols]
    return Crystal(name, lattice, np.array(numbers, dtype=np.int16), positions @ np.linalg.inv(lattice))


def _bands(output: ElementTree.Element) -> tuple[np.ndarray, np.ndarray]:
    """Return energies in eV and occupations, (spins, k, bands).

    :raises ValueError: missing or damaged elements
    """
    points = output.findall('band_structure/ks_energies')
    energies = _matrix([point.findtext('eigenvalues') for point in points]) * _HARTREE
    occupations = _matrix([point.findtext('occupations') for point in points])
    if energies.ndim != 2 or energies.shape != occupations.shape:
        raise ValueError('no bands, or damaged ones')
    spins = 2 if _flag(output, 'band_structure/lsda') else 1
    if energies.shape[1] % spins:
        raise ValueError('an odd number of bands with two spins')
    split = (len(points), spins, energies.shape[1] // spins)
    return energies.reshape(split).transpose(1, 0, 2), occupations.reshape(split).transpose(1, 0, 2)


def _forces(output: ElementTree.Element, n: int) -> np.ndarray | None:
    forces = _numbers(output.findtext('forces')) * _HARTREE / BOHR
    return forces.reshape(n, 3) if forces.size == 3 * n else None


def _parameters(root: ElementTree.Element) -> dict[str, Any]:
    creator, output = root.find('general_info/creator'), root.find('output')
    assert output is not None
    mesh = root.find('output/band_structure/starting_k_points/monkhorst_pack')
    return {
        'dft_exchange_correlation': _text(output, 'dft/functional'),
        'lda_plus_u_calculation': output.find('dft/dftU') is not None,
        'wfc_cutoff': fortran_number(_text(output, 'basis_set/ecutwfc')) * _HARTREE,
        'creator_version': None if creator is None else creator.get('VERSION'),
        'convergence_info': {
            'scf_conv': {'convergence_achieved': _flag(output, 'convergence_info/scf_conv/convergence_achieved')}
        },
        **({} if mesh is None else _mesh(mesh.attrib)),
    }


def _mesh(attributes: Mapping[str, str]) -> dict[str, list[int | float]]:
    words = [attributes.get(name, '') for name in ('nk1', 'nk2', 'nk3', 'k1', 'k2', 'k3')]
    if not all(word.isascii() and word.isdigit() for word in words):
        return {}
    numbers = [int(word[:9]) for word in words]
    return {'monkhorst_pack_grid': [*numbers[:3]], 'monkhorst_pack_offset': [number / 2 for number in numbers[3:]]}


def _names(root: ElementTree.Element) -> dict[str, dict[str, Any]]:
    """Return the parameters of pw.x that define the functional, besides its name."""
    output = root.find('output')
    assert output is not None
    system: dict[str, Any] = {'lspinorb': _flag(output, 'magnetization/spinorbit')}
    if output.find('dft/hybrid') is not None:
        system['exx_fraction'] = _text(output, 'dft/hybrid/exx_fraction')
    if (dispersion := output.find('dft/vdW')) is not None:
        system['vdw_corr'] = _text(dispersion, 'vdw_corr') or 'not given'
        for key in _DISPERSION[1:]:
            if words := _text(dispersion, key):
                system[key] = _flag(dispersion, key) if key == 'dftd3_threebody' else words
        if _text(dispersion, 'non_local_term'):  # a functional of its own, whose name contains it
            system['vdw_corr'] = _text(dispersion, 'vdw_corr') or 'none'
        if dispersion.find('london_c6') is not None:
            system['london_c6'] = True
        for key, default in _DEFAULTS.items():
            if (words := _text(dispersion, key)) and fortran_number(words) != default:
                system[key] = words
    return {'SYSTEM': {**system, **hubbard_parameters(root)}}

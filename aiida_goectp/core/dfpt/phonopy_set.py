"""Response of a phonopy calculation: force constants at Γ from displaced supercells, charges and ε_∞ from ``BORN``.

The package phonopy reads its files. Its YAML reader executes tags of Python, so that a file is read by a safe reader
first, which refuses them.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalError
from aiida_goectp.core.crystals.structurefiles import read_poscar
from aiida_goectp.core.crystals.validation import require_valid
from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dielectric.gamma_modes import gamma_modes
from aiida_goectp.core.dielectric.phonons import RYDBERG_PER_BOHR2, ionic_tensor, project_translations
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.functionals import UNKNOWN

__all__ = ('BORN', 'FORCES', 'PARAMETERS', 'SUPERCELLS', 'UNIT_CELLS', 'load_phonopy', 'response_from_phonopy')

PARAMETERS = ('phonopy_params.yaml', 'phonopy_disp.yaml', 'phonopy.yaml', 'phonon.yaml')
"""names of the files with cell and supercell; the first that is present is read"""
UNIT_CELLS, SUPERCELLS = ('POSCAR-unitcell', 'POSCAR'), ('SPOSCAR',)
"""names of the files that stand for a YAML file"""
FORCES = ('FORCE_CONSTANTS', 'FORCE_SETS')
BORN = 'BORN'

_CALCULATORS = (None, 'vasp', 'aims', 'castep')
"""programs whose sets have Å and eV/Å²"""
_FACTOR = 14.4
"""eV Å, of charges in e"""


def response_from_phonopy(name: str, files: Mapping[str, bytes]) -> DielectricResponse:
    """Return the response of a set in phonopy's primitive cell, whose Cartesian frame is that of the unit cell.

    Convergence, band gap and functional are not in the files.

    :param name: id of the crystal
    :param files: content by name: one of ``PARAMETERS``, or a unit cell and a supercell; one of ``FORCES``, unless the
        YAML file contains forces; ``BORN``, unless it contains charges
    :raises CollectError: missing or damaged files, other units, or phonopy is not installed
    :raises CrystalError: an invalid structure
    """
    loaded = load_phonopy(files)
    if loaded.force_constants is None or loaded.nac_params is None:
        raise CollectError(Refusal.MISSING_FILE, 'the files of phonopy contain no forces, or no Born charges')
    parameters, loaded.nac_params = loaded.nac_params, None
    if abs((parameters.get('factor') or _FACTOR) - _FACTOR) > 0.01 * _FACTOR:
        raise CollectError(Refusal.UNSUPPORTED, f'BORN: unit conversion factor {parameters["factor"]}; expected 14.4')
    cell, masses = loaded.primitive, np.asarray(loaded.primitive.masses)
    crystal = require_valid(
        Crystal(name, np.array(cell.cell), np.array(cell.numbers, dtype=np.int16), np.array(cell.scaled_positions))
    )
    weight = np.sqrt(np.repeat(masses, 3))
    dynamical = np.asarray(loaded.get_dynamical_matrix_at_q([0, 0, 0])).real
    constants = project_translations(dynamical * np.outer(weight, weight))
    charges, electronic = np.asarray(parameters['born']), np.asarray(parameters['dielectric'])
    volume = float(abs(np.linalg.det(crystal.lattice)))
    optical = gamma_modes(constants, charges, masses, volume).frequencies
    return DielectricResponse(
        crystal,
        electronic,
        ionic=ionic_tensor(constants / RYDBERG_PER_BOHR2, charges, volume),
        born_charges=charges,
        frequencies=np.sort(np.concatenate([np.zeros(3), optical])),
        force_constants=constants,
        engine='phonopy',
        functional=UNKNOWN,
        settings={'supercell_matrix': np.asarray(loaded.supercell_matrix).tolist()},
    )


def load_phonopy(files: Mapping[str, bytes], *, forces: bool = True) -> Any:
    """Return the ``phonopy.Phonopy`` of a set, with force constants and charges as far as the files contain them.

    :param files: as for :func:`response_from_phonopy`
    :param forces: compute the force constants; without, cell and charges are enough
    :raises CollectError: missing or damaged files, other units, or phonopy is not installed
    """
    try:
        import phonopy
    except ImportError as error:
        raise CollectError(
            Refusal.MISSING_PACKAGE, "phonopy reads its files: pip install 'aiida-goectp[phonopy]'"
        ) from error
    arguments, atoms, held = _cell(files)
    source = next((item for item in FORCES if item in files), None)
    arguments['is_nac'] = BORN in files or 'charges' in held  # phonopy looks for BORN in the current folder otherwise
    if forces:
        if not arguments['is_nac']:
            raise CollectError(Refusal.MISSING_FILE, 'no BORN in this folder, and no charges in another file')
        if source is None and 'forces' not in held:
            raise CollectError(Refusal.MISSING_FILE, f'no {" or ".join(FORCES)}, and no forces in another file')
        if source is not None:
            _check_supercell(source, files[source], atoms)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for item, content in files.items():
            Path(folder, item).write_bytes(content)
        if forces and source:
            arguments[f'{source.lower()}_filename'] = Path(folder, source)
        if BORN in files:
            arguments['born_filename'] = Path(folder, BORN)
        if 'phonopy_yaml' in arguments:
            arguments['phonopy_yaml'] = Path(folder, arguments['phonopy_yaml'])
        try:
            return phonopy.load(**arguments, produce_fc=forces, log_level=0)
        except (Exception, SystemExit) as error:  # phonopy has no error class for damaged files, and exits on some
            raise CollectError(
                Refusal.UNREADABLE_FILE, f'phonopy cannot read the files ({type(error).__name__}: {error})'
            ) from error


def _cell(files: Mapping[str, bytes]) -> tuple[dict[str, Any], int, set[str]]:
    """Return the arguments of phonopy for the cells, the atoms of the supercell, and what else the file contains.

    :raises CollectError: missing or damaged files
    """
    name = next((item for item in PARAMETERS if item in files), None)
    if name is None:
        return _cell_of_structures(files)
    import yaml

    try:
        loader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(files[name], loader)):
            raise ValueError('it has aliases, which expand to any size')
        content = yaml.load(files[name], loader)
        unit = content.get('unit_cell') or content.get('primitive_cell')
        number = len(unit.get('points') or unit['atoms'])
        matrix = np.array(content.get('supercell_matrix', np.eye(3)), dtype=float).reshape(3, 3)
        program = content.get('calculator') or (content.get('phonopy') or {}).get('calculator')
        charged = any('born_effective_charge' in (item or ()) for item in (content, content.get('nac')))
        has_forces = 'force_constants' in content or _holds_forces(content.get('displacements'))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CollectError(Refusal.UNREADABLE_FILE, f'{name}: damaged, or no file of phonopy ({error})') from error
    if program not in _CALCULATORS:
        raise CollectError(Refusal.UNSUPPORTED, f'{name}: calculator {program}; expected units of Å and eV/Å²')
    held = {key for key, found in (('charges', charged), ('forces', has_forces)) if found}
    return {'phonopy_yaml': name}, round(abs(np.linalg.det(matrix)) * number), held


def _holds_forces(displacements: Any) -> bool:
    """Return whether the displacements of a YAML file, single ones or lists of them, come with forces."""
    while isinstance(displacements, list) and displacements:
        displacements = displacements[0]
    return isinstance(displacements, dict) and bool({'forces', 'force'} & set(displacements))


def _cell_of_structures(files: Mapping[str, bytes]) -> tuple[dict[str, Any], int, set[str]]:
    """Return the same for a unit cell and a supercell in the format of VASP."""
    from phonopy.structure.atoms import PhonopyAtoms

    found = []
    for names in (UNIT_CELLS, SUPERCELLS):
        name = next((item for item in names if item in files), None)
        if name is None:
            raise CollectError(
                Refusal.MISSING_FILE, f'no {PARAMETERS[0]}, and no {" or ".join(names)} in its place; add one of them'
            )
        row = next(read_poscar(name, name, files[name])).row
        if not isinstance(row, Crystal):
            raise CrystalError(row.code, f'{name}: {row.message}')
        found.append(require_valid(row))
    unit, large = found
    matrix = (large.lattice @ np.linalg.inv(unit.lattice)).T
    whole = np.rint(matrix).astype(int)
    if np.abs(matrix - whole).max() > 1e-3:
        raise CollectError(Refusal.OTHER_CELL, 'the supercell is no multiple of the unit cell')
    cell = PhonopyAtoms(
        numbers=unit.atomic_numbers.tolist(), cell=unit.lattice, scaled_positions=unit.fractional_positions
    )
    arguments = {'unitcell': cell, 'supercell_matrix': whole, 'primitive_matrix': 'auto'}
    return arguments, len(large.atomic_numbers), set()


def _check_supercell(name: str, content: bytes, atoms: int) -> None:
    """Check that a file has the number of atoms of the supercell, so that its size limits memory and time.

    :raises CollectError: another number, or a damaged file
    """
    words = content[:1024].split()[: 2 if name == FORCES[0] else 1]
    counts = {int(word) for word in words if word[:9] == word and word.isdigit()}
    if atoms not in counts or atoms > len(content):
        raise CollectError(
            Refusal.OTHER_CELL, f'{name} has {max(counts, default=0)} atoms, the supercell has {atoms}; or is damaged'
        )

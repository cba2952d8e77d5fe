"""Response of a finished VASP run from its files ``vasprun.xml``, ``OUTCAR`` and ``INCAR``."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.convert import from_ase
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.crystals.validation import CrystalError, require_valid
from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.vasp_response import dielectric_from_vasp
from aiida_goectp.core.dfpt.vasprun import Step, Vasprun, read_vasprun
from aiida_goectp.core.dielectric.outcar import read_outcar
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.functionals import UNKNOWN, unnamed
from aiida_goectp.core.formats.numbers import fortran_number

__all__ = ('INCAR', 'OUTCAR', 'VASPRUN', 'read_incar', 'response_from_vasp')

VASPRUN, OUTCAR, INCAR = 'vasprun.xml', 'OUTCAR', 'INCAR'
"""names of the files that are read"""

_END = b'General timing and accounting'
_MISSPELT = {'r': 'Zr', 'X': 'Xe'}
"""elements as VASP writes them into vasprun.xml for some potentials"""
_SWITCHES = ('lhfcalc', 'luse_vdw', 'lthomas', 'lmodelhf', 'lsorbit', 'lrpa', 'ldau', 'lvdw')
_FUNCTIONAL_TAGS = ('gga', 'metagga', 'aexx', 'hfscreen', 'ivdw', 'ldautype', 'ldaul', 'ldauu', 'ldauj')
_LEXCH = {'PAW_PBE': 'PE', 'PAW_GGA': '91', 'PAW': 'CA'}
"""functional of a potential by the first word of its title"""
_NEUTRAL = 0.01  # e
_MAX_NUMBER = 1e12  # no quantity can be larger; a larger number is damaged
_COMPARED = ('encut', 'ibrion', 'lepsilon', 'lcalceps', 'lhfcalc', 'aexx', 'hfscreen', 'ldau', 'ivdw', 'lsorbit')
_LOGICAL = re.compile(r'\.?([TF])(RUE|ALSE)?\.?', re.IGNORECASE | re.ASCII)
_ROUNDING = 0.0005
"""e; of the valence of an atom in OUTCAR"""
_VERSION = re.compile(r'^ *vasp\.(\S+)')
_VALENCE = re.compile(r'^ *POMASS *= *[0-9.]+; *ZVAL *= *([0-9.]+)', re.MULTILINE)
_COUNTS = re.compile(r'^ *ions per type *=((?: +\d{1,9})+) *$', re.MULTILINE)
_ELECTRONS = re.compile(r'^ *NELECT *= *([0-9.]+) +total', re.MULTILINE)
_INTEGER = {name: re.compile(rf'^ *{name} *= *(-?\d{{1,6}})\b', re.MULTILINE) for name in ('IBRION', 'NSW')}


_ADDITIONS = re.compile(
    rb'^ *(LDA\+U(?= is selected)|(?:LHFCALC|LUSE_VDW|LTHOMAS|LMODELHF|LRPA|LSORBIT)(?= *= *T\b))', re.MULTILINE
)
"""lines of OUTCAR about additions to a functional whose other settings only INCAR or vasprun.xml have"""


class _NamedText(io.StringIO):
    """Text with the name that ASE expects of a file."""

    name = OUTCAR


def response_from_vasp(name: str, files: Mapping[str, bytes]) -> DielectricResponse:
    """Return the dielectric response of one run of VASP, in the frame of its cell.

    Tensors, Born charges, force constants, gap and forces are read from ``vasprun.xml``, convergence, frequencies and
    cutoffs from ``OUTCAR``, which also stands for a ``vasprun.xml`` that is missing or truncated. The tags that
    define the functional are those of all files.

    :param name: id of the crystal
    :param files: content by name: ``vasprun.xml`` or ``OUTCAR`` at least, and ``INCAR``
    :raises CollectError: damaged files, an unfinished run, or one without linear response
    """
    outcar = files.get(OUTCAR)
    if outcar is not None and _END not in outcar[-(2**16) :]:
        outcar = None
    if outcar is not None and (runs := outcar.count(_END)) > 1:
        raise CollectError(Refusal.OTHER_RUN, f'{OUTCAR} contains {runs} runs; keep the part of one run')
    vasprun = read_vasprun(files[VASPRUN]) if VASPRUN in files else None
    tags = read_incar(files[INCAR].decode(errors='replace')) if INCAR in files else {}
    if vasprun is not None and vasprun.complete:
        return _from_vasprun(name, files, vasprun, outcar, tags)
    if outcar is not None:
        return _from_outcar(name, outcar, tags, has_incar=INCAR in files)
    if not {VASPRUN, OUTCAR} & set(files):
        raise CollectError(Refusal.MISSING_FILE, f'neither {VASPRUN} nor {OUTCAR}; retrieve one of them')
    present = ' and '.join(item for item in (VASPRUN, OUTCAR) if item in files)
    raise CollectError(
        Refusal.UNFINISHED, f'{present} without the end that VASP writes: the run did not finish; let it finish'
    )


def _from_vasprun(
    name: str, files: Mapping[str, bytes], vasprun: Vasprun, outcar: bytes | None, tags: Mapping[str, Any]
) -> DielectricResponse:
    step = vasprun.reference_step()
    _check_numbers(step)
    _check_incar(tags, vasprun)
    if 'epsilon' not in step.arrays and (
        outcar is None or read_outcar(outcar.decode(errors='replace')).electronic is None
    ):
        raise CollectError(
            Refusal.NO_RESPONSE, 'no dielectric tensor in the outputs: no response to a field (LEPSILON, LCALCEPS)'
        )
    _check_charge(VASPRUN, vasprun.valence - _electrons(vasprun), _NEUTRAL)
    crystal = _crystal(name, vasprun.symbols, step)
    incar = {**tags, **vasprun.incar, **_effective(vasprun)}
    # numbers; those of INCAR are text
    incar |= {tag: vasprun.parameters.get(name) for tag, name in (('ibrion', 'ibrion'), ('encut', 'enmax'))}
    misc = {'version': vasprun.version, 'forces': step.arrays.get('forces')}
    response = dielectric_from_vasp(
        crystal,
        misc,
        {'incar': incar, 'potentials': vasprun.potentials},
        step.arrays,
        {VASPRUN: files[VASPRUN]} | ({} if outcar is None else {OUTCAR: outcar}),
        [_MISSPELT.get(symbol, symbol) for symbol in vasprun.species],
        [_LEXCH.get(title.split()[0] if title else '', '') for title in vasprun.potentials],
        vasprun,
    )
    return _checked_dispersion(response, outcar, incar)


def _check_numbers(step: Step) -> None:
    """Check that the arrays of a step are not damaged: a part would be missing in the label without a word.

    :raises CollectError: a number that is none, or too large
    """
    for name, array in step.arrays.items():
        if not (np.abs(array) < _MAX_NUMBER).all():
            raise CollectError(
                Refusal.UNREADABLE_FILE, f'{VASPRUN}: damaged numbers in {name}; copy the file from the run again'
            )


def _check_incar(tags: Mapping[str, Any], vasprun: Vasprun) -> None:
    """Check that the tags of the file INCAR are those of the run, as far as both have numbers or logicals.

    :raises CollectError: another value
    """
    for tag in _COMPARED:
        if tag not in tags or tag not in vasprun.incar:
            continue
        given, used = (_plain(value) for value in (tags[tag], vasprun.incar[tag]))
        if given is not None and used is not None and given != used:
            raise CollectError(
                Refusal.OTHER_RUN,
                f'{INCAR}: {tag.upper()} = {tags[tag]}, but {vasprun.incar[tag]} in {VASPRUN}: the file of another '
                'run, or changed afterwards; remove it, or restore that of this run',
            )


def _plain(value: Any) -> float | bool | None:
    """Return a value of INCAR as a logical or a number; None for another text."""
    text = str(value).strip()
    if match := _LOGICAL.fullmatch(text):
        return match.group(1).upper() == 'T'
    number = fortran_number(text)
    return number if np.isfinite(number) else None


def _check_charge(file: str, charge: float, tolerance: float) -> None:
    """Check that a cell is neutral.

    :param charge: e; NaN if it is not known
    :raises CollectError: a charged cell
    """
    if abs(charge) > tolerance:
        raise CollectError(
            Refusal.UNSUPPORTED,
            f'{file}: NELECT of a cell with the charge {charge:+g} e: a charged cell, with the uniform background '
            'that makes it neutral, has no dielectric tensor of a crystal; compute the neutral cell',
        )


def _outcar_charge(text: str, atoms: int) -> float:
    """Return the charge of the cell in e; NaN if it is not known.

    :param atoms: in the cell
    """
    counts, electrons = _COUNTS.search(text), _ELECTRONS.search(text)
    numbers = [int(word) for word in counts.group(1).split()] if counts else []
    valences = [fortran_number(word) for word in _VALENCE.findall(text)]
    if electrons is None or len(numbers) != len(valences) or sum(numbers) != atoms:
        return np.nan
    return float(np.dot(numbers, valences)) - fortran_number(electrons.group(1))


def _electrons(vasprun: Vasprun) -> float:
    """Return NELECT; NaN if it is missing or damaged."""
    value = vasprun.parameters.get('nelect')
    return value if isinstance(value, float) else np.nan


def _effective(vasprun: Vasprun) -> dict[str, Any]:
    """Return tags of the functional that are in effect, and that the list of INCAR does not contain."""
    found: dict[str, Any] = {key: True for key in _SWITCHES if vasprun.parameters.get(key) is True}
    exact = found.get('lhfcalc', False) or vasprun.incar.get('lhfcalc', False)
    for key in _FUNCTIONAL_TAGS:
        value = vasprun.parameters.get(key)
        default = value in (None, '', '--', 0) or str(value).strip('-').upper() in ('', 'NONE', 'F')
        if key in vasprun.incar or default or (key in ('aexx', 'hfscreen') and not exact):
            continue
        found[key] = value
    return found if found.get('ldau') else {key: value for key, value in found.items() if not key.startswith('ldau')}


def _crystal(name: str, symbols: Sequence[str], step: Step) -> Crystal:
    if step.structure is None or len(step.structure[1]) != len(symbols):
        raise CollectError(Refusal.UNREADABLE_FILE, f'{VASPRUN}: no structure for {len(symbols)} atoms, or damaged')
    lattice, positions = step.structure
    if lattice.shape != (3, 3) or positions.shape != (len(symbols), 3):
        raise CollectError(Refusal.UNREADABLE_FILE, f'{VASPRUN}: a structure with damaged numbers')
    numbers = [ATOMIC_NUMBERS.get(_MISSPELT.get(symbol, symbol), 0) for symbol in symbols]
    return require_valid(Crystal(name, lattice, np.array(numbers, dtype=np.int16), positions))


def _from_outcar(name: str, content: bytes, tags: Mapping[str, Any], *, has_incar: bool) -> DielectricResponse:
    from ase.io.vasp import read_vasp_out

    text = content.decode(errors='replace')
    found = {key: int(match.group(1)) for key, pattern in _INTEGER.items() if (match := pattern.search(text))}
    relaxation = found.get('IBRION') in (1, 2, 3)
    try:
        atoms: Any = read_vasp_out(_NamedText(text), index=-1 if relaxation else 0)
        crystal, forces = require_valid(from_ase(atoms, name)), atoms.get_forces(apply_constraint=False)
    except CrystalError:
        raise
    except Exception as error:  # ASE has no error class of its own for damaged files
        raise CollectError(
            Refusal.UNREADABLE_FILE, f'{OUTCAR}: no structure could be read ({type(error).__name__}: {error})'
        ) from error
    atoms_in_cell = len(crystal.atomic_numbers)
    _check_charge(OUTCAR, _outcar_charge(text, atoms_in_cell), _NEUTRAL + _ROUNDING * atoms_in_cell)
    version = _VERSION.match(text)
    incar = {**tags, 'ibrion': found.get('IBRION'), 'encut': None}
    misc = {'version': version.group(1) if version else '', 'forces': forces}
    response = dielectric_from_vasp(crystal, misc, {'incar': incar}, {}, {OUTCAR: content})
    if not has_incar:  # OUTCAR does not list all tags that define a functional
        additions = _ADDITIONS.search(content)
        functional = unnamed(additions.group(1).decode().lower().replace('+', '_')) if additions else UNKNOWN
        response = replace(response, functional=functional)
    return _checked_dispersion(response, content, incar)


def _checked_dispersion(
    response: DielectricResponse, outcar: bytes | None, incar: Mapping[str, Any]
) -> DielectricResponse:
    """Return the response; its functional has no name if OUTCAR has a dispersion energy that no tag asks for."""
    named = {'ivdw', 'lvdw'} & set(incar)
    if outcar and b'Edisp (eV)' in outcar and not named:
        return replace(response, functional=unnamed('ivdw'))
    return response


def read_incar(text: str) -> dict[str, Any]:
    """Return the tags of an INCAR by name in lower case, values as text.

    Comments begin with ``#`` or ``!``, several tags on a line are separated by ``;``, and a line that ends in a
    backslash is continued.
    """
    found: dict[str, Any] = {}
    lines = re.sub(r'\\[ \t]*\n', ' ', text).splitlines()
    for part in (part for line in lines for part in re.split('[#!]', line)[0].split(';')):
        tag, equal, value = part.partition('=')
        if equal and tag.strip():
            found.setdefault(tag.strip().lower(), value.strip().strip('"'))  # VASP uses the first of repeated tags
    return found

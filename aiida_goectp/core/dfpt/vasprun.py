"""``vasprun.xml``: structure, tags, response and bands of one VASP run, element by element.

Memory is that of the file and of the elements that are kept; densities of states and projections are skipped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np

from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dielectric.band_gap import band_gap
from aiida_goectp.core.formats.numbers import fortran_number

__all__ = ('Step', 'Vasprun', 'read_vasprun')

_SKIPPED = ('dos', 'projected', 'dielectricfunction', 'eigenvelocities')
_ARRAYS = ('epsilon', 'epsilon_ion', 'forces', 'hessian')
_FINITE_FIELD = 'epsilon_scf'
"""ε_∞ of finite fields (LCALCEPS), with local fields"""
_RELAXATIONS = (1, 2, 3)
"""IBRION of runs in which each step has another structure, of which the last one has the response"""


@dataclass
class Step:
    """One ionic step: an element ``calculation``."""

    structure: tuple[np.ndarray, np.ndarray] | None = None
    """lattice (3, 3) Å, rows, and fractional positions (n, 3)"""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """``epsilon``, ``epsilon_ion`` (3, 3), ``born_charges`` (n, 3, 3), ``hessian`` (3n, 3n), ``forces`` (n, 3) eV/Å"""
    band_gap: float | None = None
    """eV, 0 for a metal; None without an empty level"""
    hessian_unit: str | None = None
    """as stated by VASP 6, ``THz^2``; empty in older files, in eV/(Å² u); None without a Hessian"""
    ended: bool = False


@dataclass
class Vasprun:
    """Content of a file."""

    version: str = ''
    incar: dict[str, Any] = field(default_factory=dict)
    """tags of INCAR by name in lower case"""
    parameters: dict[str, Any] = field(default_factory=dict)
    """all tags, defaults included"""
    symbols: list[str] = field(default_factory=list)
    """element of each atom"""
    species: list[str] = field(default_factory=list)
    """element of each kind, in the order of the lists of INCAR"""
    potentials: list[str] = field(default_factory=list)
    """title of the potential of each kind, such as ``PAW_PBE Si 05Jan2001``"""
    masses: np.ndarray | None = None
    """(n,) u, POMASS of each atom; None if one is missing or damaged"""
    valence: float = np.nan
    """electrons of the neutral cell, the sum of the valences of the potentials; NaN if one is missing or damaged"""
    initial: tuple[np.ndarray, np.ndarray] | None = None
    """lattice and fractional positions before the first step"""
    steps: list[Step] = field(default_factory=list)
    complete: bool = False
    """whether the program wrote the end of the file"""

    def reference_step(self) -> Step:
        """Return the step in the structure to which a response belongs, with the dielectric tensor if there is one.

        That of a relaxation is the last one, with a tensor if there is one. Otherwise it is the initial structure,
        with the arrays of all steps: the other structures are those of finite differences.
        """
        if not self.steps:
            return Step()
        if self.parameters.get('ibrion') in _RELAXATIONS:
            return next((step for step in reversed(self.steps) if 'epsilon' in step.arrays), self.steps[-1])
        first, arrays, unit = self.steps[0], {}, None
        for step in self.steps:
            arrays.update({name: array for name, array in step.arrays.items() if name != 'forces'})
            unit = unit if step.hessian_unit is None else step.hessian_unit
        forces = {name: first.arrays[name] for name in ('forces',) if name in first.arrays}
        return Step(self.initial or first.structure, {**arrays, **forces}, first.band_gap, unit)

    def displaced_gap(self) -> float | None:
        """Return the smallest band gap in eV of the displaced structures of finite differences; None without any.

        VASP writes the levels of the last step only, so that those of the undisplaced structure may be missing.
        """
        if self.parameters.get('ibrion') in _RELAXATIONS:
            return None
        return min((step.band_gap for step in self.steps[1:] if step.band_gap is not None), default=None)


def read_vasprun(content: bytes, name: str = 'vasprun.xml') -> Vasprun:
    """Read a file; one that is truncated is read up to its end, and not ``complete``.

    :param name: of the file, for messages
    :raises CollectError: not a file of VASP
    """
    if b'<!DOCTYPE' in content or b'<!ENTITY' in content:
        raise CollectError(Refusal.UNREADABLE_FILE, f'{name}: declares entities, which VASP does not write')
    result, root = Vasprun(), None
    try:
        for path, element in _elements(content):
            root = path[0]
            _read(result, path, element)
            result.complete = len(path) == 1
    except ElementTree.ParseError:  # truncated or damaged: what was read before is valid
        result.complete = False
    if root != 'modeling':
        raise CollectError(Refusal.UNREADABLE_FILE, f'{name}: not a vasprun.xml, or damaged at its beginning')
    return result


def _elements(content: bytes) -> Iterator[tuple[list[str], ElementTree.Element]]:
    """Yield the names of an element and of those around it, at its end; elements that are skipped are emptied."""
    path: list[str] = []
    skipped = 0
    for event, element in ElementTree.iterparse(io.BytesIO(content), ('start', 'end')):  # entities are refused above
        if event == 'start':
            path.append(element.tag)
            skipped += element.tag in _SKIPPED
            continue
        if not skipped:
            yield path, element
        skipped -= element.tag in _SKIPPED
        if skipped or (len(path) <= 3 and path[:2] == ['modeling', 'calculation']) or len(path) <= 2:
            element.clear()
        path.pop()


def _read(result: Vasprun, path: list[str], element: ElementTree.Element) -> None:
    """Take over an element of the first or second level, or one within a step."""
    match path:
        case ['modeling', 'generator']:
            result.version = next((_text(i) for i in element if i.get('name') == 'version'), '')
        case ['modeling', ('incar' | 'parameters') as tag]:
            getattr(result, tag).update(_tags(element))
        case ['modeling', 'atominfo']:
            atoms = [row for row in _rows(element, 'atoms') if row]
            result.symbols = [row[0] for row in atoms]
            kinds = [row for row in _rows(element, 'atomtypes') if len(row) > 4]
            result.species, result.potentials = [row[1] for row in kinds], [row[4] for row in kinds]
            result.masses = _masses(atoms, kinds)
            result.valence = sum(fortran_number(row[0]) * fortran_number(row[3]) for row in kinds) if kinds else np.nan
        case ['modeling', 'structure'] if element.get('name') == 'initialpos':
            result.initial = _structure(element)
        case ['modeling', 'calculation', inner]:
            if not result.steps or result.steps[-1].ended:
                result.steps.append(Step())
            _read_step(result.steps[-1], inner, element)
        case ['modeling', 'calculation'] if result.steps:
            result.steps[-1].ended = True


def _read_step(step: Step, tag: str, element: ElementTree.Element) -> None:
    if tag == 'structure':
        step.structure = _structure(element)
    elif tag == 'varray' and element.get('name') in _ARRAYS:
        _put(step, str(element.get('name')), _array(element))
    elif tag == 'varray' and element.get('name') == _FINITE_FIELD and 'epsilon' not in step.arrays:
        _put(step, 'epsilon', _array(element))
    elif tag == 'array' and element.get('name') == 'born_charges':
        charges = _array(element)
        if charges is not None and charges.size % 9 == 0:
            step.arrays['born_charges'] = charges.reshape(-1, 3, 3)
    elif tag == 'dynmat':
        step.hessian_unit = next((_text(item) for item in element.findall('i') if item.get('name') == 'unit'), '')
        for inner in element.findall('varray'):
            if inner.get('name') == 'hessian':
                _put(step, 'hessian', _array(inner))
    elif tag == 'eigenvalues' and step.band_gap is None:
        step.band_gap = _band_gap(element)


def _put(step: Step, name: str, array: np.ndarray | None) -> None:
    if array is not None:
        step.arrays[name] = array


def _text(element: ElementTree.Element) -> str:
    return (element.text or '').strip()


def _tags(element: ElementTree.Element) -> dict[str, Any]:
    """Return the values of all tags within an element by name in lower case."""
    found = {}
    for item in element.iter():
        if item.tag in ('i', 'v') and item.get('name'):
            words = _text(item)
            kind = item.get('type', 'float')
            found[str(item.get('name')).lower()] = (
                [_value(word, kind) for word in words.split()] if item.tag == 'v' else _value(words, kind)
            )
    return found


def _value(word: str, kind: str) -> Any:
    """Return a value of a tag; the text itself if it is damaged."""
    try:
        if kind == 'logical':
            return {'T': True, 'F': False}.get(word[:1].upper(), word)
        return word if kind == 'string' else int(word) if kind == 'int' else float(word)
    except ValueError:
        return word


def _rows(element: ElementTree.Element, name: str) -> list[list[str]]:
    """Return the cells of a table of ``atominfo``."""
    found = (item for item in element.findall('array') if item.get('name') == name)
    return [[_text(cell) for cell in row.findall('c')] for table in found for row in table.iter('rc')]


def _masses(atoms: list[list[str]], kinds: list[list[str]]) -> np.ndarray | None:
    """Return the masses (n,) in u of the atoms, which have the number of their kind in the second column."""
    of_kind = {str(number): fortran_number(row[2]) for number, row in enumerate(kinds, 1)}
    masses = np.array([of_kind.get(row[1], np.nan) if len(row) > 1 else np.nan for row in atoms])
    return masses if masses.size and (masses > 0).all() and np.isfinite(masses).all() else None


def _structure(element: ElementTree.Element) -> tuple[np.ndarray, np.ndarray] | None:
    arrays = {item.get('name'): _array(item) for item in element.iter('varray')}
    lattice, positions = arrays.get('basis'), arrays.get('positions')
    return None if lattice is None or positions is None else (lattice, positions)


def _array(element: ElementTree.Element) -> np.ndarray | None:
    """Return the rows within an element as a matrix; None if they differ in length. A damaged number is NaN."""
    rows = [[fortran_number(word) for word in _text(row).split()] for row in element.iter('v')]
    return np.array(rows) if rows and len({len(row) for row in rows}) == 1 else None


def _band_gap(element: ElementTree.Element) -> float | None:
    """Return the band gap in eV; None without an empty level, or if the levels are damaged."""
    spins = [
        [[[fortran_number(word) for word in _text(row).split()[:2]] for row in point.iter('r')] for point in spin]
        for spin in element.findall('array/set/set')
    ]
    try:
        levels = np.array(spins, dtype=np.float64)  # (spins, k, bands, 2); rows of different lengths are an error
        return band_gap(levels[..., 0], levels[..., 1])
    except (IndexError, ValueError):
        return None

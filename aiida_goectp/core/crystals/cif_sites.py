"""Atom sites of a CIF data block: elements, fractional positions, occupancies and disorder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, SYMBOLS
from aiida_goectp.core.crystals.validation import CrystalError

__all__ = ('check_composition', 'cif_number', 'read_sites')

Items = Mapping[str, Sequence[str]]

_UNKNOWN = ('?', '.', '')
_ION = re.compile(r'([A-Za-z]{1,2})(\d*[+-]|[+-]\d+)?')
"""a type symbol: an element, perhaps with its charge: Fe, Fe3+, Fe+3, O2-"""
_FORMULA = re.compile(r'([A-Z][a-z]?)(\d*\.?\d*)')
_NUMBER = re.compile(r'([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\(\d+\))?')


def cif_number(text: str) -> float | None:
    """Return a CIF number without its standard uncertainty, ``1.234(5)``; ``None`` if it is no number."""
    match = _NUMBER.fullmatch(text.strip())
    return float(match[1]) if match else None


def read_sites(items: Items) -> tuple[np.ndarray, np.ndarray]:
    """Return atomic numbers (n,) and fractional positions (n, 3) of the listed sites, without dummy sites.

    :param items: tag in lower case with underscores in place of dots → values
    :raises CrystalError: ``unreadable_file`` (no sites, columns of different length, unknown positions),
        ``unknown_element``, ``not_finite``, ``partial_occupancy`` (also for disorder), ``composition_mismatch``
        (hydrogen atoms that are attached but not listed)
    """
    numbers = _elements(items)
    positions = _positions(items, len(numbers))
    _check_occupancies(items, numbers)
    _check_disorder(items)
    _check_attached_hydrogens(items)
    flags = items.get('_atom_site_calc_flag', ())
    keep = np.array([flag.lower() != 'dum' for flag in flags] or [True] * len(numbers), dtype=bool)
    if len(keep) != len(numbers):
        raise CrystalError('unreadable_file', 'the columns of the atom sites differ in length')
    return numbers[keep], positions[keep]


def _elements(items: Items) -> np.ndarray:
    types, labels = items.get('_atom_site_type_symbol'), items.get('_atom_site_label')
    names = types or labels
    if not names:
        raise CrystalError('unreadable_file', 'the list of atom sites is missing; is the file cut off?')
    formula = _formula_elements(items)
    read = _element_of_type if types else _element_of_label
    return np.array([read(name.strip(), formula) for name in names], dtype=np.int16)


def _formula_elements(items: Items) -> set[str]:
    """Return the elements of the stated formula; none if it is not understood in full, such as NA CL."""
    text = ' '.join(items.get('_chemical_formula_sum', ())[:1])
    found = {symbol for symbol, _ in _FORMULA.findall(text)}
    if not found <= ATOMIC_NUMBERS.keys() or _FORMULA.sub('', text).strip():
        return set()
    return {SYMBOLS[ATOMIC_NUMBERS[symbol]] for symbol in found}


def _element_of_type(name: str, formula: set[str]) -> int:
    """Return the atomic number of a type symbol; all of it must be understood."""
    match = _ION.fullmatch(name)
    if match is None:
        raise CrystalError(
            'partial_occupancy' if re.search(r'[A-Z].*[A-Z,]', name) else 'unknown_element',
            f'{name!r:.40} is not a chemical element; an atom site holds one element, such as Fe or Fe3+',
        )
    return _resolve(match[1], name, formula)


def _element_of_label(name: str, formula: set[str]) -> int:
    """Return the atomic number of a site label such as Fe1 or O1A: the letters before the first other character."""
    match = re.match(r'[A-Za-z]+', name)
    letters = match[0] if match else ''
    if letters.upper() == 'T' and 'H' not in formula:
        raise CrystalError(
            'unknown_element',
            f'the label {name!r:.40} may be tritium or a tetrahedral site; add _atom_site_type_symbol',
        )
    if 1 <= len(letters) <= 2 and (letters in ATOMIC_NUMBERS or not formula):
        return _resolve(letters, name, formula)
    known = [
        part.capitalize()
        for part in (letters[:2], letters[:1])
        if part.capitalize() in ATOMIC_NUMBERS and _plain(part.capitalize()) in formula
    ]
    if len(set(known)) != 1:
        raise CrystalError(
            'unknown_element',
            f'the label {name!r:.40} does not identify an element; add _atom_site_type_symbol or _chemical_formula_sum',
        )
    return ATOMIC_NUMBERS[known[0]]


def _resolve(letters: str, name: str, formula: set[str]) -> int:
    """Return the atomic number of one or two letters in any case, if there is one way to read them."""
    symbol = letters.capitalize()
    if symbol not in ATOMIC_NUMBERS:
        raise CrystalError('unknown_element', f'{name!r:.40} is not a chemical element')
    if len(letters) == 2 and letters != symbol and all(letter in ATOMIC_NUMBERS for letter in letters.upper()):
        # SI may be silicon or sulphur and iodine, CN copernicium or cyanide: the formula decides
        readings = _plain(symbol) in formula, bool({letters[0].upper()} & formula)
        if readings != (True, False):
            raise CrystalError(
                'unknown_element',
                f'{name!r:.40} may be {symbol} or {letters[0].upper()}; write the symbol as {symbol}, or add '
                '_chemical_formula_sum',
            )
    return ATOMIC_NUMBERS[symbol]


def _plain(symbol: str) -> str:
    return SYMBOLS[ATOMIC_NUMBERS[symbol]]


def _positions(items: Items, count: int) -> np.ndarray:
    columns = [items.get(f'_atom_site_fract_{axis}') for axis in 'xyz']
    if any(column is None for column in columns):
        raise CrystalError(
            'unreadable_file', 'fractional coordinates are missing; is the file cut off? Cartesian CIFs are not read'
        )
    table = np.full((count, 3), np.nan)
    for axis, column in enumerate(columns):
        if column is None or len(column) != count:
            raise CrystalError('unreadable_file', 'the columns of the atom sites differ in length')
        for site, text in enumerate(column):
            value = cif_number(text)
            if value is None:
                code = 'not_finite' if text.lower().strip('+-') in ('nan', 'inf') else 'unreadable_file'
                raise CrystalError(code, f'atom site {site + 1}: {text!r:.40} is not a fractional coordinate')
            table[site, axis] = value
    if not np.isfinite(table).all():
        raise CrystalError('not_finite', 'an atom site has a position that is not finite')
    return table


def _check_occupancies(items: Items, numbers: np.ndarray) -> None:
    for site, text in enumerate(items.get('_atom_site_occupancy', ())):
        if text.strip() in _UNKNOWN:
            continue
        value = cif_number(text)
        if value is None or not abs(value - 1) < 1e-3:
            symbol = SYMBOLS[numbers[min(site, len(numbers) - 1)]]
            raise CrystalError(
                'partial_occupancy',
                f'atom site {site + 1} ({symbol}) has the occupancy {text!r:.20}; give an ordered structure',
            )


def _check_disorder(items: Items) -> None:
    """Refuse sites of alternative groups: they exclude each other, whatever their occupancies are."""
    groups = [text.strip() for text in items.get('_atom_site_disorder_group', ())]
    assemblies = [text.strip() for text in items.get('_atom_site_disorder_assembly', ())] or [''] * len(groups)
    found: dict[str, set[str]] = {}
    for assembly, group in zip(assemblies, groups, strict=False):
        if group not in (*_UNKNOWN, '0'):
            found.setdefault('' if assembly in _UNKNOWN else assembly, set()).add(group)
    for assembly, members in found.items():
        if len(members) > 1 or any(member.startswith('-') for member in members):
            shown = f' of assembly {assembly}' if assembly else ''
            raise CrystalError(
                'partial_occupancy',
                f'the disorder groups {", ".join(sorted(members))}{shown} exclude each other; '
                'give an ordered structure',
            )


def _check_attached_hydrogens(items: Items) -> None:
    for site, text in enumerate(items.get('_atom_site_attached_hydrogens', ())):
        if (cif_number(text) or 0) > 0:
            raise CrystalError(
                'composition_mismatch',
                f'atom site {site + 1} has {text.strip()} attached hydrogen atoms that are not listed; list them',
            )


def check_composition(items: Items, atoms: np.ndarray) -> None:
    """Compare the atoms of the cell with the stated formula: the one trace that a cut-off atom list leaves.

    :raises CrystalError: ``composition_mismatch``
    """
    text = ' '.join(items.get('_chemical_formula_sum', ())[:1]).strip()
    parts = _FORMULA.findall(text)
    if any(symbol not in ATOMIC_NUMBERS for symbol, _ in parts):
        return
    wanted: dict[int, float] = {}
    for symbol, amount in parts:
        wanted[ATOMIC_NUMBERS[symbol]] = wanted.get(ATOMIC_NUMBERS[symbol], 0.0) + float(amount or 1)
    if not sum(wanted.values()) > 0:
        return
    have = Counter(atoms.tolist())
    ratio = len(atoms) / sum(wanted.values())
    fits = all(abs(have[number] - ratio * wanted.get(number, 0.0)) < 0.01 * ratio for number in {*wanted, *have})
    units = cif_number(' '.join(items.get('_cell_formula_units_z', ())[:1]) or '?')
    z = units if units and units > 0 else None
    # some programs state the content of the whole cell as the formula, with Z in addition
    admitted = (z, 1) if z else (max(1, round(ratio)),)
    if not fits or all(abs(ratio - number) > 0.01 for number in admitted):
        found = ' '.join(f'{SYMBOLS[number]}{count}' for number, count in sorted(have.items()))
        raise CrystalError(
            'composition_mismatch',
            f'the stated formula is {text}{f" × {z:g}" if z else ""}, the atoms of the cell are {found or "none"}; '
            'is the atom list cut off, or are atoms missing?',
        )

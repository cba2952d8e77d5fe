"""Crystals in the JSON of pymatgen: structures, and any object that contains structures, without pymatgen.

A structure is the dictionary of ``Structure.as_dict``: ``lattice`` with ``matrix`` (rows a, b, c in Å) and optionally
``pbc``, and ``sites``, each with ``species`` (a list of ``element`` and ``occu``) and ``abc`` (fractional position).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiida_goectp.core.crystals.convert import from_lists
from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.entries import Entry, failed, scalars
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.names import HULL_COLUMN

__all__ = ('crystal_from_dict', 'read_structures_of')

_IDS = ('id', 'material_id', 'entry_id', 'task_id', 'identifier', 'mpid')
"""keys that name a structure, the first that is present"""

_INNER = ('data', 'properties')
"""keys of dictionaries beside a structure whose scalars belong to it as well"""

_NOT_PROPERTIES = ('@module', '@class', '@version')

_ALIASES = {'energy_above_hull': HULL_COLUMN}
"""names of the Materials Project for columns that filters use"""

_MAX_OCCUPANCY_ERROR = 1e-3


class _Found(NamedTuple):
    """A structure within a document."""

    label: str
    """id; empty without one"""
    structure: Mapping[str, Any]
    properties: Mapping[str, Any]
    where: str
    """keys and indices that lead to it"""


def read_structures_of(name: str, stem: str, document: Any) -> Iterator[Entry]:
    """Return an entry for each structure of a document, in its order; none if there is no structure.

    The id is ``id``, ``material_id``, ``entry_id`` or ``task_id`` of the object that contains the structure, or the key
    under which a dictionary contains it, or the stem of the file, with ``@0``, ``@1``, … if there are several. Scalars
    beside a structure, in ``data`` of an entry and in the columns of a table (pandas, ``orient='split'``) become
    properties. An object with the key ``structure`` stands for that structure only.

    :param name: file name for messages
    :param stem: stem of the file name, for ids
    :param document: content of the file
    """
    found = list(_walk(document, '', '', ''))
    unnamed = sum(not item.label for item in found) > 1
    for place, item in enumerate(found):
        label = item.label or (f'{stem}@{place}' if unnamed else stem)
        where = f'{name}, {item.where}' if item.where else name
        try:
            yield Entry(crystal_from_dict(label, item.structure), item.properties, where)
        except CrystalError as error:
            yield failed(label, where, error, error.code, '')


def _is_structure(value: Any) -> bool:
    return isinstance(value, dict) and 'sites' in value and 'lattice' in value


def _walk(value: Any, label: str, key: str, where: str) -> Iterator[_Found]:
    """Yield the structures of a value.

    :param label: id of an object around it
    :param key: under which a dictionary contains it
    """
    if _is_structure(value):
        yield _Found(label or key, value, {}, where)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _walk(item, '', '', f'{where}[{place}]')
    elif isinstance(value, dict) and isinstance(value.get('columns'), list) and isinstance(value.get('data'), list):
        index = value.get('index')
        labels = index if isinstance(index, list) and len(index) == len(value['data']) else []
        for place, row in enumerate(value['data']):
            if isinstance(row, list) and len(row) == len(value['columns']):
                named = dict(zip(map(str, value['columns']), row, strict=True))
                own = str(labels[place]) if labels and isinstance(labels[place], str) else ''
                yield from _walk_dict(named, own, '', f'{where}.data[{place}]'.lstrip('.'))
    elif isinstance(value, dict):
        yield from _walk_dict(value, label, key, where)


def _walk_dict(value: Mapping[str, Any], label: str, key: str, where: str) -> Iterator[_Found]:
    """Yield the structures of a dictionary; the scalars beside a structure are its properties."""
    own = _label(value) or label
    children = {'structure': value['structure']} if _is_structure(value.get('structure')) else value
    structures = [name for name, item in children.items() if _is_structure(item)]
    properties = _properties(value) if structures else {}
    for name, item in children.items():
        place = f'{where}.{name}'.lstrip('.')
        if name in structures:
            # the key names a structure where there is no id, as in {"mp-1": {…}, "mp-2": {…}}
            of_key = key if name == 'structure' else name
            several = f'{own}.{name}' if own and len(structures) > 1 else own
            yield _Found(several or of_key, item, properties, place)
        elif isinstance(item, dict | list):
            yield from _walk(item, own, name, place)


def _label(value: Mapping[str, Any]) -> str:
    given = next((value[key] for key in _IDS if isinstance(value.get(key), str | int)), '')
    return str(given)


def _properties(value: Mapping[str, Any]) -> dict[str, Any]:
    found = scalars(value, (*_IDS, *_NOT_PROPERTIES))
    for key in _INNER:
        if isinstance(value.get(key), dict) and not _is_structure(value[key]):
            found |= {name: item for name, item in scalars(value[key], _NOT_PROPERTIES).items() if name not in found}
    return {_ALIASES.get(name, name) if _ALIASES.get(name) not in found else name: found[name] for name in found}


def crystal_from_dict(label: str, structure: Mapping[str, Any]) -> Crystal:
    """Return the crystal of a structure in the form of ``Structure.as_dict``; oxidation states are ignored.

    :param label: id
    :param structure: with ``lattice`` and ``sites``
    :raises CrystalError: ``unreadable_row``, ``partial_occupancy``, ``unknown_element`` or ``not_periodic``
    """
    lattice, sites = structure['lattice'], structure['sites']
    if not isinstance(lattice, dict) or 'matrix' not in lattice or not isinstance(sites, list):
        raise CrystalError(
            'unreadable_row', 'expected lattice with matrix, and a list of sites, as of Structure.as_dict'
        )
    periodic = lattice.get('pbc', [True] * 3)
    if periodic != [True] * 3:
        raise CrystalError('not_periodic', f'pbc is {periodic!r:.40}; a crystal is periodic along all axes')
    species, positions = [], []
    for number, site in enumerate(sites, start=1):
        if not isinstance(site, dict) or not isinstance(site.get('species'), list) or 'abc' not in site:
            raise CrystalError('unreadable_row', f'site {number} lacks species or abc; write it with Structure.as_dict')
        species.append(_element(number, site['species']))
        positions.append(site['abc'])
    return from_lists(label, lattice['matrix'], species, positions)


def _element(number: int, species: list[Any]) -> Any:
    """Return the chemical symbol of a site."""
    one = species[0] if species else None
    if not isinstance(one, dict):
        raise CrystalError('unreadable_row', f'site {number}: species {species!r:.80}; expected element and occu')
    occupancy = one.get('occu')
    if not isinstance(occupancy, int | float):
        raise CrystalError('unreadable_row', f'site {number}: occupancy {occupancy!r:.40}; expected a number')
    if len(species) > 1 or not abs(occupancy - 1) <= _MAX_OCCUPANCY_ERROR:
        shares = ', '.join(f'{item.get("element")} {item.get("occu")}' for item in species if isinstance(item, dict))
        raise CrystalError('partial_occupancy', f'site {number} is occupied by {shares:.80}; give an ordered structure')
    symbol = one.get('element')
    if not isinstance(symbol, str):
        raise CrystalError('unknown_element', f'site {number}: {symbol!r:.40} is not a chemical element')
    return symbol

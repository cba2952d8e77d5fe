"""Crystals of OPTIMADE: JSON lines of structure entries (``*.optimade.jsonl``), version 1 of the specification.

The first line is a header, ``{"x-optimade": {…}, "columns": {PROPERTY: COLUMN}}``; each other line is an entry with
``id``, ``type`` and ``attributes``. Entries of other types are skipped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from aiida_goectp.core.crystals.convert import from_lists
from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.entries import Entry, failed, scalars
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json

__all__ = ('HEADER', 'REQUIRED', 'read_optimade')

HEADER = 'x-optimade'
"""key of the header"""

REQUIRED = (
    *('lattice_vectors', 'cartesian_site_positions', 'species', 'species_at_sites', 'dimension_types'),
    'structure_features',
)
"""properties that define a crystal"""

_INCOMPLETE = {'assemblies': 'partial_occupancy'}
"""structure features by which the listed sites are not the crystal → code; the default is composition_mismatch"""
_MISSING_SITES = ('implicit_atoms', 'site_attachments')

_MAX_CONCENTRATION_ERROR = 1e-3


def read_optimade(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read entries; scalars of provider-specific properties (``_PREFIX_NAME``) become columns.

    :param name: file name for messages
    :param stem: stem of the file name, for entries without id
    :param content: content of the file
    """
    columns: dict[str, str] = {}
    for number, line in enumerate(io.BytesIO(content), start=1):
        if not line.strip():
            continue
        where = f'{name}, line {number}'
        label = f'{stem}@{number}'
        try:
            value = parse_json(line, 'the line')
            if not isinstance(value, dict):
                raise CrystalError('unreadable_row', 'expected a JSON object with id, type and attributes')
            if HEADER in value:
                columns = _texts(value.get('columns'))
                continue
            if value.get('type') != 'structures':
                continue
            label = str(value['id']) if isinstance(value.get('id'), str | int) else label
            attributes = value.get('attributes')
            if not isinstance(attributes, dict):
                raise CrystalError('unreadable_row', 'an entry without attributes')
            own = {key: item for key, item in attributes.items() if key.startswith('_')}
            properties = {columns.get(key, key): item for key, item in scalars(own).items()}
            yield Entry(_crystal(label, attributes), properties, where)
        except FormatError as error:
            code = error.code if isinstance(error, CrystalError) else 'unreadable_row'
            yield failed(label, where, CrystalError(code, str(error)), code, '')


def _texts(value: Any) -> dict[str, str]:
    return {key: item for key, item in value.items() if isinstance(item, str)} if isinstance(value, dict) else {}


def _crystal(label: str, attributes: Mapping[str, Any]) -> Crystal:
    dimensions = attributes.get('dimension_types', [1, 1, 1])
    if dimensions is not None and dimensions != [1, 1, 1]:
        raise CrystalError('not_periodic', f'dimension_types is {dimensions!r:.40}; a crystal has [1, 1, 1]')
    features = attributes.get('structure_features') or []
    for feature in ('assemblies', *_MISSING_SITES):
        if isinstance(features, list) and feature in features:
            code = _INCOMPLETE.get(feature, 'composition_mismatch')
            raise CrystalError(code, f'structure feature {feature}: the sites are not those of one ordered crystal')
    sites = attributes.get('species_at_sites')
    if not isinstance(sites, list) or not isinstance(attributes.get('species'), list):
        raise CrystalError('unreadable_row', 'species or species_at_sites is missing')
    symbols = {
        item['name']: item
        for item in attributes['species']
        if isinstance(item, dict) and isinstance(item.get('name'), str)
    }
    species = [_symbol(number, site, symbols) for number, site in enumerate(sites, start=1)]
    positions, lattice = attributes.get('cartesian_site_positions'), attributes.get('lattice_vectors')
    return from_lists(label, lattice, species, positions, cartesian=True)


def _symbol(number: int, site: Any, species: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the chemical symbol of a site."""
    if not isinstance(site, str) or site not in species:
        raise CrystalError('unreadable_row', f'site {number}: species {site!r:.40} is not defined')
    symbols, shares = species[site].get('chemical_symbols'), species[site].get('concentration')
    if not isinstance(symbols, list) or not isinstance(shares, list) or not symbols or not shares:
        raise CrystalError('unreadable_row', f'species {site!r:.40} lacks chemical_symbols or concentration')
    share = shares[0]
    if len(symbols) > 1 or not isinstance(share, int | float) or not abs(share - 1) <= _MAX_CONCENTRATION_ERROR:
        found = f'{", ".join(map(str, symbols))} with {shares}'
        raise CrystalError('partial_occupancy', f'site {number} is occupied by {found:.100}; give an ordered structure')
    if not isinstance(symbols[0], str):
        raise CrystalError('unknown_element', f'site {number}: {symbols[0]!r:.40} is not a chemical element')
    return symbols[0]

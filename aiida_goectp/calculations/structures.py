"""Calcfunctions that import files and nodes of structures to one set of crystals; conversion of other values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePath
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.crystals.convert import as_crystal_set, labelled
from aiida_goectp.core.crystals.property_table import TableSettings, add_columns
from aiida_goectp.core.crystals.readers import read_bytes, read_contents
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.data.crystals import CrystalsData, to_crystal

__all__ = ('import_group', 'import_structures', 'join_crystals', 'reduce_to_primitive', 'to_crystals')


@calcfunction
def import_structures(
    properties: orm.SinglefileData | None = None,
    table: orm.Dict | None = None,
    query: orm.Dict | None = None,
    **files: orm.SinglefileData | orm.FolderData,
) -> CrystalsData:
    """Read stored structure files to one set of crystals.

    Files that cannot be read and invalid crystals are failures of the set. The order is that of the sorted input names,
    and within a folder that of the paths.

    :param properties: table with a column of ids and property columns, see :class:`.property_table.PropertyTable`
    :param table: fields of :class:`.property_table.TableSettings`
    :param query: source, URL, filter and date of a download, kept as its provenance
    :param files: the files, each a ``SinglefileData`` under any name, or a ``FolderData`` of files
    :raises ValueError: no file, or an invalid table of properties
    """
    if not files:
        raise ValueError('no files given; give at least one SinglefileData or FolderData')
    crystals = read_contents(_contents(files))
    return CrystalsData(_with_properties(crystals, properties, table))


@calcfunction
def import_group(
    properties: orm.SinglefileData | None = None,
    table: orm.Dict | None = None,
    **structures: orm.StructureData | orm.CifData | CrystalsData,
) -> CrystalsData:
    """Join nodes of structures to one set of crystals.

    Structures that are not crystals (slabs, alloys) are failures of the set. A ``StructureData`` keeps its frame, a CIF
    has that of :mod:`.readers`. The order is that of the sorted input names, which are the ids of structures; a set of
    crystals keeps its ids and properties.

    :param properties: table with a column of ids and property columns
    :param table: fields of :class:`.property_table.TableSettings`
    :param structures: the nodes
    :raises ValueError: no structure, or an invalid table of properties
    """
    if not structures:
        raise ValueError('no structures given; give at least one StructureData, CifData or node of crystals')
    parts = []
    for single, names in groupby(sorted(structures), lambda name: isinstance(structures[name], orm.StructureData)):
        nodes = {name: structures[name] for name in names}
        parts += [as_crystal_set(nodes, to_crystal)] if single else [_rows(name, node) for name, node in nodes.items()]
    crystals = parts[0] if len(parts) == 1 else concatenate_crystals(parts)
    return CrystalsData(_with_properties(crystals, properties, table))


@calcfunction
def reduce_to_primitive(imported: CrystalsData) -> CrystalsData:
    """Replace each crystal by its primitive cell, in the same Cartesian frame; see :func:`.primitive_crystal`.

    A DFPT calculation of the conventional cell of a face-centred crystal, for example, has four times the atoms.
    """
    from aiida_goectp.core.crystals.symmetry import primitive_crystals  # numba takes a second to import

    return CrystalsData(primitive_crystals(imported.crystals))


def _with_properties(crystals: CrystalSet, properties: orm.SinglefileData | None, table: orm.Dict | None) -> CrystalSet:
    if properties is None:
        return crystals
    settings = read_settings(TableSettings, {} if table is None else table.get_dict(), 'table')
    return add_columns(crystals, properties.filename, properties.content, settings)


def _contents(files: dict[str, orm.SinglefileData | orm.FolderData]) -> Iterator[tuple[str, bytes]]:
    for key in sorted(files):
        node = files[key]
        if isinstance(node, orm.SinglefileData):
            yield node.filename, node.content
            continue
        walked = node.base.repository.walk()
        for name in sorted((root / name).as_posix() for root, _, names in walked for name in names):
            yield name, node.base.repository.get_object_content(name, mode='rb')


@calcfunction
def join_crystals(ids: orm.List, **crystals: CrystalsData | orm.StructureData | orm.CifData) -> CrystalsData:
    """Join sets of crystals, ``StructureData`` and ``CifData`` to one set, in the order of the sorted input names.

    Structures that are not crystals are failures of the set. Duplicate ids get ``#2``, ``#3``, ….

    :param ids: id of each input; for an empty one the formula of a structure, or the name of the file of a CIF. A set
        keeps its ids
    :param crystals: the nodes
    """
    named = zip(ids.get_list(), (crystals[name] for name in sorted(crystals)), strict=True)
    return CrystalsData(concatenate_crystals([_rows(name, node) for name, node in named]))


def _rows(name: str, node: CrystalsData | orm.StructureData | orm.CifData) -> CrystalSet:
    if isinstance(node, CrystalsData):
        return node.crystals
    if isinstance(node, orm.CifData):
        return read_bytes(f'{name or PurePath(node.filename).stem}.cif', node.content)
    return as_crystal_set({name: node} if name else [node], to_crystal)


def to_crystals(values: Any) -> CrystalsData:
    """Return a node of crystals; what is a node already keeps its provenance by :func:`join_crystals`.

    :param values: a ``goectp.crystals`` node, ``StructureData``, ``CifData``, pymatgen ``Structure``, ASE ``Atoms``,
        :class:`.CrystalSet` or :class:`.Crystal`, a list of these, a dict id → structure, or a pandas data frame with a
        column ``structure`` (see :func:`.as_crystal_set`). A value of a list that is not a crystal is a failure of the
        set
    :raises ValueError: a single value that is not a crystal, or an empty list
    :raises TypeError: a value of another type
    """
    if isinstance(values, CrystalsData):
        return values
    pairs = labelled(values)
    if not pairs:
        raise ValueError('no crystals given; give at least one')
    nodes = CrystalsData, orm.StructureData, orm.CifData
    if not any(isinstance(value, nodes) for _, value in pairs):
        return CrystalsData(as_crystal_set(values, to_crystal))
    parts = {
        f'crystals_{place:05d}': value
        if isinstance(value, nodes)
        else CrystalsData(as_crystal_set({name: value} if name else [value], to_crystal))
        for place, (name, value) in enumerate(pairs)
    }
    joined: CrystalsData = join_crystals(orm.List([name or '' for name, _ in pairs]), **parts)
    return joined

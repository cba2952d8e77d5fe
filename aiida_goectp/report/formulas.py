"""Formulas of the crystals of predictions, rankings and picks, which contain ids and content hashes only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiida import orm

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.data.crystals import CrystalsData, crystal_from_structure
from aiida_goectp.data.table import TableData

__all__ = ('formulas_of',)


def formulas_of(node: Any, hashes: Iterable[Any]) -> dict[str, str]:
    """Return content hash → formula, of the crystals from which a node was computed.

    :param node: predictions, a ranking or picks; the crystals are those among the inputs of its creator, or of the
        creators of these inputs
    :param hashes: content hashes of the crystals to look up; those that are found nowhere are left out
    """
    wanted = {str(item) for item in hashes} - {''}
    found: dict[str, str] = {}
    waiting, seen = [node], {node.uuid}
    while waiting and wanted - set(found):
        creator = waiting.pop(0).creator
        inputs = [] if creator is None else creator.base.links.get_incoming(node_class=orm.Data).all_nodes()
        for item in inputs:
            if isinstance(item, CrystalsData):
                found |= _formulas(item.crystals, wanted - set(found))
            elif isinstance(item, orm.StructureData):
                found |= _formulas(CrystalSet.from_crystals([crystal_from_structure('structure', item)]), wanted)
            elif isinstance(item, TableData) and item.uuid not in seen:
                seen.add(item.uuid)
                waiting.append(item)
    return found


def _formulas(crystals: CrystalSet, wanted: set[str]) -> dict[str, str]:
    """Return content hash → formula, of those crystals whose hash is wanted."""
    offsets = crystals.atom_offsets
    return {
        key: formula(crystals.atomic_numbers[offsets[row] : offsets[row + 1]])
        for row, key in enumerate(crystals.hashes.tolist())
        if key in wanted
    }

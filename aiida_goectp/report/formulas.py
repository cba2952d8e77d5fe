"""Formulas of the crystals of predictions, rankings and picks, which contain ids and content hashes only."""

from __future__ import annotations

import sys
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
    wanted = {str(item) for item in hashes}
    wanted.discard('')
    found: dict[str, str] = {}
    waiting, seen = [node], {node.uuid}
    while waiting and wanted:
        creator = waiting.pop(0).creator
        inputs = [] if creator is None else creator.base.links.get_incoming(node_class=orm.Data).all_nodes()
        for item in inputs:
            if isinstance(item, CrystalsData):
                with item.open_rows() as rows:
                    _find(wanted, found, rows.blocks())
            elif isinstance(item, orm.StructureData):
                _find(wanted, found, [CrystalSet.from_crystals([crystal_from_structure('structure', item)])])
            elif isinstance(item, TableData) and item.uuid not in seen:
                seen.add(item.uuid)
                waiting.append(item)
    return found


def _find(wanted: set[str], found: dict[str, str], blocks: Iterable[CrystalSet]) -> None:
    """Move the hashes of crystals from those that are wanted to those that are found, until none is wanted."""
    for block in blocks:
        for row, key in enumerate(block.hashes.tolist()):
            if key in wanted:
                wanted.discard(key)
                found[key] = sys.intern(formula(block[row].atomic_numbers))
        if not wanted:
            return

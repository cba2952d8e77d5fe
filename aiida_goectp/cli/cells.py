"""Remark about crystals that DFPT would compute in a larger cell than necessary."""

from __future__ import annotations

from collections.abc import Iterable

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.symmetry import primitive_crystal

__all__ = ('remark_on_cells',)


def remark_on_cells(crystals: Iterable[Crystal]) -> str:
    """Return which crystals have a cell larger than their primitive one, and what to do; empty without any.

    :param crystals: valid crystals, those to compute
    """
    larger = [
        (crystal.id, len(crystal.atomic_numbers), atoms)
        for crystal in crystals
        if (atoms := len(primitive_crystal(crystal).atomic_numbers)) < len(crystal.atomic_numbers)
    ]
    if not larger:
        return ''
    name, atoms, least = larger[0]
    more = f' (the first of {len(larger)} such crystals)' if len(larger) > 1 else ''
    return (
        f'the cell of {name} has {atoms} atoms, its primitive cell {least}{more}; DFPT costs less in primitive cells, '
        'which `aiida-goectp import --primitive` makes'
    )

"""Elements whose crystals are taken as magnetic, for all engines."""

from __future__ import annotations

from types import MappingProxyType

from aiida import orm

__all__ = ('DEFAULT_MOMENT', 'MAGNETIC_MOMENTS', 'magnetic_elements')

MAGNETIC_MOMENTS = MappingProxyType(
    {'V': 5.0, 'Cr': 5.0, 'Mn': 5.0, 'Fe': 5.0, 'Co': 5.0, 'Ni': 5.0, 'Eu': 7.0, 'Gd': 7.0}
)
"""element → initial high-spin moment in μB; crystals without these elements are computed without spin"""
DEFAULT_MOMENT = 0.6
"""initial moment in μB of the other elements in a crystal with one of these"""


def magnetic_elements(structure: orm.StructureData) -> list[str]:
    """Return the symbols in a structure that have an initial moment, sorted."""
    return sorted(structure.get_symbols_set() & set(MAGNETIC_MOMENTS))

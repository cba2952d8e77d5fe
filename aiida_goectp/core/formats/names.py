"""Names that files, nodes and the command line share; free of numpy, so that help texts load quickly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

__all__ = (
    'DEFAULT_MODEL',
    'GAP_COLUMN',
    'GROUP_FOLDER',
    'HULL_COLUMN',
    'LARGEST_GAP',
    'MIN_STABILITY',
    'NUMERIC_COLUMNS',
    'PARTS',
    'SPLIT_PARTS',
    'renamed_properties',
)

_Value = TypeVar('_Value')

DEFAULT_MODEL = 'goectp'
"""shipped model that is used where none is given"""

PARTS = ('electronic', 'ionic', 'total')
"""parts of the static permittivity: clamped ions, ionic contribution, and their sum"""

SPLIT_PARTS = ('train', 'validation', 'test')
"""parts of a split"""

GAP_COLUMN, HULL_COLUMN = 'band_gap', 'e_above_hull'
"""property columns of the band gap in eV and of the energy above the convex hull in eV/atom"""

LARGEST_GAP = 100.0
"""eV, several times the gap of any crystal; a larger value has another unit"""

NUMERIC_COLUMNS = (GAP_COLUMN, HULL_COLUMN)
"""property columns that filters and figures of merit use; text in them is an error at import"""

GROUP_FOLDER = 'GOECTP_GROUP_FOLDER'
"""environment variable with a folder that the processes of one training share"""

MIN_STABILITY = 0.5
"""probability of stability from which crystals are ranked where stable ones are asked for without a number: more likely
stable than not"""


def renamed_properties(properties: Mapping[str, _Value], reserved: Collection[str]) -> dict[str, _Value]:
    """Return the properties, in their order, with ``property_NAME`` for each name that is reserved.

    :param properties: name → value
    :param reserved: names of other columns
    """
    taken = {*reserved, *properties}
    found = {}
    for name, value in properties.items():
        new = name
        while name in reserved and new in taken:
            new = f'property_{new}'
        taken.add(new)
        found[new] = value
    return found

"""The beginning of a selection."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

__all__ = ('take_first',)


@calcfunction
def take_first(selection: orm.List, number: orm.Int) -> orm.List:
    """Return the best so many of a selection, in their order.

    :raises ValueError: a number below one
    """
    if number.value < 1:
        raise ValueError(f'number to take: {number.value}; give one at least')
    return orm.List(selection.get_list()[: number.value])

"""Symmetry operations of a space group by its names, for CIFs that do not list the operations."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.crystals.validation import CrystalError

__all__ = ('operations_of',)

_CHOICES = {'s': '1', 'z': '2', 'h': 'H', 'r': 'R', '1': '1', '2': '2'}
"""what may stand behind a symbol: origin (1 or S, 2 or Z) or axes (H or R)"""


class _Setting(NamedTuple):
    hall_number: int
    number: int
    choice: str
    hall_symbol: str
    names: frozenset[str]


def operations_of(
    hall_symbol: str | None,
    symbol: str | None,
    number: int | None,
    fits: Callable[[np.ndarray], bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (m, 3, 3) and translations (m, 3) in fractional coordinates.

    The table is spglib's, with its 530 settings. The Hall symbol decides if it is given, else the Hermann-Mauguin
    symbol, else the number.

    :param symbol: Hermann-Mauguin symbol, short or full, perhaps with ``:1``, ``:2``, ``:H`` or ``:R``
    :param fits: whether rotations leave the cell unchanged; tells apart settings with other axes
    :raises CrystalError: ``symmetry_mismatch`` if no setting fits the cell, or two origins are possible;
        ``unreadable_file`` if there is no such group
    """
    import spglib

    shown = hall_symbol or symbol or number
    named = _named(hall_symbol, symbol, number)
    if not named:
        raise CrystalError('unreadable_file', f'no space group is named {shown!r}; list the symmetry operations')
    found = []
    for setting in named:
        table = spglib.get_symmetry_from_database(setting.hall_number)
        if table is not None and fits(table['rotations']):
            found.append((setting, table['rotations'], table['translations']))
    if not found:
        raise CrystalError('symmetry_mismatch', f'the space group {shown} does not leave the cell unchanged')
    if {setting.choice for setting, _, _ in found} >= {'1', '2'}:
        raise CrystalError(
            'symmetry_mismatch',
            f'the space group {shown} has two origins in use; list the symmetry operations, or append :1 or :2',
        )
    return found[0][1], found[0][2]


def _named(hall_symbol: str | None, symbol: str | None, number: int | None) -> list[_Setting]:
    if hall_symbol:
        return [setting for setting in _settings() if setting.hall_symbol == ' '.join(hall_symbol.split())]
    if symbol:
        body, choice = _split(symbol)
        return [setting for setting in _settings() if body in setting.names and choice in ('', setting.choice)]
    same = [setting for setting in _settings() if setting.number == number]
    if len({setting.choice for setting in same} & {'1', '2', 'H', 'R'}) == 2:
        return same
    return same[:1]  # the number alone means the standard setting


def _split(symbol: str) -> tuple[str, str]:
    """Return a symbol without blanks and underscores, in lower case, and the choice that stands behind it."""
    match = re.fullmatch(r'(.+?)(?:\s*:\s*|\s+)([HRSZ12])', symbol.strip(), flags=re.IGNORECASE)
    if match and (':' in symbol or match.group(2).upper() in 'HRSZ'):
        return _plain(match.group(1)), _CHOICES[match.group(2).lower()]
    return _plain(symbol), ''


def _plain(symbol: str) -> str:
    return re.sub(r'[\s_]', '', symbol).lower()


@lru_cache(maxsize=1)
def _settings() -> tuple[_Setting, ...]:
    import spglib

    settings = []
    for hall_number in range(1, 531):
        group = spglib.get_spacegroup_type(hall_number)
        if group is None:
            continue
        full = group.international_full
        names = {_plain(full), _plain(group.international.split('=')[-1])}
        if 3 <= group.number <= 15:  # P 1 21/n 1 is written P 21/n too
            first, *others = full.split()
            names.add(_plain(first + ''.join(item for item in others if item != '1')))
        settings.append(
            _Setting(hall_number, group.number, group.choice, ' '.join(group.hall_symbol.split()), frozenset(names))
        )
    return tuple(settings)

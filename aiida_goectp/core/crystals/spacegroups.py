"""Symmetry operations of a space group by its symbol or number, for CIF files that do not list them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.crystals.symmetry_search import HallSetting, hall_operations, hall_settings
from aiida_goectp.core.crystals.validation import CrystalError

__all__ = ('operations_of',)

_CHOICES = {'s': '1', 'z': '2', 'h': 'H', 'r': 'R', '1': '1', '2': '2'}
"""suffix of a symbol → choice of origin (1 or S, 2 or Z) or of axes (H or R)"""


class _NamedSetting(NamedTuple):
    setting: HallSetting
    names: frozenset[str]
    """Hermann-Mauguin symbols without spaces, in lower case"""


def operations_of(
    hall_symbol: str | None,
    symbol: str | None,
    number: int | None,
    fits: Callable[[np.ndarray], bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (m, 3, 3) and translations (m, 3) in fractional coordinates.

    All 530 settings are considered. The Hall symbol has priority over the Hermann-Mauguin symbol, and this over the
    number.

    :param hall_symbol: Hall symbol
    :param symbol: Hermann-Mauguin symbol, short or full, optionally with ``:1``, ``:2``, ``:H`` or ``:R``
    :param number: 1 to 230
    :param fits: whether rotations leave the cell unchanged; distinguishes settings with other axes
    :raises CrystalError: ``symmetry_mismatch`` if no setting fits the cell, or two origins are possible;
        ``unreadable_file`` if there is no such group
    """
    label = hall_symbol or symbol or number
    candidates = _candidates(hall_symbol, symbol, number)
    if not candidates:
        raise CrystalError('unreadable_file', f'unknown space group {label!r}; list the symmetry operations')
    found = [
        (setting, rotations, translations)
        for setting in candidates
        for rotations, translations in [hall_operations(setting.hall_number)]
        if fits(rotations)
    ]
    if not found:
        raise CrystalError('symmetry_mismatch', f'the space group {label} does not leave the cell unchanged')
    if {setting.choice for setting, _, _ in found} >= {'1', '2'}:
        raise CrystalError(
            'symmetry_mismatch',
            f'the space group {label} has two choices of origin; list the symmetry operations, or append :1 or :2',
        )
    return found[0][1], found[0][2]


def _candidates(hall_symbol: str | None, symbol: str | None, number: int | None) -> list[HallSetting]:
    if hall_symbol:
        return [setting for setting in hall_settings() if setting.hall_symbol == ' '.join(hall_symbol.split())]
    if symbol:
        body, choice = _split(symbol)
        return [item.setting for item in _named() if body in item.names and choice in ('', item.setting.choice)]
    same = [setting for setting in hall_settings() if setting.number == number]
    if len({setting.choice for setting in same} & {'1', '2', 'H', 'R'}) == 2:
        return same
    return same[:1]  # the standard setting


def _split(symbol: str) -> tuple[str, str]:
    """Return a symbol without spaces and underscores, in lower case, and the choice in its suffix."""
    match = re.fullmatch(r'(.+?)(?:\s*:\s*|\s+)([HRSZ12])', symbol.strip(), flags=re.IGNORECASE)
    if match and (':' in symbol or match.group(2).upper() in 'HRSZ'):
        return _plain(match.group(1)), _CHOICES[match.group(2).lower()]
    return _plain(symbol), ''


def _plain(symbol: str) -> str:
    return re.sub(r'[\s_]', '', symbol).lower()


@lru_cache(maxsize=1)
def _named() -> tuple[_NamedSetting, ...]:
    found = []
    for setting in hall_settings():
        names = {_plain(setting.full_symbol), _plain(setting.symbol.split('=')[-1])}
        if 3 <= setting.number <= 15:  # P 1 21/n 1 is also written P 21/n
            first, *others = setting.full_symbol.split()
            names.add(_plain(first + ''.join(item for item in others if item != '1')))
        found.append(_NamedSetting(setting, frozenset(names)))
    return tuple(found)

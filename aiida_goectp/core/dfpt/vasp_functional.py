"""Name of the functional of a VASP run, from all INCAR tags that define it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from aiida_goectp.core.formats.functionals import UNKNOWN, unnamed

__all__ = ('functional_name',)

_GGA = {
    'ps': 'PBEsol',
    'pe': 'PBE',
    'am': 'AM05',
    '91': 'PW91',
    'rp': 'RPBE',
    're': 'revPBE',
    'ca': 'LDA',
}
_METAGGA = {
    'tpss': 'TPSS',
    'rtpss': 'revTPSS',
    'm06l': 'M06-L',
    'scan': 'SCAN',
    'rscan': 'rSCAN',
    'r2scan': 'r2SCAN',
}
_DISPERSION = {
    0: '',
    1: '+D2',
    10: '+D2',
    11: '+D3',
    12: '+D3(BJ)',
    13: '+D4',
    2: '+TS',
    20: '+TS',
    21: '+TS(HI)',
    202: '+MBD',
    263: '+MBD(FI)',
}
_HYBRIDS = {
    ('PBE', 0.25, 0.0): 'PBE0',
    ('PBE', 0.25, 0.2): 'HSE06',
    ('PBE', 0.25, 0.3): 'HSE03',
    ('PBEsol', 0.25, 0.2): 'HSEsol',
}
"""(semilocal functional, AEXX, HFSCREEN in 1/Å) → name"""
_ORBITALS = 'spdf'

_SWITCHES = ('luse_vdw', 'lthomas', 'lmodelhf', 'lrhfcalc')
_UNNAMED = (
    *('aggax', 'aggac', 'aldax', 'aldac', 'amggax', 'amggac', 'xc', 'xc_c', 'zab_vdw', 'bparam', 'cparam'),
    *('param1', 'param2', 'param3'),
)
_PREFIXES = ('libxc', 'vdw_', 'cmbj', 'msnl', 'xc_')
"""tags that change a functional in a way that has no name here"""


def functional_name(
    incar: Mapping[str, Any], species: Sequence[str] = (), potentials: Collection[str] = ('PE',)
) -> str:
    """Return the name of the functional: ``PBEsol``, ``HSE06``, ``PBE+D3(BJ)``, ``PBE+U(Fe-d 5.3)``, …

    The name contains everything that changes the response: exact exchange and its range, dispersion, U − J of each
    element, spin-orbit coupling (``+SOC``), and ``+LRPA`` where the response has no exchange and correlation.

    :param incar: tags by name
    :param species: symbols in the order of the lists LDAUL, LDAUU and LDAUJ
    :param potentials: LEXCH of the potentials, which is the functional without GGA and METAGGA
    :return: ``unnamed (…)`` with the tags if some that define the functional are not understood; ``unknown`` if neither
        tags nor potentials state the functional
    """
    tags = {str(key).lower(): value for key, value in incar.items() if value is not None}
    if other := sorted(name for name in tags if name in _UNNAMED or name.startswith(_PREFIXES)):
        return unnamed(', '.join(other))
    readers: tuple[tuple[str, Callable[[], str]], ...] = (
        (', '.join(_SWITCHES), lambda: _without_switches(tags)),
        ('gga, metagga, lhfcalc', lambda: _semilocal(tags, potentials)),
        ('ivdw, lvdw', lambda: _dispersion(tags)),
        ('ldau', lambda: _hubbard(tags, species)),
        ('lsorbit, lrpa', lambda: _flags(tags)),
    )
    parts = []
    for names, read in readers:
        try:
            parts.append(read())
        except (ValueError, TypeError, KeyError):
            return unnamed(', '.join(name for name in names.split(', ') if name in tags) or names)
    if not parts[1]:
        return unnamed('gga') if any(parts) else UNKNOWN
    return ''.join(parts)


def _without_switches(tags: Mapping[str, Any]) -> str:
    """Return an empty text.

    :raises ValueError: a switch whose functional has no name here
    """
    if any(_is_true(tags.get(name, False)) for name in _SWITCHES):
        raise ValueError('a functional without a name')
    return ''


def _flags(tags: Mapping[str, Any]) -> str:
    additions = (('lsorbit', '+SOC'), ('lrpa', '+LRPA'))
    return ''.join(text for name, text in additions if _is_true(tags.get(name, False)))


def _is_true(value: Any) -> bool:
    """Return a logical of an INCAR.

    :raises ValueError: not a logical value
    """
    if isinstance(value, bool):
        return value
    word = str(value).strip().strip('.').lower()
    if word[:1] not in ('t', 'f'):
        raise ValueError(f'expected a logical, found {value!r}')
    return word.startswith('t')


def _semilocal(tags: Mapping[str, Any], potentials: Collection[str]) -> str:
    """Return the name of the (meta-)GGA, with exact exchange; empty if neither tags nor potentials state it.

    :raises KeyError: an unknown one
    :raises ValueError: invalid values
    """
    meta = str(tags.get('metagga', '')).strip().lower()
    gga = str(tags.get('gga', '')).strip().lower()
    if meta.strip('-') not in ('', 'none', 'f', '.false.', 'false'):
        name = _METAGGA[meta]
    elif gga.strip('-'):
        name = _GGA[gga]
    else:
        (potential,) = {str(item).lower() for item in potentials} or {''}
        name = _GGA[potential] if potential else ''
    if not _is_true(tags.get('lhfcalc', False)):
        return name
    if not name:
        raise ValueError('exact exchange with an unknown functional')
    exchange, screening = float(tags.get('aexx', 0.25)), float(tags.get('hfscreen', 0.0))
    if exchange == 1 and screening == 0:
        return 'HF'  # AGGAX, AGGAC and ALDAC are then zero by default
    if not math.isfinite(exchange + screening):
        raise ValueError('AEXX or HFSCREEN is not finite')
    found = _HYBRIDS.get((name, exchange, screening))
    return found or f'{name}(AEXX {exchange:g}, HFSCREEN {screening:g})'


def _dispersion(tags: Mapping[str, Any]) -> str:
    """Return the dispersion correction.

    :raises KeyError: an unknown one
    """
    if 'ivdw' in tags:
        return _DISPERSION[int(tags['ivdw'])]
    return '+D2' if _is_true(tags.get('lvdw', False)) else ''


def _hubbard(tags: Mapping[str, Any], species: Sequence[str]) -> str:
    """Return U − J in eV by element and orbital, U and J where both matter; empty without DFT+U.

    :raises ValueError: lists that are missing, do not fit the species, or differ within an element
    """
    if not _is_true(tags.get('ldau', False)):
        return ''
    kind = int(tags.get('ldautype', 2))
    lists = [_list(tags.get(name, ())) for name in ('ldaul', 'ldauu', 'ldauj')]
    if not lists[2]:
        lists[2] = [0.0] * len(lists[1])
    if kind not in (1, 2, 4) or not species or {len(values) for values in lists} != {len(species)}:
        raise ValueError('U is not known for each species')
    found: dict[str, str] = {}
    for symbol, orbital, u, j in zip(species, *lists, strict=True):
        used = orbital >= 0 and (u - j if kind == 2 else u or j)
        text = f'{symbol}-{_ORBITALS[int(orbital)]} {u - j if kind == 2 else u:g}' if used else ''
        text += f'/{j:g}' if text and kind != 2 else ''
        if found.setdefault(symbol, text) != text:
            raise ValueError(f'two values of U for {symbol}')
    named = ', '.join(sorted(filter(None, found.values())))
    prefix = '' if kind == 2 else f'LDAUTYPE {kind}: '
    return f'+U({prefix}{named})' if named else ''


def _list(value: Any) -> list[float]:
    """Return numbers of an INCAR: a list, or a text of numbers.

    :raises ValueError: other content
    """
    words = value.split() if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    return [float(word) for word in words]

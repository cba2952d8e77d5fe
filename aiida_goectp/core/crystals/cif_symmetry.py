"""Symmetry operations of a CIF data block, from listed operations, space-group names or numbers.

gemmi parses the operations and holds the table of space groups (564 settings). What is not understood in full, or
contradicts something else in the block, is refused; a block with symmetry items is never read as P1. The files of a set
have few different groups, which are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.crystals.symmetry_search import group_number
from aiida_goectp.core.crystals.validation import CrystalError

if TYPE_CHECKING:
    import gemmi

__all__ = ('symmetry_operations',)


@dataclass(frozen=True, eq=False)
class _Group:
    """A space group in one setting, shared by all crystals that have it."""

    name: str
    number: int | None
    """None if the table does not have these operations"""
    rotations: np.ndarray
    """(m, 3, 3) of fractional coordinates, the identity first"""
    translations: np.ndarray
    """(m, 3)"""

    def __post_init__(self) -> None:
        self.rotations.setflags(write=False)
        self.translations.setflags(write=False)

    @cached_property
    def operations(self) -> bytes:
        """The operations modulo translations of the lattice, equal for two groups that list them in another order."""
        linear, steps = self.rotations.reshape(-1, 9) * 24, np.mod(np.rint(self.translations * 24), 24)
        return np.unique(np.concatenate([linear, steps], axis=1).astype(np.int32), axis=0).tobytes()

    @cached_property
    def order(self) -> int:
        """Number of different rotations."""
        return len(np.unique(self.rotations.reshape(-1, 9), axis=0))


Items = Mapping[str, Sequence[str]]
"""tag in lower case with underscores in place of dots → values, quotes removed"""

_MAX_OPERATIONS = 1000
"""a group of 192 operations in a cell of a few centrings; more are not a crystallographic description"""

_KEPT = 256
"""groups that are kept by name, and by list of operations"""
_LONGEST_NAME = 80
"""characters of the name of a space group"""
_LONGEST_LIST = 10_000
"""characters of a list of operations that is kept"""

_METRIC_TOLERANCE = 0.02
"""of the largest element of the metric tensor; refined cells obey their symmetry far better, other settings do not"""

_OPERATIONS = ('_space_group_symop_operation_xyz', '_symmetry_equiv_pos_as_xyz')
_MAGNETIC = ('_space_group_symop_magn_operation_xyz', '_space_group_symop_magn_operation_mxmymz_xyz')
_MAGNETIC_CENTRINGS = ('_space_group_symop_magn_centering_xyz',)
_HALL = ('_space_group_name_hall', '_symmetry_space_group_name_hall')
_SYMBOL = (
    '_space_group_name_h-m_alt',
    '_space_group_name_h-m',
    '_symmetry_space_group_name_h-m',
    '_symmetry_space_group_name_h_m',
)
_FULL_SYMBOL = ('_space_group_name_h-m_full',)
"""perhaps in a long form that the table of gemmi does not have"""
_REFERENCE_SYMBOL = ('_space_group_name_h-m_ref',)
"""names the type of the group, not its setting"""
_NUMBER = ('_space_group_it_number', '_symmetry_int_tables_number')
_CHOICE = ('_space_group_it_coordinate_system_code', '_space_group_coordinate_system_code')
_OPERATION = re.compile(r'\s*[-+xyzXYZ0-9./ ]+,[-+xyzXYZ0-9./ ]+,[-+xyzXYZ0-9./ ]+\s*')
_SETTING_CODE = re.compile(r'([12hrsz]?)(abc|ba-c|cab|-cba|bca|a-cb|-?[abc][123]?|)')
"""origin or axes, and the permutation of axes or the unique axis with cell choice: 2, r, cab, 2bca, -b1"""
_EXTENSIONS = {'s': '1', 'z': '2', 'h': 'H', 'r': 'R', '1': '1', '2': '2'}
"""suffix of a Hermann-Mauguin symbol: origin choice (1 or S, 2 or Z) or axes (H or R)"""
_IDS = ('_symmetry_equiv_pos_site_id', '_space_group_symop_id', '_space_group_id', '_space_group_symop_sg_id')


def symmetry_operations(items: Items, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (m, 3, 3) and translations (m, 3) in fractional coordinates, the identity first.

    Listed operations are taken if there are any; the names and the number beside them must denote the same type of
    space group. Otherwise the Hall symbol, the Hermann-Mauguin symbol or the number determines the operations. A block
    without any symmetry item is P1.

    :param lattice: (3, 3) Å, rows a, b, c
    :raises CrystalError: ``symmetry_mismatch`` for contradictions, for operations that do not leave the cell unchanged
        or form no group, and for symmetry that is stated but not understood
    """
    listed = _listed(items)
    named = _named_group(items, lattice, listed is not None)
    if listed is not None:
        if not _fits(listed.rotations, lattice):
            raise CrystalError(
                'symmetry_mismatch', 'the listed operations do not leave the cell unchanged; is it another setting?'
            )
        if named is not None:
            _check_same_type(listed, named, lattice)
        return listed.rotations, listed.translations
    if named is not None:
        return named.rotations, named.translations
    stated = sorted(tag for tag in items if tag.startswith(('_symmetry_', '_symop_')) or 'space_group' in tag)
    stated = [tag for tag in stated if tag not in _IDS or len(items[tag]) > 1]
    if [tag for tag in stated if [value.lower() for value in items[tag]] != ['triclinic']]:
        raise CrystalError(
            'symmetry_mismatch',
            f'{stated[0]} is stated, but no item gives the symmetry operations; list the operations '
            '(_space_group_symop_operation_xyz) or give the number (_space_group_IT_number)',
        )
    return np.eye(3)[None], np.zeros((1, 3))


def _values(items: Items, tags: Sequence[str]) -> list[str]:
    """Return the values of the first of some tags that has any other than unknown."""
    for tag in tags:
        values = [text for value in items.get(tag, ()) if (text := value.strip()) not in ('?', '.', '')]
        if values:
            return values
    return []


def _listed(items: Items) -> _Group | None:
    """Return the operations that the block lists; the spatial parts of magnetic ones, times their centrings.

    :raises CrystalError: ``symmetry_mismatch`` if an operation is not understood, several lists differ, or products of
        operations are missing
    """
    lists = [tuple(_values(items, tags)) for tags in (*((tag,) for tag in _OPERATIONS), _MAGNETIC, _MAGNETIC_CENTRINGS)]
    if not any(lists[:-1]):
        return None
    is_kept = sum(len(text) for texts in lists for text in texts) <= _LONGEST_LIST
    return (_group_of_lists if is_kept else _group_of_lists.__wrapped__)(*lists)


@lru_cache(maxsize=_KEPT)
def _group_of_lists(
    first: tuple[str, ...], second: tuple[str, ...], magnetic: tuple[str, ...], centrings: tuple[str, ...]
) -> _Group:
    """Return the group that each of the given lists states; those not given are empty."""
    found = [_distinct(*_parse(texts)) for texts in (first, second) if texts]
    if magnetic:
        found.append(_magnetic(magnetic, centrings or ('x,y,z,+1',)))
    groups = [_Group('', _tabulated_number(*operations), *operations) for operations in found]
    if len({group.operations for group in groups}) > 1:
        raise CrystalError(
            'symmetry_mismatch', 'two lists of symmetry operations contradict each other; remove the wrong one'
        )
    _check_group(*found[0])
    return groups[0]


def _magnetic(texts: Sequence[str], centrings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    rotations, translations = _parse([_spatial_part(text) for text in texts])
    turned, shifts = _parse([_spatial_part(text) for text in centrings])
    if not (turned == np.eye(3)).all():
        raise CrystalError('symmetry_mismatch', f'{", ".join(centrings):.60} are not centring translations')
    shifted = translations[None] + shifts[:, None]
    return _distinct(np.tile(rotations, (len(shifts), 1, 1)), shifted.reshape(-1, 3))


def _spatial_part(text: str) -> str:
    """Return a magnetic operation ``x,y,z,+1`` without its time reversal."""
    body, _, reversal = text.rpartition(',')
    if reversal.strip() not in ('+1', '-1', '1') or body.count(',') != 2:
        raise CrystalError('symmetry_mismatch', f'{text!r:.60} is not a magnetic symmetry operation x,y,z,±1')
    return body


def _parse(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    import gemmi

    operations = []
    for text in texts:
        try:
            if not _OPERATION.fullmatch(text):
                raise ValueError('allowed are x, y, z, digits, + - . / and two commas')
            operations.append(gemmi.Op(text))
        except (ValueError, RuntimeError) as error:
            raise CrystalError(
                'symmetry_mismatch', f'{text!r:.60} is not a symmetry operation such as -x+1/2,y,z ({error})'
            ) from error
    rotations = np.array([operation.rot for operation in operations], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([operation.tran for operation in operations], dtype=np.float64) / gemmi.Op.DEN
    return rotations, translations


def _distinct(rotations: np.ndarray, translations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each operation once (translations modulo 1), the identity first."""
    rows = np.concatenate([rotations.reshape(-1, 9), np.mod(np.round(translations * 24), 24) / 24], axis=1)
    identity = np.concatenate([np.eye(3).reshape(-1), np.zeros(3)])
    _, first = np.unique(np.concatenate([identity[None], rows]), axis=0, return_index=True)
    rows = np.concatenate([identity[None], rows])[np.sort(first)]
    if len(rows) > _MAX_OPERATIONS:
        raise CrystalError(
            'symmetry_mismatch', f'{len(rows)} different symmetry operations; at most {_MAX_OPERATIONS} are read'
        )
    return rows[:, :9].reshape(-1, 3, 3), rows[:, 9:]


def _group(setting: gemmi.SpaceGroup) -> _Group:
    return _Group(setting.xhm(), setting.number, *_arrays(setting.operations()))


def _arrays(operations: gemmi.GroupOps) -> tuple[np.ndarray, np.ndarray]:
    found = list(operations)
    rotations = np.array([operation.rot for operation in found], dtype=np.float64) / 24
    translations = np.array([operation.tran for operation in found], dtype=np.float64) / 24
    return _distinct(rotations, translations)


def _fits(rotations: np.ndarray, lattice: np.ndarray) -> bool:
    metric = lattice @ lattice.T
    moved = np.einsum('mki,kl,mlj->mij', rotations, metric, rotations)
    return bool(np.abs(moved - metric).max() < _METRIC_TOLERANCE * np.abs(metric).max())


def _check_group(rotations: np.ndarray, translations: np.ndarray) -> None:
    """Refuse operations whose products are not among them: a list that is cut off, or mixes two settings."""
    if np.abs(np.abs(np.linalg.det(rotations)) - 1).max() > 1e-6:
        raise CrystalError('symmetry_mismatch', 'a listed operation does not preserve volume')
    weights = 3 ** np.arange(9)

    def keys(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
        digits = np.clip(np.rint(linear).reshape(*linear.shape[:-2], 9) + 1, 0, 2) @ weights
        steps = np.mod(np.rint(shift * 24), 24)
        return digits * 24**3 + steps @ np.array([576, 24, 1])

    known = keys(rotations, translations)
    for rotation, translation in zip(rotations, translations, strict=True):
        product = keys(rotation @ rotations, translations @ rotation.T + translation)
        if not np.isin(product, known).all():
            raise CrystalError(
                'symmetry_mismatch',
                f'the {len(rotations)} listed operations are not a group: products of them are missing; is the list '
                'cut off?',
            )


def _named_group(items: Items, lattice: np.ndarray, listed: bool) -> _Group | None:
    """Return the space group in the setting that Hall symbol, Hermann-Mauguin symbols and number denote.

    :param listed: operations are listed, so that the name need not determine a single setting
    :raises CrystalError: ``symmetry_mismatch`` if they contradict each other, denote no group, or leave two origins
    """
    code = '' if listed else ' '.join(_values(items, _CHOICE)[:1]).lower()
    found = _denoted(items, code)
    if not found:
        return None
    if len({group.number for groups in found.values() for group in groups}) > 1:
        shown = ', '.join(f'{text!r:.40} ({groups[0].number})' for text, groups in found.items())
        raise CrystalError('symmetry_mismatch', f'the space-group items contradict each other: {shown}')
    text, groups = next(iter(found.items()))
    fitting = [group for group in groups if _fits(group.rotations, lattice)]
    if not fitting:
        raise CrystalError('symmetry_mismatch', f'the space group {text!r} does not leave the cell unchanged')
    if listed:
        return fitting[0]
    settings = [text for tag in (*_HALL, *_SYMBOL, *_FULL_SYMBOL) for text in _values(items, [tag])[:1]]
    for other in settings:
        if other in found and '(' not in ''.join(settings):  # only a Hall symbol denotes a shifted origin
            allowed = {group.operations for group in found[other]}
            fitting = [group for group in fitting if group.operations in allowed]
    if not fitting:
        shown = ', '.join(f'{item!r:.40}' for item in dict.fromkeys(settings))
        raise CrystalError('symmetry_mismatch', f'{shown} are different settings; correct one, or list the operations')
    if len(fitting) > 1:
        raise CrystalError(
            'symmetry_mismatch',
            f'the space group {text!r} has several settings ({", ".join(group.name for group in fitting)}); list the '
            'operations, or append the setting to the symbol',
        )
    return fitting[0]


def _denoted(items: Items, code: str) -> dict[str, list[_Group]]:
    """Return each name or number of a space group and the settings that it may denote, the most specific first.

    :param code: of the setting, as in International Tables
    :raises CrystalError: ``symmetry_mismatch`` if one denotes no space group
    """
    match = _SETTING_CODE.fullmatch(code)
    if match is None:
        raise CrystalError('symmetry_mismatch', f'{code!r:.40} is not a setting; list the operations')
    choice = (_EXTENSIONS.get(match[1], ''), match[2])
    readers = ((_HALL, _by_hall), (_SYMBOL, _by_symbol), (_FULL_SYMBOL, _by_symbol), (_REFERENCE_SYMBOL, _by_symbol))
    found: dict[str, list[_Group]] = {}
    for tags, read in (*readers, (_NUMBER, _by_number)):
        for text in dict.fromkeys(text for tag in tags for text in _values(items, [tag])[:1]):
            setting = choice if tags is not _REFERENCE_SYMBOL else ('', '')
            groups = read(text, setting) if len(text) <= _LONGEST_NAME else []
            if not groups and not (tags is _FULL_SYMBOL and found):
                where = f' in the setting {code!r:.40}' if code else ''
                raise CrystalError(
                    'symmetry_mismatch',
                    f'{text!r:.40} denotes no space group{where}; correct it, or list the operations',
                )
            if groups:
                found.setdefault(text, groups)
    return found


@lru_cache(maxsize=_KEPT)
def _by_hall(hall: str, _: tuple[str, str]) -> list[_Group]:
    import gemmi

    try:
        operations = _arrays(gemmi.symops_from_hall(hall))
    except (ValueError, RuntimeError):
        return []
    number = _tabulated_number(*operations)
    return [_Group(hall, group_number(*operations) if number is None else number, *operations)]


@lru_cache(maxsize=_KEPT)
def _by_number(text: str, choice: tuple[str, str]) -> list[_Group]:
    """Return the given or the standard setting of a group number, or both of its origins or kinds of axes."""
    import gemmi

    if not text.isdigit():
        return []
    settings = [setting for setting in gemmi.spacegroup_table() if setting.number == int(text)]
    standard = [item for item in settings if item.hm == settings[0].hm]
    return _choose(settings if choice[1] and any(item.qualifier for item in settings) else standard, choice)


@lru_cache(maxsize=_KEPT)
def _by_symbol(symbol: str, choice: tuple[str, str]) -> list[_Group]:
    """Return the settings that a Hermann-Mauguin symbol may denote: one, or one for each origin or kind of axes."""
    import gemmi

    body = symbol.replace('_', '').strip()
    match = re.fullmatch(r'(.+?)(?:\s*:\s*|\s+)([HRSZhrsz12])', body)
    if match and (':' in body or match[2].lower() in 'hrsz'):
        body, choice = match[1], (_EXTENSIONS[match[2].lower()], choice[1])
    group = gemmi.find_spacegroup_by_name(body)
    if group is None:
        return []
    same = (group.number, group.hm, group.qualifier)
    return _choose(
        [item for item in gemmi.spacegroup_table() if (item.number, item.hm, item.qualifier) == same], choice
    )


def _choose(settings: list[gemmi.SpaceGroup], choice: tuple[str, str]) -> list[_Group]:
    """Return the settings of one origin or kind of axes if it is given and exists, with the given order of axes."""
    import gemmi

    origin, axes = choice
    same = [setting for setting in gemmi.spacegroup_table() if settings and setting.number == settings[0].number]
    if axes and any(setting.qualifier for setting in same):  # else all orders of axes are the same
        # the standard order has no qualifier; a group with a single cell choice has none after its unique axis
        names = {axes, axes.rstrip('123'), '' if axes == 'abc' else axes}
        settings = [setting for setting in settings if setting.qualifier in names]
    chosen = [setting for setting in settings if setting.ext == origin] or settings
    return [_group(setting) for setting in chosen]


def _check_same_type(listed: _Group, named: _Group, lattice: np.ndarray) -> None:
    """Refuse listed operations of another type of space group than the one that is named beside them."""
    number = listed.number
    if number is None:
        number = group_number(listed.rotations, listed.translations, lattice)
    if None not in (number, named.number) and number != named.number:
        raise CrystalError(
            'symmetry_mismatch',
            f'the {len(listed.rotations)} listed operations are those of space group {number}, the named group '
            f'{named.name} is {named.number}; correct one of them',
        )
    if listed.order != named.order:
        raise CrystalError(
            'symmetry_mismatch',
            f'the listed operations have {listed.order} rotations, the named group {named.name} has {named.order}',
        )


def _tabulated_number(rotations: np.ndarray, translations: np.ndarray) -> int | None:
    """Return the space-group number of operations in a setting of the table, else ``None``."""
    import gemmi

    operations = []
    for rotation, translation in zip(rotations, translations, strict=True):
        operation = gemmi.Op()
        operation.rot = np.rint(rotation * 24).astype(int).tolist()
        operation.tran = np.rint(translation * 24).astype(int).tolist()
        operations.append(operation)
    group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
    return None if group is None else int(group.number)

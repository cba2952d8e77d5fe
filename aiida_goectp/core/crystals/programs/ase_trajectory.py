"""Trajectories of ASE (``*.traj``): the container Ulm, read by its definition in ``ase.io.ulm``, without pickles.

A file has a header (``- of Ulm``, a tag of 16 bytes, version, number of items, place of the offsets), arrays, and for
each item a JSON object preceded by its length. ``"numbers.": {"ndarray": [shape, type, offset]}`` is an array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.entries import Entry, failed, scalars
from aiida_goectp.core.crystals.programs.ase_rows import crystal_from_arrays
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json

__all__ = ('read_trajectory',)

_MAGIC = (b'- of Ulm', b'AFFormat')
_TAG = b'ASE-Trajectory'
_TYPES = {'float64': 'f8', 'float32': 'f4', 'int64': 'i8', 'int32': 'i4', 'bool': '?'}
_FIRST_ONLY = ('numbers', 'pbc')
"""what an item takes from the first one if it does not repeat it"""


def read_trajectory(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read the frames of a trajectory; scalars of ``info`` and the energy become properties.

    :param name: file name for messages
    :param stem: for ids, with ``@0``, ``@1``, … if there are several frames
    :param content: content of the file
    """
    try:
        offsets = _offsets(content)
    except FormatError as error:
        yield Entry(Failure(stem, 'unreadable_file', f'not a trajectory of ASE, or cut off ({error})'), {}, name)
        return
    first: dict[str, Any] = {}
    budget = 2 * len(content)
    for number, offset in enumerate(offsets):
        label = f'{stem}@{number}' if len(offsets) > 1 else stem
        where = f'{name}, frame {number}'
        try:
            values, size = _item(content, offset)
            budget -= size  # items may share a place of the file
            if budget < 0:
                raise CrystalError('unreadable_file', 'the frames contain more bytes than the file')
            first = first or {key: values[key] for key in _FIRST_ONLY if key in values}
            yield _entry(label, first | values, where)
        except Exception as error:  # items of any content
            yield failed(label, where, error, 'unreadable_row', 'not a frame of a trajectory')
            if budget < 0:
                return


def _integers(content: bytes, offset: int, number: int) -> list[int]:
    """Return integers of the container.

    :raises FormatError: they are not within the file
    """
    if not 0 <= offset <= len(content) - 8 * number or number < 0:
        raise FormatError(f'{number} numbers at byte {offset} of {len(content)}')
    return [int(value) for value in np.frombuffer(content, '<i8', number, offset)]


def _offsets(content: bytes) -> list[int]:
    if content[:8] not in _MAGIC or content[8:24].rstrip() != _TAG:
        raise FormatError(f'it begins with {content[:24]!r}; other versions: convert it with ase.io.trajectory')
    _, items, place = _integers(content, 24, 3)
    if items == 0:
        raise FormatError('no frame')
    return _integers(content, place, items)


def _item(content: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """Return the values of an item by name, without the dots of arrays and groups, and its size in bytes."""
    length = _integers(content, offset, 1)[0]
    if not 0 <= length <= len(content) - offset - 8:
        raise FormatError(f'{length} bytes at byte {offset} of {len(content)}')
    data = parse_json(content[offset + 8 : offset + 8 + length], 'frame')
    if not isinstance(data, dict):
        raise FormatError('a frame is not a JSON object')
    order = '<' if data.get('_little_endian', True) else '>'
    arrays = {
        key.rstrip('.'): _array(content, value['ndarray'], order)
        for key, value in data.items()
        if key.rstrip('.') in ('numbers', 'positions', 'cell', 'pbc') and isinstance(value, dict) and 'ndarray' in value
    }
    plain = {key.rstrip('.'): value for key, value in data.items()} | arrays
    return plain, length + sum(array.nbytes for array in arrays.values())


def _array(content: bytes, reference: Any, order: str) -> np.ndarray:
    shape, kind, offset = reference
    if kind not in _TYPES or not all(isinstance(item, int) and item >= 0 for item in [*shape, offset]):
        raise FormatError(f'an array {reference!r:.80}; known types are {", ".join(_TYPES)}')
    dtype, number = np.dtype(order + _TYPES[kind]), math.prod(shape)
    if offset + number * dtype.itemsize > len(content):
        raise FormatError(f'an array of {number} numbers at byte {offset} of {len(content)}')
    return np.frombuffer(content, dtype, number, offset).reshape(shape)


def _entry(label: str, values: Mapping[str, Any], where: str) -> Entry:
    missing = [key for key in ('numbers', 'positions', 'cell') if key not in values]
    if missing:
        raise CrystalError('unreadable_row', f'no {", ".join(missing)}')
    crystal = crystal_from_arrays(
        label, values['numbers'], values['positions'], values['cell'], values.get('pbc', False)
    )
    properties: dict[str, Any] = {}
    for group, names in (('info', None), ('calculator', ('energy',))):
        found = values.get(group)
        if isinstance(found, dict):
            properties |= {key: item for key, item in scalars(found).items() if names is None or key in names}
    return Entry(crystal, properties, where)

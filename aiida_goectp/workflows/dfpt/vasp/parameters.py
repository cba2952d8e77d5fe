"""Checks of INCAR tags against the list of aiida-vasp, and of the files to retrieve."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from aiida import orm
from aiida_vasp.assistant import parameters

from aiida_goectp.core.formats.settings import unknown_key

__all__ = ('incar_errors', 'parameters_errors', 'settings_errors')


@cache
def _tags() -> frozenset[str]:
    """Return the INCAR tags that aiida-vasp defines, in lower case."""
    return frozenset(yaml.safe_load(Path(parameters.__file__).with_name('parameters.yml').read_text()))


def incar_errors(place: str, value: Any) -> Iterator[str]:
    """Yield the unknown tags, which VASP itself ignores, and NELECT, with which the cell may be charged."""
    if not isinstance(value, Mapping):
        yield f'{place}: expected a mapping of INCAR tags; found {value!r}'
        return
    for tag in value:
        if str(tag).lower() not in _tags():
            yield unknown_key(f'{place}.{tag}', _tags(), 'INCAR tag')
        elif str(tag).lower() == 'nelect':
            yield (
                f'{place}.{tag}: makes a charged cell, which has no dielectric tensor of a crystal; remove the tag, '
                'then VASP takes the number of electrons of the neutral cell'
            )


def parameters_errors(place: str, value: Any) -> Iterator[str]:
    """Yield the errors in parameters of a run: INCAR tags under the key ``incar``."""
    content = value.get_dict() if isinstance(value, orm.Dict) else value
    if not isinstance(content, Mapping):
        yield f'{place}: expected a mapping with the key incar; found {content!r}'
        return
    for key, tags in content.items():
        if key == 'incar':
            yield from incar_errors(f'{place}.incar', tags)
        else:
            yield unknown_key(f'{place}.{key}', ('incar',), 'key')


def settings_errors(place: str, value: Any) -> Iterator[str]:
    """Yield an error if the settings of a run would store POTCAR with its results, and thus in archives of them."""
    content = value.get_dict() if isinstance(value, orm.Dict) else value
    if not isinstance(content, Mapping):
        yield f'{place}: expected a mapping; found {content!r}'
        return
    for item in content.get('ADDITIONAL_RETRIEVE_LIST') or ():
        pattern = item[0] if isinstance(item, (list, tuple)) and item else item
        if isinstance(pattern, str) and _may_contain_potcar(pattern):
            yield (
                f'{place}.ADDITIONAL_RETRIEVE_LIST: {pattern!r} would store POTCAR with the results, and its licence '
                'forbids the publication; name single files in the working folder'
            )


def _may_contain_potcar(pattern: str) -> bool:
    """Return whether a path, relative to the working folder, matches POTCAR or a folder that contains it."""
    parts = posixpath.normpath(pattern).split('/')
    # a path or pattern that leaves the working folder can name it as well
    return parts[0] in ('.', '..', '') or fnmatch('POTCAR', parts[-1])

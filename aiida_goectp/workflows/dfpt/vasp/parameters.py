"""Checks of INCAR tags against the list of aiida-vasp, and of the files to retrieve."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import yaml
from aiida import orm
from aiida_vasp.assistant import parameters

from aiida_goectp.core.formats.settings import unknown_key

__all__ = ('incar_errors', 'parameters_errors', 'settings_errors')


_POSITIVE = frozenset(('encut', 'ediff', 'kpar', 'kspacing', 'nbands', 'ncore', 'nelm', 'npar', 'nsim', 'symprec'))
_BY_SPECIES = ('pomass', 'zval')
_NUMBER = re.compile(r'[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?', re.ASCII)
_LOGICAL = re.compile(r'\.?[TtFf].*', re.ASCII)


@cache
def _tags() -> dict[str, dict[str, Any]]:
    """Return the description of each INCAR tag that aiida-vasp defines, by the tag in lower case."""
    found = yaml.safe_load(Path(parameters.__file__).with_name('parameters.yml').read_text())
    return {str(tag): description for tag, description in found.items()}


def incar_errors(place: str, value: Any) -> Iterator[str]:
    """Yield unknown tags, which VASP itself ignores, wrong values, and NELECT, with which the cell may be charged."""
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
        elif wanted := _expected(str(tag).lower(), value[tag]):
            yield f'{place}.{tag}: expected {wanted}, found {value[tag]!r}'


def _expected(tag: str, value: Any) -> str:
    """Return what a tag takes if the value is something else; empty if it fits, or if the tag takes several values."""
    kind, allowed = _tags()[tag]['type'], _tags()[tag]['values']
    if kind is None and allowed == [True, False]:
        fits = isinstance(value, bool) or (isinstance(value, str) and _LOGICAL.fullmatch(value.strip()))
        return '' if fits else 'true or false'
    if kind not in ('float', 'integer') or isinstance(value, list | tuple) or tag in _BY_SPECIES:
        return ''
    sign = 'a positive ' if tag in _POSITIVE else 'a '
    number = _number(value)
    if number is None or (kind == 'integer' and not number.is_integer()) or (tag in _POSITIVE and number <= 0):
        return f'{sign}{"whole " * (kind == "integer")}number'
    return ''


def _number(value: Any) -> float | None:
    """Return a value of INCAR as a number, None if it is none or not finite."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value.strip().lower().replace('d', 'e'))
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


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

"""Labelled crystals in JSON lines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.entries import clean_text, collect
from aiida_goectp.core.crystals.jsonlines import CRYSTAL_FIELDS, read_jsonlines
from aiida_goectp.core.crystals.readers import unpack
from aiida_goectp.core.datasets.row_gates import failed_row_gates, is_refused, join_names
from aiida_goectp.core.dielectric.gate_codes import GateCode
from aiida_goectp.core.dielectric.tensors import symmetrise
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('LINE_FIELDS', 'read_labelled_lines')

_LINE = ' line'
"""temporary property that connects a crystal to its line; no name in a file keeps a space at its beginning"""
_TEXTS = ('functional', 'origin')
_FLAGS = {'electronic': GateCode.ELECTRONIC_OK, 'ionic': GateCode.IONIC_OK}
_STATED = 'failed_gates'
_LARGEST_RESIDUAL = 0.1
"""eV/Å² per eV/Å² of the largest force constant; that of the symmetry and of the acoustic sum rule is below 0.02 in 99
of 100 calculations of phonondb"""
_NOT_PROPERTIES = {*_TEXTS, *(flag.value for flag in _FLAGS.values()), _STATED}
"""scalar entries with a meaning of their own"""
_NAMES = {'electronic': ('eps_electronic',), 'ionic': ('eps_ionic', 'eps_ionic_fd')}
"""entries of each label; the first that is present is read"""
LINE_FIELDS = frozenset(
    {*CRYSTAL_FIELDS, *_NOT_PROPERTIES, *_NAMES['electronic'], *_NAMES['ionic'], 'born', 'force_constants'}
)
"""all entries of a line with a meaning of their own, whose names no property has"""


def read_labelled_lines(name: str, content: bytes, functional: str) -> dict[str, Any]:
    """Read crystals with labels; a line that is not a valid crystal is a failure of the set.

    A line contains ``lattice``, ``species``, ``frac_coords``, ``id`` and the labels ``eps_electronic``, ``eps_ionic``
    (or ``eps_ionic_fd``), ``born`` (atom, field, displacement; e) and ``force_constants`` (first atom, second atom, 3,
    3; eV/Å² at Γ) in the frame of ``lattice``, and optionally ``functional`` and ``origin`` (default: the file).
    ``failed_gates`` contains names joined by ``, ``; each gate that the row fails is added. A flag ``electronic_ok`` or
    ``ionic_ok`` that is false, and does not follow from ``failed_gates``, removes that label and is listed among the
    failed gates. An ionic label that fails a gate is removed; a refused row keeps its labels, but is not trainable.
    Tensors are symmetrised. The gap is checked in rows without ``origin``: the labels of others may have been computed,
    and their gap is of another source.

    :param name: of the file; compressed if it ends in ``.gz``
    :param functional: of the rows that state none
    :return: arguments of :class:`aiida_goectp.core.datasets.dataset.Dataset`
    :raises FormatError: no crystal, no label, or an invalid label, text or flag; force constants that are not those at
        Γ of a crystal
    """
    if name.endswith('.gz'):
        try:
            content = unpack(content)
        except ValueError as error:
            raise FormatError(f'{name}: invalid or truncated gzip file ({error})') from error
    # ids may be missing or duplicate: a property with the number of the line connects crystals and labels
    base = PurePath(name).name
    entries = read_jsonlines(base, base.split('.jsonl')[0], content)
    crystals = collect(entry._replace(properties={**entry.properties, _LINE: n}) for n, entry in enumerate(entries))
    if not len(crystals):
        reasons = '; '.join(f'{failure.code}: {failure.message}' for failure in crystals.failures[:3])
        raise FormatError(f'{name}: no valid crystal; {reasons or "the file is empty"}')
    lines = [line for line in content.split(b'\n') if line.strip()]
    columns = dict(crystals.properties)
    numbers = columns.pop(_LINE).astype(np.int64)
    rows = [_row(name, crystal, json.loads(lines[line])) for crystal, line in zip(crystals, numbers, strict=True)]
    electronic, ionic = (np.array([row[part] for row in rows]) for part in _NAMES)
    constants = np.concatenate([row['force_constants'] for row in rows])
    unlabelled = all(np.isnan(column).all() for column in (electronic, ionic, constants))
    if unlabelled and not any(row['failed_gates'] for row in rows):
        raise FormatError(f'{name}: no row has a label; expected eps_electronic, eps_ionic or force_constants')
    defaults = {'functional': functional, 'origin': base}
    return {
        'crystals': replace(crystals, properties={key: columns[key] for key in columns if key not in _NOT_PROPERTIES}),
        'electronic': electronic,
        'ionic': ionic,
        'born_charges': np.concatenate([row['born'] for row in rows]),
        'force_constants': None if np.isnan(constants).all() else constants,
        'failed_gates': np.array([row['failed_gates'] for row in rows], dtype=np.str_),
        **{key: np.array([row[key] or value for row in rows], dtype=np.str_) for key, value in defaults.items()},
    }


def _row(name: str, crystal: Crystal, line: dict[str, Any]) -> dict[str, Any]:
    """Return labels, Born charges, force constants, texts and failed gates of a line."""
    where, n = f'{name}, row {crystal.id}', len(crystal.atomic_numbers)
    found = {part: _table(where, line, names, (3, 3)) for part, names in _NAMES.items()}
    born = _table(where, line, ('born',), (n, 3, 3))
    constants = _force_constants(where, line, n)
    texts = {key: clean_text(_text(where, line, key, 'a text')) for key in _TEXTS}
    gap: Any = None if texts['origin'] else line.get('band_gap')
    known = isinstance(gap, int | float) and not isinstance(gap, bool) and np.isfinite(gap)
    failed = failed_row_gates(crystal, found['electronic'], found['ionic'], born, float(gap) if known else None)
    stated = _stated_gates(where, line)
    implied = {'electronic': is_refused(stated), 'ionic': bool(stated)}
    unknown = np.full((3, 3), np.nan)
    labels = {part: symmetrise(unknown if table is None else table) for part, table in found.items()}
    for part, flag in _FLAGS.items():
        stated_ok = line.get(flag.value, True)
        if not isinstance(stated_ok, bool | int | float | None):
            raise FormatError(f'{where}: {flag.value} is {type(stated_ok).__name__}, expected true or false')
        if not stated_ok and not implied[part]:
            failed = join_names(flag, failed)
            labels[part][:] = np.nan
    return {
        **labels,
        **texts,
        'born': np.tile(unknown, (n, 1, 1)) if born is None else born,
        'force_constants': (
            np.tile(unknown, (n * n, 1, 1)) if constants is None else constants.reshape(n * n, 3, 3)
        ).astype(np.float32),
        'failed_gates': join_names(stated, failed),
    }


def _force_constants(where: str, line: dict[str, Any], n: int) -> np.ndarray | None:
    """Return the force constants (n, n, 3, 3) of a line; None without, or beyond single precision.

    :raises FormatError: as :func:`_table`, or no force constants at Γ: Φ_ij is not the transpose of Φ_ji, or the sum of
        Φ_ij over all j is not zero, as in another order of the indices, or for a part of a supercell
    """
    found = _table(where, line, ('force_constants',), (n, n, 3, 3))
    if found is None or (largest := np.abs(found).max()) > np.finfo(np.float32).max:
        return None
    limit = _LARGEST_RESIDUAL * max(largest, 1.0)  # those of a single atom are zero, but for rounding
    asymmetry, drift = np.abs(found - found.transpose(1, 0, 3, 2)).max(), np.abs(found.sum(axis=1)).max()
    for name, value in (('Φ(i, j) − Φ(j, i)ᵀ', asymmetry), ('the sum of Φ(i, j) over j', drift)):
        if value > limit:
            raise FormatError(
                f'{where}: force_constants: {name} is up to {value:.3g} eV/Å², at most {limit:.3g} are allowed for '
                f'entries up to {largest:.3g}; expected those at Γ of the cell in the order first atom, second atom, '
                '3, 3, summed over the images of the second atom'
            )
    return found


def _stated_gates(where: str, line: dict[str, Any]) -> str:
    """Return the failed gates that a line states; empty without any.

    :raises FormatError: not a text
    """
    text = _text(where, line, _STATED, 'names of gates joined by ", "')
    return join_names(*(clean_text(name) for name in text.split(',')))


def _text(where: str, line: dict[str, Any], key: str, expected: str) -> str:
    """Return a text of a line; empty if it is missing, null or NaN, as pandas writes what is missing.

    :raises FormatError: not a text
    """
    text = line.get(key)
    if text is None or text != text:
        return ''
    if not isinstance(text, str):
        raise FormatError(f'{where}: {key} is {type(text).__name__}, expected {expected}')
    return text


def _table(where: str, line: dict[str, Any], names: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the first entry that is present; None without one, or if its numbers are not finite.

    :raises FormatError: not a table of numbers, or another shape
    """
    name = next((name for name in names if line.get(name) is not None), None)
    if name is None:
        return None
    try:
        table = np.asarray(line[name], dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f'{where}: {name} is not a table of numbers ({error})') from error
    if table.shape != shape:
        raise FormatError(f'{where}: {name} has shape {table.shape}, expected {shape}')
    return table if np.isfinite(table).all() else None

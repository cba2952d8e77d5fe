"""Reading of datasets and split files from outside, with checks of each row."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.validation import check_crystal
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.row_gates import failed_row_gates, join_names
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import UNKNOWN
from aiida_goectp.core.formats.json_input import parse_json

__all__ = ('SUFFIXES', 'read_dataset', 'read_splits', 'with_split_file')

SUFFIXES = ('.npz', '.jsonl', '.jsonl.gz')
"""endings of the supported file names"""


def read_dataset(name: str, content: bytes, functional: str = UNKNOWN) -> Dataset:
    """Read ``dataset.npz`` or labelled JSON lines.

    Invalid crystals become failures of the set. The gates are applied to all rows; the failed ones are added to those
    that the file states. Rows without origin have the file as origin.

    :param name: of the file; its ending determines the format
    :param functional: of the rows that state none
    :raises FormatError: another format, or an invalid file
    """
    if name.endswith(SUFFIXES[1:]):
        return Dataset.from_lines(name, content, functional)
    if not name.endswith(SUFFIXES[0]):
        raise FormatError(f'{name}: unknown file type; supported: {", ".join(SUFFIXES)}')
    data = Dataset.load(io.BytesIO(content), name=name)
    data = _with_gates(name, _valid_rows(name, data))
    return replace(data, functional=np.where(data.functional == UNKNOWN, functional, data.functional))


def _valid_rows(name: str, data: Dataset) -> Dataset:
    """Return the rows that are valid crystals; the others are added to the failures."""
    problems = [check_crystal(crystal) for crystal in data.crystals]
    failures = tuple(problem for problem in problems if problem is not None)
    if not failures:
        return data
    if len(failures) == len(data):
        raise FormatError(f'{name}: no valid crystal; {failures[0].code}: {failures[0].message}')
    kept = data.take([row for row, problem in enumerate(problems) if problem is None])
    return replace(kept, crystals=replace(kept.crystals, failures=(*data.crystals.failures, *failures)))


def _with_gates(name: str, data: Dataset) -> Dataset:
    """Apply the gates to all rows.

    That of the gap only to rows without origin: others may have been computed, and their gap is of another source.
    """
    gates = data.failed_gates.tolist()
    gaps = data.crystals.properties.get('band_gap', np.full(len(data), np.nan))
    offsets = data.crystals.atom_offsets
    for row in range(len(data)):
        charges = _known(data.born_charges[offsets[row] : offsets[row + 1]])
        labels = _known(data.electronic[row]), _known(data.ionic[row])
        stated = not data.origin[row] and gaps.dtype.kind in 'iuf' and np.isfinite(gaps[row])
        failed = failed_row_gates(data.crystals[row], *labels, charges, float(gaps[row]) if stated else None)
        gates[row] = join_names(gates[row], failed)
    origin = np.where(data.origin == '', name, data.origin)
    return replace(data, origin=origin, failed_gates=np.array(gates, dtype=np.str_).reshape(-1))


def _known(tensor: np.ndarray) -> np.ndarray | None:
    return tensor if np.isfinite(tensor).all() else None


def read_splits(name: str, content: bytes) -> dict[str, dict[str, list[str]]]:
    """Return the splits of a JSON file: name of a split → part → ids.

    :param name: of the file, for messages
    :param content: JSON of the form ``splits`` → name → train, validation, test → ids
    :raises FormatError: content of another form
    """
    try:
        splits: Any = parse_json(content)['splits']
        return {
            str(split): {str(part): [str(item) for item in ids] for part, ids in parts.items()}
            for split, parts in splits.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f'{name}: expected JSON of the form splits → name → part → ids ({error})') from error


def with_split_file(data: Dataset, name: str, content: bytes) -> Dataset:
    """Return the dataset with the splits of a JSON file; see :func:`read_splits`.

    :raises FormatError: content of another form, an unknown id, or a split that exists
    """
    for split, parts in read_splits(name, content).items():
        try:
            data = data.with_given_split(split, parts)
        except FormatError as error:
            raise FormatError(f'{name}, split {split}: {error}') from error
    return data

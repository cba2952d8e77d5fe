"""Computed responses with their verdicts as rows of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.entries import unique_ids
from aiida_goectp.core.datasets.dataset import UNKNOWN, Dataset
from aiida_goectp.core.datasets.row_gates import failed_names, is_refused, join_names
from aiida_goectp.core.dielectric.gates import ACCEPTED, ELECTRONIC_ONLY, LABELS, REFUSED
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import symmetrise
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('JudgedResponse', 'dataset_from_responses')


class JudgedResponse(NamedTuple):
    """A response and what the gates say of it."""

    response: DielectricResponse
    verdict: Mapping[str, Any]
    """as :meth:`aiida_goectp.core.dielectric.gates.Verdict.as_dict` gives it"""
    origin: str
    """where the label comes from, e.g. the UUID of a node"""


def dataset_from_responses(judged: Sequence[JudgedResponse]) -> Dataset:
    """Return one row for each response, in order, in the frame of its cell.

    ``accepted`` gives both labels, ``electronic-only`` the electronic one; what is ``refused`` keeps its labels and
    carries the names of the gates that it failed, so that nothing trains on it. Tensors are symmetrised, the band gap
    becomes a property. An id that stood before gets ``#2`` appended.

    :raises FormatError: no response, or a verdict that is none
    """
    if not judged:
        raise FormatError('no dielectric response to make a dataset of; give at least one')
    crystals = [item.response.crystal for item in judged]
    names = unique_ids([crystal.id for crystal in crystals])
    rows = [_row(item) for item in judged]
    gaps = [item.response.band_gap for item in judged]
    properties = (
        {'band_gap': [np.nan if gap is None else gap for gap in gaps]} if any(g is not None for g in gaps) else {}
    )
    return Dataset(
        CrystalSet.from_crystals(
            [crystal._replace(id=name) for crystal, name in zip(crystals, names, strict=True)], properties
        ),
        electronic=np.array([row['electronic'] for row in rows]),
        ionic=np.array([row['ionic'] for row in rows]),
        born_charges=np.concatenate([row['born_charges'] for row in rows]),
        functional=np.array([item.response.functional or UNKNOWN for item in judged], dtype=np.str_),
        origin=np.array([item.origin for item in judged], dtype=np.str_),
        failed_gates=np.array([row['failed_gates'] for row in rows], dtype=np.str_),
    )


def _row(item: JudgedResponse) -> dict[str, Any]:
    response, verdict = item.response, item.verdict
    where = f'verdict on {response.crystal.id} ({item.origin})'
    label, gates = verdict.get('label'), verdict.get('gates')
    if label not in LABELS or not isinstance(gates, list | tuple):
        raise FormatError(f'{where}: label {label!r} and gates expected, as gates.judge gives them')
    try:
        failed = failed_names(gates)
    except (KeyError, TypeError) as error:
        raise FormatError(f'{where}: a gate without name, part and passed ({error})') from error
    if label == REFUSED and not is_refused(failed):
        failed = join_names('refused', failed)  # by a verdict from elsewhere, which names no gate
    fits = {ACCEPTED: not failed, ELECTRONIC_ONLY: not is_refused(failed), REFUSED: True}
    if not fits[label]:
        raise FormatError(f'{where}: it says {label}, yet these gates failed: {failed}')
    unknown = np.full((3, 3), np.nan)
    ionic = response.ionic if label != ELECTRONIC_ONLY else None
    charges = response.born_charges
    return {
        'electronic': symmetrise(response.electronic),
        'ionic': unknown if ionic is None else symmetrise(ionic),
        'born_charges': np.tile(unknown, (len(response.crystal.atomic_numbers), 1, 1)) if charges is None else charges,
        'failed_gates': failed,
    }

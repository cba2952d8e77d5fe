"""Datasets from computed responses and the results of their gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.concatenate import unique_ids
from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.row_gates import failed_names, is_refused, join_names
from aiida_goectp.core.dielectric.gamma_modes import to_blocks
from aiida_goectp.core.dielectric.gate_codes import GateCode, VerdictLabel
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import symmetrise
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import UNKNOWN

__all__ = ('JudgedResponse', 'dataset_from_responses')


class JudgedResponse(NamedTuple):
    """A response with the result of its gates."""

    response: DielectricResponse
    verdict: Mapping[str, Any]
    """of :meth:`aiida_goectp.core.dielectric.gates.Verdict.as_dict`"""
    origin: str
    """source of the label, such as the UUID of a node"""


def dataset_from_responses(judged: Sequence[JudgedResponse]) -> Dataset:
    """Return one row for each response, in order, in the frame of its cell.

    A row has both labels if ``accepted``, and the electronic label if ``electronic-only``. A ``refused`` row keeps its
    labels and the names of the failed gates, and is not trainable. Tensors are symmetrised, the band gap becomes a
    property. ``#2`` is appended to a duplicate id.

    :raises FormatError: no response, or an invalid verdict
    """
    if not judged:
        raise FormatError('no dielectric response given; a dataset needs at least one')
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
        force_constants=_force_constants(rows),
        functional=np.array([item.response.functional or UNKNOWN for item in judged], dtype=np.str_),
        origin=np.array([item.origin for item in judged], dtype=np.str_),
        failed_gates=np.array([row['failed_gates'] for row in rows], dtype=np.str_),
    )


def _row(item: JudgedResponse) -> dict[str, Any]:
    response, verdict = item.response, item.verdict
    where = f'verdict on {response.crystal.id} ({item.origin})'
    try:
        label, failed = VerdictLabel(verdict['label']), failed_names(verdict['gates'])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f'{where}: expected label ({", ".join(VerdictLabel)}) and gates with name, part and passed ({error})'
        ) from error
    if label is VerdictLabel.REFUSED and not is_refused(failed):
        failed = join_names(GateCode.REFUSED, failed)  # a verdict of another program that names no gate
    consistent = {
        VerdictLabel.ACCEPTED: not failed,
        VerdictLabel.ELECTRONIC_ONLY: not is_refused(failed),
        VerdictLabel.REFUSED: True,
    }
    if not consistent[label]:
        raise FormatError(f'{where}: the label is {label}, but these gates failed: {failed}')
    unknown = np.full((3, 3), np.nan)
    ionic = None if label is VerdictLabel.ELECTRONIC_ONLY else response.ionic
    charges, n = response.born_charges, len(response.crystal.atomic_numbers)
    constants = response.force_constants
    return {
        'electronic': symmetrise(response.electronic),
        'ionic': unknown if ionic is None else symmetrise(ionic),
        'born_charges': np.tile(unknown, (n, 1, 1)) if charges is None else charges,
        'force_constants': np.tile(unknown, (n * n, 1, 1)) if constants is None else to_blocks(constants),
        'failed_gates': failed,
    }


def _force_constants(rows: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """Return the blocks of all rows, (B, 3, 3) eV/Å²; None if no row has any."""
    blocks = np.concatenate([row['force_constants'] for row in rows]).astype(np.float32)
    return blocks if np.isfinite(blocks).any() else None

"""Predictions of a dataset's crystals against its labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.crystals.symmetry_search import crystal_systems
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.coverage import QUANTITIES, coverage_by_target
from aiida_goectp.core.dielectric.metrics import evaluate
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('evaluate_predictions',)


def evaluate_predictions(predictions: Predictions, dataset: Dataset) -> dict[str, Any]:
    """Return the metrics of the field for every target, in all and by crystal system and functional.

    Rows are found by id and content hash: they may be some of the dataset's, in any order. A row that gates refuse has
    no say, and a failed prediction is counted, not scored.

    :return: plain JSON: ``rows`` that were compared, ``failed`` predictions, ``refused`` rows, ``model_hash``, and
        what :func:`.evaluate` gives, grouped by crystal system and functional, and ``coverage_90``:
        target → quantity → share (%) of labels within the stated 90 % interval, empty for a model that states none
    :raises FormatError: a prediction of another crystal, one that stands twice, or nothing to compare
    """
    places = {
        key: row
        for row, key in enumerate(zip(dataset.crystals.ids.tolist(), dataset.crystals.hashes.tolist(), strict=True))
    }
    keys = list(zip(predictions.ids.tolist(), predictions.hashes.tolist(), strict=True))
    strangers = [key[0] for key in keys if key not in places]
    if strangers:
        raise FormatError(f'{len(strangers)} predictions are of no crystal of the dataset: {", ".join(strangers[:5])}')
    if len(set(keys)) < len(keys):
        raise FormatError('a crystal was predicted twice; merge the predictions first')
    labelled = dataset.take([places[key] for key in keys])
    trainable = labelled.trainable
    rows = np.flatnonzero(trainable & ~predictions.failed)
    if not len(rows):
        raise FormatError(
            f'nothing to compare: of {len(keys)} rows, {int((~trainable).sum())} have no label that may be used and '
            f'{int(predictions.failed.sum())} could not be predicted'
        )
    chosen = labelled.take(rows)
    found = {name: getattr(predictions, name)[rows] for name in PARTS}
    figures = evaluate(
        {name: tensors for name, tensors in found.items() if np.isfinite(tensors).any()},
        {name: getattr(chosen, name) for name in PARTS},
        {'crystal_system': crystal_systems(chosen.crystals), 'functional': chosen.functional},
    )
    deviations = {name: getattr(predictions, f'{name}_std')[rows] for name in QUANTITIES}
    labels = np.stack([getattr(chosen, name) for name in PARTS], axis=1)
    return {
        'rows': len(rows),
        'failed': int((predictions.failed & trainable).sum()),
        'refused': int((~trainable).sum()),
        'model_hash': predictions.model_hash,
        **figures,
        'coverage_90': coverage_by_target(np.stack([found[name] for name in PARTS], axis=1), labels, deviations),
    }

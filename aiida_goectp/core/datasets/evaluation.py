"""Evaluation of predictions on the labels of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.crystals.symmetry_search import crystal_systems
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.coverage import QUANTITIES, coverage_by_target
from aiida_goectp.core.dielectric.metrics import evaluate
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('evaluate_predictions',)


def evaluate_predictions(predictions: Predictions, dataset: Dataset) -> dict[str, Any]:
    """Return the error metrics of each target: of all rows, by crystal system and by functional.

    Rows are matched by id and content hash; the predictions may cover a part of the dataset in any order. Rows refused
    by gates and failed predictions are counted, but not compared.

    :return: plain JSON: number of compared ``rows``, of ``failed`` predictions and ``refused`` rows, ``model_hash``,
        the result of :func:`.evaluate`, and ``coverage_90``: target → quantity → share (%) of labels within the 90 %
        interval, empty for a model without uncertainty
    :raises FormatError: a prediction of another crystal, a duplicate prediction, or no row to compare
    """
    places = {
        key: row
        for row, key in enumerate(zip(dataset.crystals.ids.tolist(), dataset.crystals.hashes.tolist(), strict=True))
    }
    keys = list(zip(predictions.ids.tolist(), predictions.hashes.tolist(), strict=True))
    if unknown := [key[0] for key in keys if key not in places]:
        raise FormatError(
            f'{len(unknown)} predictions of crystals that are not in the dataset: {", ".join(unknown[:5])}'
        )
    if len(set(keys)) < len(keys):
        raise FormatError('duplicate predictions; merge the shards first')
    labelled = dataset.take([places[key] for key in keys])
    trainable = labelled.trainable
    rows = np.flatnonzero(trainable & ~predictions.failed)
    if not len(rows):
        raise FormatError(
            f'no row to compare: of {len(keys)} rows, {int((~trainable).sum())} have no trainable label and '
            f'{int(predictions.failed.sum())} have a failed prediction'
        )
    chosen = labelled.take(rows)
    found = {name: getattr(predictions, name)[rows] for name in PARTS}
    metrics = evaluate(
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
        **metrics,
        'coverage_90': coverage_by_target(np.stack([found[name] for name in PARTS], axis=1), labels, deviations),
    }

"""Predictions of a dataset's crystals against its labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.crystals.symmetry_search import crystal_systems
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.coverage import QUANTITIES, shares_within
from aiida_goectp.core.dielectric.metrics import evaluate
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('evaluate_predictions',)

_TARGETS = ('electronic', 'ionic', 'total')


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
    found = {name: getattr(predictions, name)[rows] for name in _TARGETS}
    figures = evaluate(
        {name: tensors for name, tensors in found.items() if np.isfinite(tensors).any()},
        {name: getattr(chosen, name) for name in _TARGETS},
        {'crystal_system': crystal_systems(chosen.crystals), 'functional': chosen.functional},
    )
    return {
        'rows': len(rows),
        'failed': int((predictions.failed & trainable).sum()),
        'refused': int((~trainable).sum()),
        'model_hash': predictions.model_hash,
        **figures,
        'coverage_90': _coverage(predictions.take(rows), chosen),
    }


def _coverage(predictions: Predictions, labels: Dataset) -> dict[str, dict[str, float]]:
    found = {}
    for place, target in enumerate(_TARGETS):
        said, truth = getattr(predictions, target), getattr(labels, target)
        known = np.flatnonzero(np.isfinite(said).all(axis=(1, 2)) & np.isfinite(truth).all(axis=(1, 2)))
        sigmas = {name: getattr(predictions, f'{name}_std')[known, place] for name in QUANTITIES}
        if len(known) and (shares := shares_within(said[known], truth[known], sigmas)):
            found[target] = shares
    return found

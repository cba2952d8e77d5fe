"""Tables of the accuracy benchmark: every finished run, with two baselines below."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiida_goectp.crystals import CrystalSet
from aiida_goectp.dataset import Dataset
from aiida_goectp.metrics import table
from aiida_goectp.modelcard import read_card

TARGETS = ('electronic', 'ionic', 'total')
_SHARES = (25, 10, 5, 2)


def print_tables(data: Path, splits: Path, runs: Path, models: Sequence[str] = ()) -> None:
    """Print a Markdown table for each split that has a finished run.

    :param models: ``SPLIT=FILE`` of models whose cards give figures on the test rows of that split
    """
    results = [json.loads(path.read_text()) for path in sorted(runs.glob('*.json'))]
    results += [of_card(*item.split('=', 1)) for item in models]
    dataset, given = Dataset.load(data), json.loads(splits.read_text())['splits']
    for split in sorted({result['split'] for result in results}):
        print(f'\n{split}\n')
        print('| recipe | epochs | target | MAE | Frobenius | EwT 25 / 10 / 5 / 2 % | MAE of the average |')
        print('|---|---|---|---|---|---|---|')
        for result in (result for result in results if result['split'] == split and 'test' in result):
            print_rows(result['recipe'], str(result['epochs']), result['test'])
        parts = [dataset.take(dataset.rows_of(given[split][part])) for part in ('train', 'test')]
        for name, figures in baselines(*parts).items():
            print_rows(name, '', figures)


def of_card(split: str, file: str) -> dict[str, Any]:
    """Return the figures in a model's card as those of a run."""
    card = read_card(file)
    epochs = card.training['settings']['epochs']
    return {'recipe': card.name, 'split': split, 'epochs': f'{card.members} × {epochs} more', **card.metrics}


def print_rows(recipe: str, epochs: str, figures: dict[str, Any]) -> None:
    """Print one line a target."""
    for target in TARGETS:
        found = figures[target]
        within = ' / '.join(f'{found[f"ewt_{share}"]:.1f}' for share in _SHARES)
        print(
            f'| {recipe} | {epochs} | {target} | {found["mae"]:.3f} | {found["fnorm"]:.2f} | {within} '
            f'| {found["mae_average"]:.2f} |'
        )


def baselines(training: Dataset, test: Dataset) -> dict[str, dict[str, Any]]:
    """Return the figures of the constant, and of extra trees on composition and volume where scikit-learn is there."""
    labels = {name: getattr(test, name) for name in TARGETS[:2]}
    known = {name: getattr(training, name) for name in TARGETS[:2]}
    middle = {name: np.median(np.trace(tensors, axis1=1, axis2=2) / 3) for name, tensors in known.items()}
    found = {'constant': table({name: isotropic(np.full(len(test), middle[name])) for name in labels}, labels)}
    try:
        from sklearn.ensemble import ExtraTreesRegressor
    except ImportError:
        print('(extra trees left out: scikit-learn is not installed)')
        return found
    inputs = [features(part.crystals) for part in (training, test)]
    predicted = {}
    for name, tensors in known.items():
        trees = ExtraTreesRegressor(300, random_state=0, n_jobs=1).fit(inputs[0], np.trace(tensors, axis1=1, axis2=2))
        predicted[name] = isotropic(trees.predict(inputs[1]) / 3)
    return {**found, 'extra trees': table(predicted, labels)}


def isotropic(averages: np.ndarray) -> np.ndarray:
    """Return (n, 3, 3) tensors with the given averages."""
    return averages[:, None, None] * np.eye(3)


def features(crystals: CrystalSet) -> np.ndarray:
    """Return the share of each element, and the volume of an atom in Å³: (n, 101)."""
    rows: Sequence[np.ndarray] = [
        np.append(
            np.bincount(crystal.atomic_numbers, minlength=101)[1:101] / len(crystal.atomic_numbers),
            abs(np.linalg.det(crystal.lattice)) / len(crystal.atomic_numbers),
        )
        for crystal in crystals
    ]
    return np.array(rows)

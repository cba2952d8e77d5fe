"""Tables of the accuracy benchmark: every finished run and two baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_splits
from aiida_goectp.core.dielectric.metrics import table
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.model_card import read_card
from aiida_goectp.core.network.elements import element_scales

_SHARES = (25, 10, 5, 2)


def print_tables(data: Path, splits: Path, runs: Path, models: Sequence[str] = ()) -> None:
    """Print a Markdown table for each split that has a finished run.

    :param models: ``SPLIT=FILE`` of models whose cards contain metrics on the test rows of that split
    """
    results = [json.loads(path.read_text()) for path in sorted(runs.glob('*.json'))]
    results += [of_card(*item.split('=', 1)) for item in models]
    dataset, given = Dataset.load(data), read_splits(str(splits), splits.read_bytes())
    for split in sorted({result['split'] for result in results}):
        print(f'\n{split}\n')
        print('| recipe | rows | epochs | target | MAE | Frobenius | EwT 25 / 10 / 5 / 2 % | MAE of the average |')
        print('|---|---|---|---|---|---|---|---|')
        parts = [dataset.take(dataset.rows_of(given[split][part])) for part in ('train', 'test')]
        for result in (result for result in results if result['split'] == split and 'test' in result):
            rows = result.get('rows', len(parts[0]))
            print_rows(f'{result["recipe"]} | {rows} | {result["epochs"]}', result['test'])
        for name, metrics in baselines(*parts).items():
            print_rows(f'{name} | {len(parts[0])} | ', metrics)


def of_card(split: str, file: str) -> dict[str, Any]:
    """Return the metrics in a model card as those of a run."""
    card = read_card(file)
    trainings = card.training.get('joined') or [card.training]
    epochs = ' + '.join(f'{item["settings"]["members"]} × {item["settings"]["epochs"]}' for item in trainings)
    if 'parent' in card.training:
        epochs += ' more'
    rows = card.training.get('rows', {}).get('train', '')
    return {'recipe': card.name, 'split': split, 'epochs': epochs, 'rows': rows, **card.metrics}


def print_rows(start: str, metrics: dict[str, Any]) -> None:
    """Print one line for each target."""
    for target in PARTS:
        found = metrics[target]
        within = ' / '.join(f'{found[f"ewt_{share}"]:.1f}' for share in _SHARES)
        print(
            f'| {start} | {target} | {found["mae"]:.3f} | {found["fnorm"]:.2f} | {within} '
            f'| {found["mae_average"]:.2f} |'
        )


def baselines(training: Dataset, test: Dataset) -> dict[str, dict[str, Any]]:
    """Return the metrics of a constant and, with scikit-learn, of extra trees on composition and volume."""
    labels = {name: getattr(test, name) for name in PARTS}
    known = {name: np.trace(getattr(training, name), axis1=1, axis2=2) / 3 for name in PARTS}
    constant = {name: np.full(len(test), np.nanmedian(averages)) for name, averages in known.items()}
    found = {'constant': metrics_of(constant, labels)}
    try:
        from sklearn.ensemble import ExtraTreesRegressor
    except ImportError:
        print('(no extra trees: scikit-learn is not installed)')
        return found
    inputs = [features(part.crystals) for part in (training, test)]
    predicted = {}
    for name, averages in known.items():
        good = np.isfinite(averages)
        trees = ExtraTreesRegressor(300, random_state=0).fit(inputs[0][good], np.log1p(averages[good]))
        predicted[name] = np.expm1(trees.predict(inputs[1]))
    return {**found, 'extra trees': metrics_of(predicted, labels)}


def metrics_of(averages: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the metrics of isotropic tensors with the given averages."""
    tensors = {name: values[:, None, None] * np.eye(3) for name, values in averages.items()}
    return table(tensors, labels)


def features(crystals: CrystalSet) -> np.ndarray:
    """Return composition and volume per atom (Å³): (n, 141).

    Fractions of the elements; mean, standard deviation, minimum and maximum of their properties and atomic numbers.
    """
    scales = np.column_stack([element_scales(), np.arange(len(element_scales()))])
    rows = []
    for crystal in crystals:
        numbers = crystal.atomic_numbers
        values = scales[numbers]
        statistics = [values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0)]
        fractions = np.bincount(numbers, minlength=101)[1:101] / len(numbers)
        rows.append(np.concatenate([fractions, *statistics, [abs(np.linalg.det(crystal.lattice)) / len(numbers)]]))
    return np.array(rows)

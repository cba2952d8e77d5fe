"""Figures and a table of examples for the manual: a model on rows of a split that were not used for training.

python benchmarks/figures.py MODEL DATA SPLITS --split random-0 --out FOLDER [--part test] [--learning-curve MODEL …]
    [--layered ID …] [--format png]

Writes parity, calibration (if the model has standard deviations), dilution (if the rows contain layered crystals, or
--layered names some), learning_curve (error against number of training rows, from the cards of models that were
evaluated on the same rows), and examples.md: predicted and computed values of some crystals of each crystal system.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.crystals.layers import Layers, find_layers, vacuum_averaged, with_vacuum_scaled
from aiida_goectp.core.crystals.symmetry_search import SYSTEMS, crystal_systems
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_splits
from aiida_goectp.core.datasets.splits import SPLIT_PARTS
from aiida_goectp.core.dielectric.coverage import QUANTITIES, coverage_by_level, quantities
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.figures import (
    Parity,
    VacuumSeries,
    calibration_figure,
    learning_curve_figure,
    parity_figure,
    save_figure,
    vacuum_figure,
)
from aiida_goectp.core.figures.calibration import LEVELS
from aiida_goectp.core.formats.model_card import read_card
from aiida_goectp.core.formats.numbers import with_deviation
from aiida_goectp.core.learning.calibrate import dataset_output, stacked_labels
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.uncertainty import Deviations, deviations
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model

SHARES = np.linspace(0, 1, 9)
"""relative increases of the gaps between layers"""
EXAMPLES = 3
"""crystals of each system in the table"""


class Predicted(NamedTuple):
    """Predictions of labelled rows."""

    data: Dataset
    mean: np.ndarray
    """(n, 3, 3, 3) electronic, ionic, total"""
    deviations: Deviations
    unlike_training: np.ndarray
    """(n,) bool"""


def predict(model: LoadedModel, data: Dataset) -> Predicted:
    """Predict labelled rows for the functional of each label."""
    functionals = model.card.architecture.get('functionals', [])
    raw = dataset_output(model, data, TrainSettings(preset=model.card.preset, functionals=functionals))
    unlike = raw.leverage > model.card.uncertainty.get('unlike_above', np.inf)
    return Predicted(data, raw.mean, deviations(raw, model.card.uncertainty), unlike)


def has_deviations(predicted: Predicted) -> bool:
    """Return whether the model has standard deviations."""
    return bool(np.isfinite(predicted.deviations.average).any())


def calibration(predicted: Predicted) -> Any:
    """Return the calibration plot."""
    labels = stacked_labels(predicted.data)
    observed: dict[str, dict[str, np.ndarray]] = {name: {} for name in QUANTITIES}
    for place, target in enumerate(PARTS):
        known = np.isfinite(labels[:, place]).all(axis=(1, 2)) & np.isfinite(predicted.mean[:, place]).all(axis=(1, 2))
        found, truth = (quantities(tensors[known, place]) for tensors in (predicted.mean, labels))
        for name in QUANTITIES:
            stated = getattr(predicted.deviations, name)[known, place]
            if np.isfinite(stated).any():
                observed[name][target] = coverage_by_level(found[name] - truth[name], stated, LEVELS)
    return calibration_figure(observed)


def averages(tensors: np.ndarray) -> np.ndarray:
    """Return the polycrystalline averages (n, 3) of tensors (n, 3, 3, 3)."""
    return np.trace(tensors, axis1=2, axis2=3) / 3


def parity(predicted: Predicted) -> Any:
    """Return the parity plot of the polycrystalline average."""
    computed, averaged = averages(stacked_labels(predicted.data)), averages(predicted.mean)
    return parity_figure(
        {
            target: Parity(
                computed[:, place],
                averaged[:, place],
                predicted.deviations.average[:, place],
                predicted.unlike_training,
            )
            for place, target in enumerate(PARTS)
        }
    )


def layered_rows(data: Dataset, wanted: list[str]) -> list[tuple[int, Layers]]:
    """Return the named rows, or the first three layered ones with an electronic label."""
    rows = data.rows_of(wanted) if wanted else range(len(data))
    found = []
    for row in rows:
        layers = find_layers(data.crystals[int(row)])
        if layers is not None and np.isfinite(data.electronic[row]).all():
            found.append((int(row), layers))
        elif wanted:
            raise SystemExit(f'{data.crystals.ids[row]} is not layered or has no electronic label')
        if not wanted and len(found) == 3:
            break
    return found


def reduced_formula(crystal: Crystal) -> str:
    """Return the formula of a formula unit."""
    numbers, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    return formula(np.repeat(numbers, counts // np.gcd.reduce(counts)))


def vacuum_series(model: LoadedModel, data: Dataset, row: int, layers: Layers) -> VacuumSeries:
    """Predict one crystal with increased gaps between its layers."""
    crystal, label = data.crystals[row], data.electronic[row]
    cells = CrystalSet.from_crystals([with_vacuum_scaled(crystal, layers, share) for share in SHARES])
    expected = np.array([vacuum_averaged(label, layers, share) for share in SHARES])
    functional = np.repeat(data.functional[row], len(SHARES))
    predicted = predict(model, Dataset(cells, electronic=expected, functional=functional))
    deviation = predicted.deviations.tensors[:, 0] if has_deviations(predicted) else None
    gaps = layers.gaps.mean() * (1 + SHARES)
    name = f'{reduced_formula(crystal)} ({crystal.id})'
    return VacuumSeries(name, layers.normal, gaps, predicted.mean[:, 0], expected, deviation, label)


def learning_curve(models: list[Path], part: str) -> Any:
    """Return the learning curve from the metrics in the cards of models."""
    rows, errors = [], {target: [] for target in PARTS}  # type: ignore[var-annotated]
    for path in models:
        card = read_card(path)
        rows.append(card.training['rows']['train'])
        for target in PARTS:
            errors[target].append(card.metrics.get(part, {}).get(target, {}).get('mae', np.nan))
    return learning_curve_figure(rows, errors, title=f'{part} rows')


def examples(predicted: Predicted) -> str:
    """Return a table of some crystals of each system: predicted ± standard deviation, and computed."""
    systems = crystal_systems(predicted.data.crystals)
    computed, averaged = averages(stacked_labels(predicted.data)), averages(predicted.mean)
    known = np.isfinite(computed).all(axis=1)
    lines = ['| system | crystal | ε∞ predicted | DFPT | ε ionic predicted | DFPT | total predicted | DFPT | |']
    lines.append('|' + '---|' * 9)
    for system in SYSTEMS:
        for row in np.flatnonzero((systems == system) & known)[:EXAMPLES]:
            crystal = predicted.data.crystals[int(row)]
            cells = [system, f'{reduced_formula(crystal)} ({crystal.id})']
            for place in range(len(PARTS)):
                stated = with_deviation(averaged[row, place], predicted.deviations.average[row, place], '.3g')
                cells += [stated, f'{computed[row, place]:.3g}']
            lines.append(
                '| ' + ' | '.join([*cells, 'unlike training' if predicted.unlike_training[row] else '']) + ' |'
            )
    return '\n'.join(lines) + '\n'


def held_out(options: Namespace) -> tuple[Dataset, Dataset]:
    """Return all rows, and those of the chosen part."""
    data = Dataset.load(options.data, options.functional)
    ids = read_splits(str(options.splits), options.splits.read_bytes())[options.split]
    return data, data.take(data.rows_of(ids[options.part]))


def main() -> None:
    """Write the figures and the table."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', help='file, or name of a shipped model')
    parser.add_argument('data', type=Path, help='labelled JSON lines or dataset.npz')
    parser.add_argument('splits', type=Path, help='JSON: splits → name → part → ids')
    parser.add_argument('--split', default='random-0')
    parser.add_argument('--part', default='test', choices=SPLIT_PARTS)
    parser.add_argument('--functional', default='PBEsol', help='functional of the labels')
    parser.add_argument('--out', type=Path, required=True, help='folder for the figures')
    parser.add_argument('--format', default='png', choices=['png', 'svg', 'pdf'])
    parser.add_argument(
        '--layered', nargs='+', default=[], metavar='ID', help='layered crystals of the figure dilution'
    )
    parser.add_argument('--learning-curve', nargs='+', type=Path, metavar='MODEL', help='models of the same split')
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', '1')))
    options.out.mkdir(parents=True, exist_ok=True)
    model = load_model(options.model)
    data, held = held_out(options)
    predicted = predict(model, held)
    figures = {'parity': parity(predicted)}
    if has_deviations(predicted):
        figures['calibration'] = calibration(predicted)
    source = data if options.layered else held
    if layered := layered_rows(source, options.layered):
        figures['dilution'] = vacuum_figure([vacuum_series(model, source, row, layers) for row, layers in layered])
    if options.learning_curve:
        figures['learning_curve'] = learning_curve(options.learning_curve, options.part)
    for name, figure in figures.items():
        print(save_figure(figure, options.out / f'{name}.{options.format}'))
    (options.out / 'examples.md').write_text(examples(predicted))
    print(options.out / 'examples.md')


if __name__ == '__main__':
    main()

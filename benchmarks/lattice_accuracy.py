"""Accuracy of predicted force constants, Born charges and frequencies at Γ, and of the ionic part by its size.

``python benchmarks/lattice_accuracy.py MODEL DATASET.npz --split random-0 [--part validation] [--crystals ID …]
[--figures FOLDER]`` evaluates a model of preset ``force_constants`` on rows of a dataset with force constants that were
not used for training, prints tables, and draws parity plots. The test rows are read once, at the end.
"""

from __future__ import annotations

from argparse import ArgumentParser
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import one_thread, table

from aiida_goectp.core.crystals.elements import reduced_formula
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.same_crystals import crystal_keys
from aiida_goectp.core.datasets.splits import reduced_formulas
from aiida_goectp.core.dielectric.coverage import coverage_by_target
from aiida_goectp.core.dielectric.gamma_modes import DIPOLE_STRENGTH, from_blocks
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.metrics import compare
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, Predictions
from aiida_goectp.core.learning.lattice.labels import LatticeLabels
from aiida_goectp.core.learning.model_cache import cached_model
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.network.preparation import prepare

BINS = (0, 5, 10, 20, 40, 300)
"""limits of the average of the ionic part"""
ATOM_BINS, ELECTRONIC_BINS = (2, 5, 8, 12, 20, 400), (1, 2.5, 4, 6, 10, 250)
"""limits of the atoms in a primitive cell and of the average of ε_∞"""
DISTANCE_BINS = (0, 2.5, 3.8, 5, 100)
"""limits of the distance of two atoms, Å"""
MANY_ATOMS = 20
"""cells with fewer atoms have few distant pairs"""


class Evaluated(NamedTuple):
    """Predictions and labels of n crystals."""

    data: Dataset
    predictions: Predictions
    labels: LatticeLabels


class Modes(NamedTuple):
    """Labelled and predicted modes of the crystals that have labels, joined."""

    labelled: np.ndarray
    """(k,) THz"""
    predicted: np.ndarray
    """(k,) THz"""
    rows: np.ndarray
    """(c,) rows of the crystals"""
    atoms: np.ndarray
    """(c,) atoms in the primitive cell"""
    constant_errors: np.ndarray
    """(c,) relative error (Frobenius norm) of the force constants"""
    lowest: np.ndarray
    """(c, 2) labelled and predicted lowest optical frequency of each crystal"""


def evaluate(model: str, data: Dataset) -> Evaluated:
    """Predict the rows of a dataset."""
    predictions = predict_crystals(data.crystals, model, device='cpu', phonons=True)
    graphs = prepare(data.crystals, 'force_constants')
    assert graphs.cells is not None
    return Evaluated(data, predictions, LatticeLabels.from_dataset(data, graphs.cells))


class CrystalModes(NamedTuple):
    """Modes of one crystal, ascending."""

    labelled: np.ndarray
    """(3n,) THz"""
    predicted: np.ndarray
    """(3n,) THz"""
    constant_error: float
    """relative error (Frobenius norm) of the force constants"""


def crystal_modes(found: Evaluated, row: int) -> CrystalModes | None:
    """Return the modes of a row; None without labelled or predicted force constants, or without optical modes."""
    cell = found.predictions.phonon_cell(row)
    blocks = found.labels.force_constants[slice(*found.labels.block_offsets[row : row + 2])].astype(np.float64)
    if cell is None or len(cell.atomic_numbers) < 2 or not np.isfinite(blocks).all():
        return None
    matrix = from_blocks(blocks)
    error = float(np.linalg.norm(cell.force_constants - matrix) / np.linalg.norm(matrix))
    return CrystalModes(cell._replace(force_constants=matrix).modes().frequencies, cell.modes().frequencies, error)


def modes_of(found: Evaluated) -> Modes:
    """Return the modes of the rows with labelled force constants."""
    by_row = {row: modes for row in range(len(found.data)) if (modes := crystal_modes(found, row)) is not None}
    each = list(by_row.values())
    return Modes(
        np.concatenate([modes.labelled for modes in each]),
        np.concatenate([modes.predicted for modes in each]),
        np.array(list(by_row)),
        np.array([len(modes.labelled) // 3 + 1 for modes in each]),  # three modes are acoustic
        np.array([modes.constant_error for modes in each]),
        np.array([[modes.labelled[0], modes.predicted[0]] for modes in each]),
    )


def charges_of(found: Evaluated) -> tuple[np.ndarray, np.ndarray]:
    """Return labelled and predicted Born charges of the atoms that have labels, (k, 3, 3) e each."""
    pairs = []
    for row in range(len(found.data)):
        cell = found.predictions.phonon_cell(row)
        label = found.labels.born_charges[slice(*found.labels.atom_offsets[row : row + 2])]
        if cell is not None and np.isfinite(label).all():
            pairs.append((label, cell.born_charges))
    labelled, predicted = zip(*pairs, strict=True)
    return np.concatenate(labelled), np.concatenate(predicted)


def flagged(found: Evaluated, name: str) -> np.ndarray:
    """Return the (n,) mask of the rows with a flag."""
    return (found.predictions.flags >> FLAG_NAMES.index(name) & 1).astype(bool)


def average(tensors: np.ndarray) -> np.ndarray:
    """Return the polycrystalline averages (n,) of tensors (n, 3, 3)."""
    return np.trace(tensors, axis1=1, axis2=2) / 3


def print_tensors(found: Evaluated) -> None:
    """Print the errors of the tensors, and those of the ionic part by its size."""
    data, predictions = found.data, found.predictions
    shown = ('rows', 'mae', 'ewt_25', 'ewt_10', 'ewt_5')
    rows: list[dict[str, Any]] = []
    for target in ('electronic', 'ionic', 'total'):
        metrics = compare(getattr(predictions, target), getattr(data, target))
        rows.append({'target': target, **{name: metrics.get(name) for name in shown}})
    table('Tensors: MAE of a component, EwT in %', rows)
    truth, soft, unstable = average(data.ionic), flagged(found, 'soft_mode'), flagged(found, 'unstable')
    rows = []
    for low, high in pairwise(BINS):
        within = (truth >= low) & (truth < high)
        metrics = compare(predictions.ionic[within], data.ionic[within])
        ratio = average(predictions.ionic[within]) / truth[within]
        rows.append(
            {
                'average of ionic': f'{low} to {high}',
                'rows': int(within.sum()),
                'median predicted/true': float(np.median(ratio)) if len(ratio) else None,
                **{name: metrics.get(name) for name in ('mae', 'ewt_25', 'ewt_10')},
                'soft_mode, %': float(soft[within].mean() * 100) if len(ratio) else None,
                'unstable, %': float(unstable[within].mean() * 100) if len(ratio) else None,
            }
        )
    table('Ionic part by its size', rows)


def print_intervals(found: Evaluated) -> None:
    """Print the coverage of the 90 % intervals, and their width, of all rows and of the soft ones."""
    data, predictions = found.data, found.predictions
    labels = np.stack([data.electronic, data.ionic, data.total], axis=1)
    means = np.stack([predictions.electronic, predictions.ionic, predictions.total], axis=1)
    soft = flagged(found, 'soft_mode') | flagged(found, 'unstable')
    rows = []
    for name, mask in (('all', np.ones(len(data), dtype=bool)), ('soft_mode or unstable', soft)):
        names = ('average', 'anisotropy', 'eigenvalues')
        stated = {quantity: getattr(predictions, f'{quantity}_std')[mask] for quantity in names}
        covered = coverage_by_target(means[mask], labels[mask], stated)
        width = np.median(stated['average'][:, 1] / average(predictions.ionic[mask])) if mask.any() else np.nan
        rows.append(
            {
                'rows': name,
                'number': int((mask & np.isfinite(data.ionic).all(axis=(1, 2))).sum()),
                **{target: covered.get(target, {}).get('average') for target in ('electronic', 'ionic', 'total')},
                'median σ/ionic': float(width),
            }
        )
    table('Labels within the 90 % interval of the average, %', rows)


def print_lattice(found: Evaluated, modes: Modes) -> None:
    """Print the errors of force constants, charges and frequencies, and the detection of unstable crystals."""
    labelled, predicted = charges_of(found)
    table(
        'Lattice response',
        [
            {
                'Z*, MAE of a component, e': float(np.abs(labelled - predicted).mean()),
                'Φ, median relative error': float(np.median(modes.constant_errors)),
                'frequencies, MAE, THz': float(np.abs(modes.labelled - modes.predicted).mean()),
                'lowest optical frequency, MAE, THz': float(np.abs(np.diff(modes.lowest)).mean()),
                'modes': len(modes.labelled),
            }
        ],
    )
    electronic = average(found.predictions.electronic[modes.rows])
    for name, values, bins in (('atoms in the cell', modes.atoms, ATOM_BINS), ('ε_∞', electronic, ELECTRONIC_BINS)):
        binned = [(low, high, modes.constant_errors[(values >= low) & (values < high)]) for low, high in pairwise(bins)]
        table(
            f'Force constants by {name}',
            [
                {name: f'from {low}', 'crystals': len(errors), 'Φ, median relative error': float(np.median(errors))}
                for low, high, errors in binned
                if len(errors)
            ],
        )
    truth, guess = (modes.lowest < 0).T
    table(
        'Crystals with a negative optical mode',
        [
            {
                'labelled': int(truth.sum()),
                'of these predicted': int((truth & guess).sum()),
                'predicted': int(guess.sum()),
            }
        ],
    )


def pair_distances(cell: PhononCell) -> np.ndarray:
    """Return the distance of each atom to the nearest image of each other one, (n, n) Å, zero for the atom itself."""
    steps = cell.fractional_positions[:, None] - cell.fractional_positions
    steps = (steps - np.round(steps))[:, :, None] + np.array(list(product((-1, 0, 1), repeat=3)))
    return np.linalg.norm(steps @ cell.lattice, axis=-1).min(axis=-1)


def print_distances(found: Evaluated) -> None:
    """Print where the error of the force constants of large cells is, by the distance of the atoms."""
    shares: list[list[float]] = []
    for row in range(len(found.data)):
        cell = found.predictions.phonon_cell(row)
        blocks = found.labels.force_constants[slice(*found.labels.block_offsets[row : row + 2])].astype(np.float64)
        if cell is None or len(cell.atomic_numbers) < MANY_ATOMS or not np.isfinite(blocks).all():
            continue
        n, matrix = len(cell.atomic_numbers), from_blocks(blocks)
        errors, norms = (
            np.square(values).reshape(n, 3, n, 3).sum(axis=(1, 3)) for values in (cell.force_constants - matrix, matrix)
        )
        distances = pair_distances(cell)
        masks = [distances == 0, *((distances > low) & (distances <= high) for low, high in pairwise(DISTANCE_BINS))]
        shares.append([values[mask].sum() / values.sum() * 100 for values in (errors, norms) for mask in masks])
    if shares:
        names = ['same atom', *(f'{low} to {high}' for low, high in pairwise(DISTANCE_BINS))]
        means = np.mean(shares, axis=0).reshape(2, -1)
        table(
            f'Force constants by distance, {len(shares)} cells of {MANY_ATOMS} and more atoms',
            [
                {'Å': name, 'squared error, %': float(error), 'squared norm, %': float(norm)}
                for name, error, norm in zip(names, *means, strict=True)
            ],
        )


def regularised_permittivity(cell: PhononCell, floor: float) -> np.ndarray:
    """Return the ionic part (3, 3) of the modes of a cell, their eigenvalues w as √(w² + floor²).

    :param floor: eV/Å²
    """
    atoms = len(cell.atomic_numbers)
    translations = np.tile(np.eye(3), (atoms, atoms)) * (1000 / atoms)  # eV/Å², above all optical modes
    values, vectors = np.linalg.eigh(cell.force_constants + translations)
    dipoles = cell.born_charges.transpose(1, 0, 2).reshape(3, -1) @ vectors
    return DIPOLE_STRENGTH / cell.volume * (dipoles / np.hypot(values, floor)) @ dipoles.T


def print_sources(found: Evaluated, floor: float) -> None:
    """Print the errors of the ionic part where force constants or charges are those of DFPT, and where both are.

    The last line has the error of the floor alone.
    """
    parts: dict[str, list[np.ndarray]] = {
        'predicted': [], 'Z* of DFPT': [], 'force constants of DFPT': [], 'both of DFPT': []
    }  # fmt: skip
    rows = []
    for row in range(len(found.data)):
        cell = found.predictions.phonon_cell(row)
        blocks = found.labels.force_constants[slice(*found.labels.block_offsets[row : row + 2])].astype(np.float64)
        charges = found.labels.born_charges[slice(*found.labels.atom_offsets[row : row + 2])].astype(np.float64)
        if cell is None or not np.isfinite(blocks).all() or not np.isfinite(charges).all():
            continue
        rows.append(row)
        constants, charges = {'force_constants': from_blocks(blocks)}, {'born_charges': charges}
        for name, change in zip(parts, ({}, charges, constants, {**constants, **charges}), strict=True):
            parts[name].append(regularised_permittivity(cell._replace(**change), floor))
    shown = ('rows', 'mae', 'ewt_25', 'ewt_10')
    every = {name: compare(np.array(tensors), found.data.ionic[rows]) for name, tensors in parts.items()}
    table(
        'Ionic part, by what is predicted',
        [{'from': name, **{key: metrics.get(key) for key in shown}} for name, metrics in every.items()],
    )


def print_crystals(found: Evaluated, parts: list[str]) -> None:
    """Print predicted and computed averages and lowest frequencies of crystals.

    :param parts: (n,) part of the split, empty for rows in none
    """
    rows = []
    predicted, labels = found.predictions, found.data
    for row, crystal in enumerate(labels.crystals):
        modes = crystal_modes(found, row)
        rows.append(
            {
                'crystal': f'{reduced_formula(crystal.atomic_numbers)} ({crystal.id})',
                'part': parts[row],
                'electronic': f'{average(predicted.electronic[[row]])[0]:.2f}',
                'DFPT': f'{average(labels.electronic[[row]])[0]:.2f}',
                'ionic': f'{average(predicted.ionic[[row]])[0]:.1f} ± {predicted.average_std[row, 1]:.1f}',
                'from DFPT': '–' if np.isnan(labels.ionic[row]).any() else f'{average(labels.ionic[[row]])[0]:.1f}',
                'lowest mode, THz': '' if modes is None else f'{modes.predicted[0]:.2f}',
                'of DFPT, THz': '' if modes is None else f'{modes.labelled[0]:.2f}',
                'stability': f'{predicted.stability[row]:.2f}',
                'flags': ', '.join(name for bit, name in enumerate(FLAG_NAMES) if predicted.flags[row] >> bit & 1),
            }
        )
    table('Named crystals', rows)


def draw(found: Evaluated, modes: Modes, folder: Path) -> None:
    """Draw parity plots of the ionic part (logarithmic), Born charges and frequencies."""
    from aiida_goectp.core.figures import Parity, lattice_figure, save_figure

    labelled, predicted = charges_of(found)
    soft = flagged(found, 'soft_mode') | flagged(found, 'unstable')
    figure = lattice_figure(
        Parity(
            average(found.data.ionic),
            average(found.predictions.ionic),
            found.predictions.average_std[:, 1],
            soft,
        ),
        Parity(labelled.ravel(), predicted.ravel()),
        Parity(modes.labelled, modes.predicted),
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_figure(figure, folder / 'lattice_parity.svg')


def distinct(rows: Dataset, training: Dataset) -> Dataset:
    """Return the rows whose crystal equals none of a training set, whatever cell, frame and id."""
    crystals = concatenate([rows, training]).crystals
    keys = crystal_keys(crystals, reduced_formulas(crystals))
    return rows.take(np.flatnonzero(~np.isin(keys[: len(rows)], keys[len(rows) :])))


def main() -> None:
    """Evaluate and print."""
    one_thread()
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('model')
    parser.add_argument('data', type=Path)
    parser.add_argument('--split', required=True)
    parser.add_argument('--part', default='validation')
    parser.add_argument('--crystals', nargs='*', default=[], help='ids of crystals to print, of any part')
    parser.add_argument('--figures', type=Path)
    parser.add_argument('--distinct', action='store_true', help='leave out crystals that equal one of the part train')
    parser.add_argument('--floor', type=float, help='eV/Å², instead of that of the model: see bounded_inverse')
    options = parser.parse_args()
    networks = cached_model(options.model, 'cpu').members
    for network in networks:
        if options.floor is not None:
            network.floor = options.floor
    data = Dataset.load(options.data)
    rows = data.part(options.split, options.part)
    if options.distinct:
        rows = distinct(rows, data.part(options.split, 'train'))
    found = evaluate(options.model, rows)
    modes = modes_of(found)
    print(f'{options.model}: {options.part} rows of {options.split}, {len(found.data)} crystals')
    print_tensors(found)
    print_intervals(found)
    print_lattice(found, modes)
    print_distances(found)
    print_sources(found, max(network.floor for network in networks))
    if options.crystals:
        chosen = data.rows_of(options.crystals)
        print_crystals(evaluate(options.model, data.take(chosen)), data.splits[options.split][chosen].tolist())
    if options.figures:
        draw(found, modes, options.figures)


if __name__ == '__main__':
    main()

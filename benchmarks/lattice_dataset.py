"""Dataset with force constants and Born charges for the preset ``force_constants``.

``python benchmarks/lattice_dataset.py SPLITS OUTPUT LABELLED.npz [UNLABELLED.npz …]`` joins files of force constants at
Γ in primitive cells to ``dataset.npz``. Each file has the arrays ``id``, ``n`` (atoms), ``lattice``, ``numbers``,
``positions`` (Cartesian, Å), ``phi`` (the (3n)² elements of each crystal, eV/Å²) and, with labels, ``born``,
``eps_electronic``, ``eps_ionic``, ``electronic_ok`` and ``ionic_ok``. A crystal that is in no part of a split is added
to its training part unless its formula occurs among the validation or test rows. With ``--sizes 200 400``, the split
``random-0.200`` has 200 of the training rows of ``random-0`` that have all labels, for a learning curve; a larger size
has all rows of the smaller ones.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from rows import subsampled

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_splits
from aiida_goectp.core.datasets.splits import reduced_formulas
from aiida_goectp.core.formats.names import SPLIT_PARTS


def read_force_constants(path: Path) -> Dataset:
    """Return the crystals of one file with their labels."""
    arrays = dict(np.load(path))
    counts, rows = arrays['n'], len(arrays['n'])
    atoms = np.concatenate([[0], np.cumsum(counts)])
    elements = np.concatenate([[0], np.cumsum(9 * counts**2)])
    lattices = arrays['lattice'].astype(float)
    crystals = [
        Crystal(
            str(arrays['id'][row]),
            lattices[row],
            arrays['numbers'][atoms[row] : atoms[row + 1]].astype(np.int64),
            np.linalg.solve(lattices[row].T, arrays['positions'][atoms[row] : atoms[row + 1]].astype(float).T).T,
        )
        for row in range(rows)
    ]
    blocks = [
        arrays['phi'][elements[row] : elements[row + 1]].reshape(n, 3, n, 3).transpose(0, 2, 1, 3).reshape(-1, 3, 3)
        for row, n in enumerate(counts.tolist())
    ]
    labels = {}
    if 'born' in arrays:
        good = arrays['electronic_ok'][:, None, None]
        stable = good & arrays['ionic_ok'][:, None, None]
        labels = {
            'electronic': np.where(good, _symmetric(arrays['eps_electronic']), np.nan),
            'ionic': np.where(stable, _symmetric(arrays['eps_ionic']), np.nan),
            'born_charges': arrays['born'].astype(float),
        }
    return Dataset(
        CrystalSet.from_crystals(crystals),
        **labels,
        force_constants=np.concatenate(blocks),
        functional=np.full(rows, 'PBEsol'),
        origin=np.full(rows, path.name),
    )


def _symmetric(tensors: np.ndarray) -> np.ndarray:
    tensors = tensors.astype(float)
    return (tensors + tensors.transpose(0, 2, 1)) / 2


def with_splits(data: Dataset, path: Path) -> Dataset:
    """Return the dataset with the splits of a file, and further rows in their training parts."""
    formulas = np.array(reduced_formulas(data.crystals))
    known = set(data.crystals.ids.tolist())
    for name, ids in read_splits(str(path), path.read_bytes()).items():
        held = {part: data.rows_of([item for item in ids[part] if item in known]) for part in ('validation', 'test')}
        reserved = np.concatenate(list(held.values()))
        first = np.isin(data.crystals.ids, ids['train'])
        others = ~np.isin(formulas, formulas[reserved]) & data.trainable
        others[reserved] = False
        parts = {'train': data.crystals.ids[first | others].tolist()}
        parts |= {part: data.crystals.ids[rows].tolist() for part, rows in held.items()}
        data = data.with_given_split(name, parts)
    return data


def with_sizes(data: Dataset, sizes: list[int]) -> Dataset:
    """Return the dataset with splits that have fewer training rows."""
    labelled = np.isfinite(data.electronic).all(axis=(1, 2)) & np.isfinite(data.ionic).all(axis=(1, 2))
    for name, column in list(data.splits.items()):
        rows = ['' if part == 'train' and not known else part for part, known in zip(column, labelled, strict=True)]
        for size in sizes:
            chosen = np.array(subsampled(rows, size))
            parts = {part: data.crystals.ids[chosen == part].tolist() for part in SPLIT_PARTS}
            data = data.with_given_split(f'{name}.{size}', parts)
    return data


def main() -> None:
    """Write the dataset."""
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('splits', type=Path)
    parser.add_argument('output', type=Path)
    parser.add_argument('files', type=Path, nargs='+')
    parser.add_argument('--sizes', nargs='*', type=int, default=[], help='numbers of training rows of smaller splits')
    options = parser.parse_args()
    data = with_splits(concatenate([read_force_constants(path) for path in options.files]), options.splits)
    data = with_sizes(data, options.sizes)
    data.save(options.output)
    counts = {
        name: {part: int((column == part).sum()) for part in sorted(set(column))}
        for name, column in data.splits.items()
    }
    print(f'{options.output}: {len(data)} crystals, {len(data.force_constants)} blocks; {counts}')


if __name__ == '__main__':
    main()

"""One dataset.npz with all labelled rows, and a split for each training of the shipped models.

python benchmarks/rows.py DATA.jsonl.gz SPLITS.json OUT.npz [--split random-0 formula-0] [--extra OTHER.jsonl.gz=PBE …]
    [--sizes 400 800 1600]

The splits are those of SPLITS.json, with rows in no part added to the training rows unless their formula is held out
(as by ``accuracy.py run --extra rest OTHER…``), and ``all``: every trainable row. For a learning curve, the split
``random-0.400`` has 400 of the training rows of ``random-0``, among them all rows of the smaller sizes, and the same
validation and test rows.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_splits
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, reduced_formulas


def column_of(data: Dataset, given: dict[str, list[str]]) -> list[str]:
    """Return the part of each row."""
    part_of = {name: part for part, names in given.items() for name in names}
    formulas = reduced_formulas(data.crystals)
    parts = [part_of.get(str(name), '') for name in data.crystals.ids]
    held = {formula for formula, part in zip(formulas, parts, strict=True) if part in ('validation', 'test')}
    usable = [bool(good) and formula not in held for good, formula in zip(data.trainable, formulas, strict=True)]
    return [part or ('train' if good else '') for part, good in zip(parts, usable, strict=True)]


def subsampled(column: list[str], size: int) -> list[str]:
    """Return the column with ``size`` of its training rows, drawn with a fixed seed."""
    rows = [row for row, part in enumerate(column) if part == 'train']
    kept = set(np.random.default_rng(0).permutation(rows)[:size].tolist())
    return ['' if part == 'train' and row not in kept else part for row, part in enumerate(column)]


def main() -> None:
    """Write the dataset."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path)
    parser.add_argument('splits', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--split', nargs='*', default=['random-0', 'formula-0'])
    parser.add_argument('--functional', default='PBEsol')
    parser.add_argument('--extra', nargs='*', default=[], metavar='FILE=FUNCTIONAL')
    parser.add_argument('--sizes', nargs='*', type=int, default=[], help='numbers of training rows of smaller splits')
    options = parser.parse_args()
    sources = [Dataset.load(options.data, options.functional), *(Dataset.load(*i.split('=')) for i in options.extra)]
    data = concatenate(sources)
    given = read_splits(str(options.splits), options.splits.read_bytes())
    columns = {name: column_of(data, given[name]) for name in options.split}
    columns |= {f'{name}.{size}': subsampled(columns[name], size) for name in options.split for size in options.sizes}
    columns['all'] = ['train' if good else '' for good in data.trainable]
    splits = {name: np.array(column, dtype=np.str_) for name, column in columns.items()}
    made = Dataset(
        data.crystals,
        **{name: getattr(data, name) for name in ('electronic', 'ionic', 'born_charges')},
        **{name: getattr(data, name) for name in ('functional', 'origin', 'failed_gates')},
        splits=splits,
    )
    made.save(options.out)
    for name, column in splits.items():
        print(name, {part: int((column == part).sum()) for part in SPLIT_PARTS})


if __name__ == '__main__':
    main()

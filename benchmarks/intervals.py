"""Coverage of the 90 % intervals over many random divisions into calibration and evaluation rows.

python benchmarks/intervals.py MODEL DATA SPLITS --split random-0 [--draws 200] [--functional PBEsol]

Validation and test rows of the split, none of which were used for training, are combined; a random half calibrates the
intervals, and the coverage is evaluated on the other. A single division of 400 rows each has a standard error of 1.5 %
from the evaluation and as much from the calibration.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import torch
from common import one_thread

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_splits
from aiida_goectp.core.dielectric.coverage import QUANTITIES
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.learning.calibrate import coverage, dataset_output, stacked_labels
from aiida_goectp.core.learning.settings import TrainSettings, settings_like
from aiida_goectp.core.learning.uncertainty import CommitteeOutput, calibrate
from aiida_goectp.core.network.checkpoint import load_model


def outputs_and_labels(options: Namespace) -> tuple[CommitteeOutput, np.ndarray]:
    """Return the outputs of the members for the held-out rows, and the labels."""
    data = Dataset.load(options.data, options.functional)
    ids = read_splits(str(options.splits), options.splits.read_bytes())[options.split]
    held = data.take(data.rows_of([*ids['validation'], *ids['test']]))
    model = load_model(options.model)
    settings = TrainSettings.model_validate(settings_like({}, model.card))
    return dataset_output(model, held, settings), stacked_labels(held)


def main() -> None:
    """Measure and print."""
    one_thread()
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model')
    parser.add_argument('data', type=Path)
    parser.add_argument('splits', type=Path)
    parser.add_argument('--split', required=True)
    parser.add_argument('--draws', type=int, default=200)
    parser.add_argument('--functional', default='PBEsol', help='functional of the labels')
    options = parser.parse_args()
    torch.set_num_threads(1)
    raw, labels = outputs_and_labels(options)
    shares: dict[tuple[str, str], list[float]] = {}
    for draw in range(options.draws):
        rows = np.random.default_rng(draw).permutation(len(labels))
        calibration, evaluation = np.array_split(rows, 2)
        factors = calibrate(raw.take(calibration), labels[calibration])
        for target, found in coverage(raw.take(evaluation), labels[evaluation], factors).items():
            for name, share in found.items():
                shares.setdefault((target, name), []).append(share)
    print(f'{options.split}: {len(labels)} rows, {options.draws} draws; % within the 90 % interval, mean ± deviation\n')
    print(f'| | {" | ".join(QUANTITIES)} |\n|---|---|---|---|')
    for target in PARTS:
        columns = [shares.get((target, name)) for name in QUANTITIES]
        cells = ['' if column is None else f'{np.mean(column):.1f} ± {np.std(column):.1f}' for column in columns]
        print(f'| {target} | {" | ".join(cells)} |')


if __name__ == '__main__':
    main()

"""The ionic part as a mean of two models in the logarithm, in which the second one counts where the first is unsure.

``python benchmarks/mean_of_models.py MODEL OTHER DATASET.npz --split random-0 [--scales 0.6 0.8 1.0]``

The weight of OTHER is s² / (s² + scale²), with the relative standard deviation s of the ionic part of MODEL; scale is
the relative deviation that OTHER is taken to have. The electronic part is that of MODEL. Compared on validation rows.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import one_thread, table

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.metrics import compare
from aiida_goectp.core.learning.predict import predict_crystals

_SMALLEST = 1e-3
"""eigenvalue of the ionic part, which may vanish in a direction"""


def of_eigenvalues(tensors: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function to the eigenvalues of symmetric tensors, (n, 3, 3)."""
    values, vectors = np.linalg.eigh(tensors)
    return np.asarray((vectors * function(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2))


def mean_in_logarithm(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return exp((1 − w) log first + w log second) of positive tensors, (n, 3, 3).

    :param weights: (n,) of the second one
    """
    first, second = (
        of_eigenvalues(item, lambda values: np.log(np.maximum(values, _SMALLEST))) for item in (first, second)
    )
    return of_eigenvalues(first + weights[:, None, None] * (second - first), np.exp)


def main() -> None:
    """Evaluate and print."""
    one_thread()
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('models', nargs=2)
    parser.add_argument('data', type=Path)
    parser.add_argument('--split', required=True)
    parser.add_argument('--scales', type=float, nargs='+', default=[0.4, 0.6, 0.8, 1.0])
    options = parser.parse_args()
    data = Dataset.load(options.data).part(options.split, 'validation')
    first, second = (predict_crystals(data.crystals, model, device='cpu') for model in options.models)
    unsure = np.linalg.norm(first.ionic_std, axis=(1, 2)) / np.linalg.norm(first.ionic, axis=(1, 2))
    candidates = {'first model': first.ionic, 'second model': second.ionic}
    for scale in options.scales:
        weights = unsure**2 / (unsure**2 + scale**2)
        candidates[f'scale {scale:g}'] = mean_in_logarithm(first.ionic, second.ionic, weights)
    rows = []
    for name, ionic in candidates.items():
        errors = {'ionic': compare(ionic, data.ionic), 'total': compare(first.electronic + ionic, data.total)}
        rows.append(
            {
                'prediction': name,
                **{
                    f'{part} {key}': found[key] for part, found in errors.items() for key in ('mae', 'ewt_25', 'ewt_10')
                },
            }
        )
    table(f'validation rows of {options.split}, {len(data)} crystals', rows)


if __name__ == '__main__':
    main()

"""Error metrics of predicted tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.dielectric.tensors import PARTS, anisotropy

__all__ = ('WITHIN', 'compare', 'evaluate', 'table')

WITHIN = (25, 10, 5, 2)
"""thresholds of EwT (error within threshold) in %"""


def compare(predicted: np.ndarray, labelled: np.ndarray, with_anisotropy: bool = False) -> dict[str, float]:
    """Return the metrics of one target over the rows that have a label and a prediction.

    ``mae`` and ``rmse`` of the nine components; ``fnorm``, the mean Frobenius distance; ``ewt_25`` etc., the share of
    crystals (%) whose Frobenius distance is at most that percentage of the norm of the label; ``mae_average`` of the
    polycrystalline average; ``mae_anisotropy`` of the ratio of the largest to the smallest eigenvalue, as reported for
    AnisoNet. All other definitions: Hua et al., arXiv 2601.04755.

    :param predicted: (n, 3, 3), NaN in failed rows
    :param labelled: (n, 3, 3), NaN where missing
    :param with_anisotropy: not meaningful for the ionic part, whose eigenvalues may vanish
    :return: metric → value; ``rows`` is the number of compared rows, the only entry if it is zero
    """
    known = np.isfinite(labelled).all(axis=(1, 2)) & np.isfinite(predicted).all(axis=(1, 2))
    found, reference = predicted[known], labelled[known]
    if not len(reference):
        return {'rows': 0}
    difference = found - reference
    distance = np.linalg.norm(difference, axis=(1, 2))
    norm = np.linalg.norm(reference, axis=(1, 2))
    metrics = {
        'rows': len(reference),
        'mae': float(np.abs(difference).mean()),
        'rmse': float(np.sqrt((difference**2).mean())),
        'fnorm': float(distance.mean()),
        'mae_average': float(np.abs(np.trace(difference, axis1=1, axis2=2) / 3).mean()),
    }
    if with_anisotropy:
        ratios = np.abs(anisotropy(found) - anisotropy(reference))
        if np.isfinite(ratios).any():
            metrics['mae_anisotropy'] = float(np.nanmean(ratios))
    # no division: a label may be zero by symmetry
    metrics.update({f'ewt_{share}': float((distance <= norm * share / 100).mean() * 100) for share in WITHIN})
    return metrics


def table(predicted: Mapping[str, np.ndarray], labelled: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return :func:`compare` for electronic, ionic and their sum, total.

    :param predicted: target → (n, 3, 3); a missing target is omitted; a missing ``total`` is the sum of both parts
    :param labelled: target → (n, 3, 3), NaN where missing
    """
    found, known = dict(predicted), dict(labelled)
    for tensors in (found, known):
        if {'electronic', 'ionic'} <= set(tensors):
            tensors.setdefault('total', tensors['electronic'] + tensors['ionic'])
    return {
        name: compare(found[name], known[name], name != 'ionic') for name in PARTS if name in found and name in known
    }


def evaluate(
    predicted: Mapping[str, np.ndarray], labelled: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return the metrics of all rows and of each group of rows.

    :param predicted: target → (n, 3, 3)
    :param labelled: target → (n, 3, 3), NaN where missing
    :param groups: name of a grouping, such as ``crystal_system`` → (n,) text, the group of each row
    :return: ``all``: target → metrics; and for each grouping ``by_NAME``: group → target → metrics
    """
    result: dict[str, Any] = {'all': table(predicted, labelled)}
    for name, column in groups.items():
        result[f'by_{name}'] = {
            group: table(
                *({key: tensor[column == group] for key, tensor in side.items()} for side in (predicted, labelled))
            )
            for group in sorted(set(column.tolist()))
        }
    return result

"""Figures of merit of a prediction against labels, as the field reports them."""

from __future__ import annotations

import numpy as np

__all__ = ('compare', 'table')

_WITHIN = (25, 10, 5, 2)


def compare(predicted: np.ndarray, labelled: np.ndarray) -> dict[str, float]:
    """Return the metrics of one target over the rows that have a label.

    ``mae`` and ``rmse`` over the nine components; ``fnorm``, the mean Frobenius distance; ``ewt_25`` and so on, the
    share of crystals (%) whose Frobenius distance is below that share (%) of the label's norm; ``mae_average``, of the
    polycrystalline average. Definitions: Hua et al., arXiv 2601.04755.

    :param predicted: (n, 3, 3)
    :param labelled: (n, 3, 3), NaN where missing
    """
    known = np.isfinite(labelled).all(axis=(1, 2))
    difference, reference = (predicted - labelled)[known], labelled[known]
    if not len(reference):
        return {'rows': 0}
    distance = np.linalg.norm(difference, axis=(1, 2))
    relative = distance / np.linalg.norm(reference, axis=(1, 2))
    figures = {
        'rows': len(reference),
        'mae': float(np.abs(difference).mean()),
        'rmse': float(np.sqrt((difference**2).mean())),
        'fnorm': float(distance.mean()),
        'mae_average': float(np.abs(np.trace(difference, axis1=1, axis2=2) / 3).mean()),
    }
    figures.update({f'ewt_{share}': float((relative < share / 100).mean() * 100) for share in _WITHIN})
    return figures


def table(predicted: dict[str, np.ndarray], labelled: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return :func:`compare` for electronic, ionic and their sum, total.

    :param predicted: target → (n, 3, 3)
    :param labelled: target → (n, 3, 3), NaN where missing
    """
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {
        name: (predicted[name], labelled[name]) for name in ('electronic', 'ionic') if name in predicted
    }
    if len(pairs) == 2:
        pairs['total'] = (predicted['electronic'] + predicted['ionic'], labelled['electronic'] + labelled['ionic'])
    return {name: compare(*pair) for name, pair in pairs.items()}

"""Tables of metrics and of the coverage of intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from aiida_goectp.core.dielectric.coverage import QUANTITIES
from aiida_goectp.core.formats.text_tables import make_table

__all__ = ('COVERAGE', 'coverage_table', 'evaluation_table', 'is_evaluation', 'metrics_table')

COVERAGE = 'coverage_90'
"""key of the fractions of labels within the stated 90 % intervals"""
_METRICS = {
    'rows': 'rows',
    'mae': 'MAE',
    'rmse': 'RMSE',
    'fnorm': 'Fnorm',
    'mae_average': 'MAE of average',
    'mae_anisotropy': 'of anisotropy',
    'ewt_25': 'EwT 25 %',
    'ewt_10': '10 %',
    'ewt_5': '5 %',
    'ewt_2': '2 %',
}
"""heading of each metric"""


def metrics_table(title: str, heading: str, groups: Iterable[tuple[str, Mapping[str, Any]]]) -> Table:
    """Return one line per group of rows and target; EwT in % of the crystals.

    :param heading: of the column of the groups
    :param groups: name of the rows, and target → metrics
    """
    lines = [
        [name if index == 0 else '', target, *(metrics.get(key) for key in _METRICS)]
        for name, targets in groups
        for index, (target, metrics) in enumerate(targets.items())
    ]
    return make_table(title, [heading, 'target', *_METRICS.values()], lines, 2)


def is_evaluation(content: Mapping[str, Any]) -> bool:
    """Return whether a dictionary contains the metrics of an evaluation."""
    return {'all', 'by_crystal_system', 'by_functional', 'model_hash'} <= set(content)


def evaluation_table(metrics: Mapping[str, Any]) -> Table:
    """Return the metrics of an evaluation: overall, by crystal system, and by functional if there are several."""
    groups = {'all': metrics['all'], **metrics['by_crystal_system']}
    if len(metrics['by_functional']) > 1:
        groups |= metrics['by_functional']
    title = f'Model {metrics["model_hash"][:10]} on {metrics["rows"]} rows'
    if metrics['failed']:
        title += f', {metrics["failed"]} failed predictions'
    return metrics_table(title, '', groups.items())


def coverage_table(groups: Mapping[str, Mapping[str, Mapping[str, float]] | None]) -> Table | None:
    """Return the percentage of labels within the stated 90 % intervals; None without any.

    :param groups: name of the rows → target → quantity → percentage
    """
    lines = []
    for name, targets in groups.items():
        for index, (target, percentages) in enumerate((targets or {}).items()):
            cells = [f'{percentages[key]:.1f} %' if key in percentages else '' for key in QUANTITIES]
            lines.append([name if index == 0 else '', target, *cells])
    if not lines:
        return None
    return make_table('Labels within the stated 90 % intervals', ['rows of', 'target', *QUANTITIES], lines, 2)

"""Tables of datasets, of what a join did, and of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from aiida_goectp.cli.views.tables import failure_table, make_table, show_table
from aiida_goectp.core.dielectric.coverage import QUANTITIES

if TYPE_CHECKING:
    from rich.table import Table

    from aiida_goectp.data.dataset import DatasetData

__all__ = (
    'COVERAGE',
    'FIGURES',
    'coverage_table',
    'is_metrics',
    'is_report',
    'metrics_table',
    'show_dataset',
    'show_report',
)

COVERAGE = 'coverage_90'
"""key of the shares of labels within stated intervals"""
FIGURES = {
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
"""heading of each metric in a table"""


def show_dataset(node: DatasetData, rows: int) -> None:
    """Print counts, splits, the first rows, and the rows that could not be read."""
    from aiida_goectp.core.crystals.elements import formula
    from aiida_goectp.core.dielectric.tensors import polycrystalline_average

    data, get = node.dataset, node.base.attributes.get
    functionals = ', '.join(f'{count} {name}' for name, count in get('functionals').items())
    click.echo(
        f'{len(node)} rows ({functionals}), {get("trainable")} trainable: {get("electronic")} with electronic, '
        f'{get("ionic")} with ionic label; {get("born_charges")} rows with Born charges'
    )
    if node.splits:
        lines = [
            [name, str(data.split_settings[name].get('kind')), str(data.split_settings[name].get('seed', ''))]
            + [str(of.get(part, 0)) for part in ('train', 'validation', 'test')]
            for name, of in node.splits.items()
        ]
        show_table(make_table('Splits', ['name', 'kind', 'seed', 'train', 'validation', 'test'], lines, 2))
    names, counts = np.unique(data.failed_gates[data.failed_gates != ''], return_counts=True)
    if len(names):
        order = np.argsort(-counts, kind='stable')
        lines = [[str(names[place]), str(counts[place])] for place in order[:rows]]
        show_table(make_table('Failed gates', ['gates', 'rows'], lines))
    n = min(rows, len(data))
    averages = {name: polycrystalline_average(getattr(data, name)[:n]) for name in ('electronic', 'ionic')}
    usable = data.trainable
    shown = [
        [str(data.crystals.ids[row]), formula(data.crystals[row].atomic_numbers), str(data.functional[row])]
        + ['' if usable[row] else 'no', str(data.failed_gates[row])]
        + [averages[name][row] for name in averages]
        for row in range(n)
    ]
    title = f'Rows, {n} of {len(data)}' if n < len(data) else f'Rows, {n}'
    show_table(
        make_table(title, ['id', 'formula', 'functional', 'trained on', 'failed gates', 'ε∞', 'ε ionic'], shown, 5)
    )
    if data.crystals.failures:
        show_table(failure_table(data.crystals.failures, rows))


def is_report(content: Mapping[str, Any]) -> bool:
    """Return whether a dictionary says what a join did."""
    return {'rows_given', 'duplicates', 'filled', 'disagreements'} <= set(content)


def show_report(report: Mapping[str, Any], rows: int) -> None:
    """Print what a join did, with both values where labels disagree."""
    click.echo(
        f'{sum(report["rows_given"])} rows of {len(report["rows_given"])} datasets gave {report["rows"]}: '
        f'{len(report["duplicates"])} duplicates left out, {len(report["filled"])} missing parts filled in, '
        f'{len(report["disagreements"])} labels disagree by more than {report["tolerance"]:.0%}'
    )
    entries = sorted(report['disagreements'], key=lambda entry: -entry['difference'])[:rows]
    lines = [
        [
            *(_name(entry['kept']), _name(entry['other']), entry['target']),
            *(entry['average'], entry['other_average'], f'{entry["difference"]:.0%}'),
        ]
        for entry in entries
    ]
    if lines:
        columns = ['kept', 'left out', 'label', 'average kept', 'left out', 'tensors differ by']
        show_table(make_table('Disagreements', columns, lines, 3))


def _name(entry: Mapping[str, Any]) -> str:
    return f'{entry["id"]} (set {entry["part"]})'


def is_metrics(content: Mapping[str, Any]) -> bool:
    """Return whether a dictionary holds the metrics of an evaluation."""
    return {'all', 'by_crystal_system', 'by_functional', 'model_hash'} <= set(content)


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Return one line for each target and group; EwT in % of the crystals."""
    groups = {'all': metrics['all'], **metrics['by_crystal_system']}
    if len(metrics['by_functional']) > 1:
        groups |= metrics['by_functional']
    lines = [
        [name if first == 0 else '', target, *(figures.get(key) for key in FIGURES)]
        for name, targets in groups.items()
        for first, (target, figures) in enumerate(targets.items())
    ]
    title = f'Model {metrics["model_hash"][:10]} on {metrics["rows"]} rows'
    if metrics['failed']:
        title += f', {metrics["failed"]} more could not be predicted'
    return make_table(title, ['', 'target', *FIGURES.values()], lines, 2)


def coverage_table(parts: Mapping[str, Mapping[str, Mapping[str, float]] | None]) -> Table | None:
    """Return how many labels lay in the stated 90 % intervals; None if nothing says.

    :param parts: name of the rows → target → quantity → share in %
    """
    lines = []
    for part, targets in parts.items():
        for first, (target, shares) in enumerate((targets or {}).items()):
            lines.append([part if first == 0 else '', target, *(_percent(shares.get(name)) for name in QUANTITIES)])
    if not lines:
        return None
    return make_table('Labels within the stated 90 % intervals', ['rows of', 'target', *QUANTITIES], lines, 2)


def _percent(share: float | None) -> str:
    return '' if share is None else f'{share:.1f} %'

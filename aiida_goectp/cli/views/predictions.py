"""Table of predictions."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from aiida_goectp.cli import echo
from aiida_goectp.cli.views.tables import make_table, show_table, table_title
from aiida_goectp.core.dielectric.predictions import Predictions, flag_names
from aiida_goectp.core.dielectric.tensors import eigenvalues, polycrystalline_average
from aiida_goectp.core.executable.output import NO_STATIC_PERMITTIVITY
from aiida_goectp.core.formats.numbers import with_deviation, with_deviations
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.report.words import PART_SYMBOLS, flag_words

__all__ = ('predictions_table', 'show_predictions')


def show_predictions(node: PredictionsData, rows: int) -> None:
    """Print the table, which of its crystals are unstable, and how to show phonons."""
    predictions = node.predictions
    echo.echo(f'model {node.model_hash[:10]}, {node.base.attributes.get("failed")} of {len(node)} rows failed')
    show_table(predictions_table(predictions, rows))
    if len(unstable := predictions.ids[:rows][predictions.unstable[:rows]]):
        echo.echo(f'{", ".join(unstable)}: {NO_STATIC_PERMITTIVITY}')
    if predictions.phonons is not None:
        echo.echo(f'modes and Born charges: aiida-goectp phonons show {node.pk}' + (' ID' if len(node) > 1 else ''))


def predictions_table(predictions: Predictions, rows: int) -> Table:
    """Return averages, eigenvalues of the total tensor and the stability, with standard deviations where known."""
    n = min(rows, len(predictions))
    columns = ['id', 'remarks', *PART_SYMBOLS.values(), 'eigenvalues', 'stability']
    lines: list[list[object]] = []
    for row in range(n):
        if predictions.failed[row]:
            lines.append([str(predictions.ids[row]), str(predictions.errors[row]), *[''] * 5])
            continue
        averages = [
            with_deviation(
                float(polycrystalline_average(getattr(predictions, part)[row])),
                float(predictions.average_std[row, place]),
            )
            for place, part in enumerate(PART_SYMBOLS)
        ]
        total = with_deviations(eigenvalues(predictions.total[row]), predictions.eigenvalues_std[row, 2])
        stability = predictions.stability[row]
        lines.append(
            [
                str(predictions.ids[row]),
                flag_words(flag_names(predictions.flags[row])),
                *averages,
                total,
                '' if np.isnan(stability) else f'{stability:.2f}',
            ]
        )
    if not any(line[-1] for line in lines):
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    return make_table(table_title('Predictions', n, len(predictions)), columns, lines, 2)

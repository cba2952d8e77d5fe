"""Table of predictions."""

from __future__ import annotations

from rich.table import Table

from aiida_goectp.cli.views.tables import make_table, table_title
from aiida_goectp.cli.views.words import PART_SYMBOLS, flag_words
from aiida_goectp.core.dielectric.predictions import Predictions, flag_names
from aiida_goectp.core.dielectric.tensors import eigenvalues, polycrystalline_average
from aiida_goectp.core.formats.numbers import with_deviation, with_deviations

__all__ = ('predictions_table',)


def predictions_table(predictions: Predictions, rows: int) -> Table:
    """Return averages and eigenvalues of the total tensor, with standard deviations where known."""
    n = min(rows, len(predictions))
    lines: list[list[object]] = []
    for row in range(n):
        if predictions.failed[row]:
            lines.append([str(predictions.ids[row]), str(predictions.errors[row]), *[''] * 4])
            continue
        averages = [
            with_deviation(
                float(polycrystalline_average(getattr(predictions, part)[row])),
                float(predictions.average_std[row, place]),
            )
            for place, part in enumerate(PART_SYMBOLS)
        ]
        total = with_deviations(eigenvalues(predictions.total[row]), predictions.eigenvalues_std[row, 2])
        lines.append([str(predictions.ids[row]), flag_words(flag_names(predictions.flags[row])), *averages, total])
    columns = ['id', 'remarks', *PART_SYMBOLS.values(), 'eigenvalues']
    return make_table(table_title('Predictions', n, len(predictions)), columns, lines, 2)

"""Table of predictions, as both command lines print it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import numpy as np
from rich.table import Table

from aiida_goectp.core.dielectric.predictions import Predictions, flag_names, flag_words
from aiida_goectp.core.dielectric.tensors import PART_SYMBOLS, eigenvalues, polycrystalline_average
from aiida_goectp.core.formats.numbers import with_deviation, with_deviations
from aiida_goectp.core.formats.text_tables import make_table, table_title

__all__ = ('predictions_table',)


def predictions_table(
    predictions: Predictions, rows: int, formulas: Mapping[str, str] | None = None, count: int | None = None
) -> Table:
    """Return averages, eigenvalues of the total tensor and the stability, with standard deviations where known.

    :param rows: maximum number of rows
    :param formulas: content hash → formula, of the crystals that are known
    :param count: number of predictions, if only the first ones are given
    """
    n = min(rows, len(predictions))
    formulas = formulas or {}
    lines: list[list[object]] = []
    for row in range(n):
        start = [str(predictions.ids[row]), formulas.get(str(predictions.hashes[row]), '')]
        if predictions.failed[row]:
            lines.append([*start, str(predictions.errors[row]), *[''] * 5])
            continue
        averages = [
            with_deviation(
                float(polycrystalline_average(getattr(predictions, part)[row])),
                float(predictions.average_std[row, place]),
            )
            for place, part in enumerate(PART_SYMBOLS)
        ]
        total = _grouped(with_deviations(eigenvalues(predictions.total[row]), predictions.eigenvalues_std[row, 2]))
        stability = predictions.stability[row]
        flags = flag_words(flag_names(predictions.flags[row]))
        lines.append([*start, flags, *averages, total, '' if np.isnan(stability) else f'{stability:.2f}'])
    columns = ['id', 'formula', 'remarks', *PART_SYMBOLS.values(), 'eigenvalues', 'stability']
    title = table_title('Predictions', n, len(predictions) if count is None else count)
    return make_table(title, columns, lines, 3, optional=('formula', 'remarks', 'stability'))


def _grouped(values: str) -> str:
    """Return a list in which equal values that follow each other are one, with their number: ``9.4±0.2 ×2, 11.6±0.5``.

    A narrow table breaks it at its spaces, so that there is none beside ±.
    """
    groups = [(value, len(list(equal))) for value, equal in groupby(values.replace(' ± ', '±').split(', '))]
    return ', '.join(value if number == 1 else f'{value} ×{number}' for value, number in groups)

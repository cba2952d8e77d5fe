"""Table of picks."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from aiida_goectp.core.formats.numbers import with_deviation
from aiida_goectp.core.formats.text_tables import make_table, table_title
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.report.words import STABILITY, probability

__all__ = ('picks_table',)


def picks_table(picks: Picks, rows: int) -> Table:
    """Return the candidates by acquisition score, each with the reason why it was picked or not."""
    order = sorted(np.flatnonzero(picks.place).tolist(), key=lambda row: int(picks.place[row]))[:rows]
    lines = [
        [
            str(picks.place[row]),
            str(picks.ids[row]),
            str(picks.reason[row]),
            with_deviation(float(picks.mean[row]), float(picks.std[row])),
            probability(picks.stability[row]),
            picks.score[row],
        ]
        for row in order
    ]
    acquisition = picks.settings.get('acquisition', {}).get('name', 'score')
    title = f'{table_title("Candidates", len(order), picks.candidates)}, {len(picks.rows)} picked'
    columns = ['place', 'id', 'reason', picks.figure_of_merit, STABILITY, acquisition]
    return make_table(title, columns, lines, 3, optional=(STABILITY,))

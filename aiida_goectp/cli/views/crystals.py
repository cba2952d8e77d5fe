"""Tables of crystals, and of rows that could not be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from aiida_goectp.cli.views.tables import make_table, table_title
from aiida_goectp.cli.views.words import spaced
from aiida_goectp.core.crystals import CrystalSet, Failure
from aiida_goectp.core.crystals.elements import symbols_of

__all__ = ('crystals_table', 'failure_table')

_MAX_COLUMNS = 6
"""property columns in a table"""


def crystals_table(crystals: CrystalSet, rows: int) -> Table:
    """Return the first crystals with formula, size and property columns."""
    from ase.formula import Formula

    n = min(rows, len(crystals))
    names = sorted(crystals.properties)[:_MAX_COLUMNS]
    lines = []
    for row in range(n):
        crystal = crystals[row]
        formula = Formula.from_list(symbols_of(crystal.atomic_numbers)).format('metal')
        volume = abs(float(np.linalg.det(crystal.lattice)))
        values = [crystals.properties[name][row] for name in names]
        lines.append([crystal.id, formula, len(crystal.atomic_numbers), volume, *values])
    columns = ['id', 'formula', 'atoms', 'volume (Å³)', *names]
    return make_table(table_title('Crystals', n, len(crystals)), columns, lines, 2)


def failure_table(failures: Sequence[Failure], rows: int = 20) -> Table:
    """Return the rows that could not be read, with the reason."""
    lines = [[failure.id, spaced(failure.code), failure.message] for failure in failures[:rows]]
    return make_table(table_title('Failures', len(lines), len(failures)), ['id', 'reason', 'message'], lines, 3)

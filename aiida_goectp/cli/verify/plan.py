"""What a verification would compute, reuse and refuse, with inputs and cost; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from aiida import orm

from aiida_goectp.calculations.verification import COMPUTED, DUPLICATE, FAILED, NOT_RUN, REUSED, content_hash
from aiida_goectp.cli import echo
from aiida_goectp.core.formats.text_tables import make_table, show_table
from aiida_goectp.report.words import counted
from aiida_goectp.workflows.dfpt.engines import earlier_runs, engine_inputs, load_engine
from aiida_goectp.workflows.dfpt.reuse import find_usable_runs

__all__ = ('PlannedCrystal', 'planned_crystals', 'show_plan')

_MAX_TEXT = 80
"""characters of an input in the list"""

_SAMPLE = 20
"""earlier calculations of which the mean cost is taken"""


class PlannedCrystal(NamedTuple):
    """What a verification would do with a crystal."""

    id: str
    formula: str
    atoms: int
    state: str
    """state after the verification if nothing fails: computed, reused, duplicate, failed or not run"""
    reason: str
    """why it is not computed; empty if it is"""


def planned_crystals(builder: Any) -> tuple[list[PlannedCrystal], dict[str, Any]]:
    """Return what would happen to each crystal, and the inputs of the first one that is computed.

    :param builder: a valid builder of ``goectp.verify`` with a selection
    """
    engine = load_engine(builder.engine.value)
    items = builder.selection.get_list()
    hashes = {item['structure']: content_hash(builder.structures[item['structure']]) for item in items}
    earlier = earlier_runs(engine, hashes.values()) if builder.reuse is None or builder.reuse.value else {}
    bound = None if builder.max_calculations is None else builder.max_calculations.value
    rows: list[PlannedCrystal] = []
    first: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for item in items:
        structure, key = builder.structures[item['structure']], hashes[item['structure']]
        state, reason = COMPUTED, ''
        if key in seen:
            state, reason = DUPLICATE, f'equals {seen[key]}'
        else:
            try:
                inputs = engine_inputs(engine, structure, builder.dfpt or {}, builder.thresholds)
            except ValueError as error:
                state, reason = FAILED, str(error)
            else:
                reused = find_usable_runs(engine, earlier.get(key, []), inputs).finished
                if reused is not None:
                    state, reason = REUSED, f'process {reused.pk}'
                elif bound is not None and sum(row.state == COMPUTED for row in rows) >= bound:
                    state, reason = NOT_RUN, f'the budget of {bound} calculations is spent'
                else:
                    first = first or inputs
        seen.setdefault(key, item['id'])
        rows.append(PlannedCrystal(item['id'], item['formula'], len(structure.sites), state, reason))
    return rows, first


def show_plan(builder: Any, origin: str) -> None:
    """Print what a verification would do.

    :param builder: a valid builder of ``goectp.verify``
    :param origin: where the crystals come from
    """
    rows, inputs = planned_crystals(builder)
    number = sum(row.state == COMPUTED for row in rows)
    estimate, sample = _mean_core_hours(load_engine(builder.engine.value))
    plain = {name: _text(value) for name, value in _flat(inputs).items() if not name.endswith('structure')}
    bounds = {name: getattr(builder, name) for name in ('max_concurrent', 'max_calculations', 'max_core_hours')}
    limits = {name: value.value for name, value in bounds.items() if value is not None}
    if echo.output_format() == 'json':
        expected = None if estimate is None else estimate * number
        cost = {'calculations': number, 'core_hours': expected, 'sample': sample, **limits}
        echo.echo_json({'crystals': [row._asdict() for row in rows], 'inputs': plain, 'cost': cost})
        return
    echo.echo_success(f'{origin} is valid; nothing is stored or started')
    show_table(make_table(f'Crystals, {len(rows)}', [*PlannedCrystal._fields], rows, 2, optional=('reason',)))
    if plain:
        title = f'Inputs of {builder.engine.value} for the first crystal'
        show_table(make_table(title, ['input', 'value'], plain.items(), 2))
    text = f'cost: {counted(number, "calculation")}'
    if estimate is not None:
        text += f', about {estimate * number:.3g} core-hours (mean of the last {sample} calculations: {estimate:.3g})'
    elif number:
        text += ', core-hours unknown, since no earlier calculation of this engine is stored'
    echo.echo(text + ''.join(f'; {name.replace("_", " ")} {value:g}' for name, value in limits.items()))


def _mean_core_hours(engine: Any) -> tuple[float | None, int]:
    """Return the mean cost of the latest successful calculations of an engine, and their number."""
    filters = {'attributes.process_state': 'finished', 'attributes.exit_status': 0}
    query = orm.QueryBuilder().append(engine, filters=filters, tag='node').order_by({'node': {'ctime': 'desc'}})
    costs = [engine.core_hours(node) for node in query.limit(_SAMPLE).all(flat=True)]
    return (float(np.mean(costs)), len(costs)) if costs else (None, 0)


def _flat(inputs: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Return nested inputs by dotted name."""
    found: dict[str, Any] = {}
    for key, value in inputs.items():
        name = f'{prefix}{key}'
        if isinstance(value, orm.Dict):
            found |= _flat(value.get_dict(), f'{name}.')
        elif isinstance(value, Mapping) and value:
            found |= _flat(value, f'{name}.')
        else:
            found[name] = value
    return found


def _text(value: Any) -> str:
    """Return an input in one line."""
    if isinstance(value, orm.AbstractCode):
        return str(value.full_label)
    if isinstance(value, orm.KpointsData):
        mesh, offset = value.get_kpoints_mesh() if 'mesh' in value.base.attributes.all else (None, None)
        text = 'list of k-points' if mesh is None else f'{" × ".join(map(str, mesh))}, offset {offset}'
    elif isinstance(value, orm.Data):
        text = str(getattr(value, 'value', value))
    else:
        text = str(value)
    return text if len(text) <= _MAX_TEXT else f'{text[: _MAX_TEXT - 1]}…'

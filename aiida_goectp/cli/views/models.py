"""Tables of models, and the model card in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from aiida_goectp.cli import echo
from aiida_goectp.cli.views.metrics import COVERAGE, coverage_table, metrics_table
from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.terminal import json_text
from aiida_goectp.core.formats.text_tables import make_table, show_table

__all__ = ('ModelEntry', 'model_table', 'show_card')


class ModelEntry(NamedTuple):
    """A model that is shipped, stored, or both."""

    card: ModelCard
    content_hash: str
    pks: Sequence[int] = ()
    """of its nodes; empty if it is not stored"""
    ships: bool = False


def model_table(models: Sequence[ModelEntry]) -> Table:
    """Return one line per model, with its errors on the test data, or on the last part of the data in its card."""
    lines = []
    for model in models:
        card = model.card
        part = _evaluated_on(card)
        metrics = card.metrics.get(part, {}) if part else {}
        rows = max((metrics[target].get('rows', 0) for target in PARTS if target in metrics), default=0)
        where = ['ships'] * model.ships + [f'pk {pk}' for pk in model.pks]
        errors = [metrics.get(target, {}).get('mae_average') for target in PARTS]
        lines.append(
            [
                card.name,
                ', '.join(where),
                ', '.join(card.targets),
                card.functional,
                card.members,
                f'{rows} {part}' if part else '',
                ' / '.join('–' if error is None else f'{error:.3g}' for error in errors) if part else '',
                'yes' if card.uncertainty or card.members > 1 else 'no',
            ]
        )
    columns = ['name', 'where', 'targets', 'functional', 'members', 'evaluated on', 'ε∞ / ionic / total', '± σ']
    table = make_table('Models; mean absolute error of the polycrystalline average', columns, lines, 4)
    for place in (0, 1, 6):
        table.columns[place].no_wrap = True
    return table


def _evaluated_on(card: ModelCard) -> str | None:
    """Return the part of the data whose metrics are shown: test, or else the last one."""
    parts = [part for part, metrics in card.metrics.items() if _by_target(metrics)]
    return 'test' if 'test' in parts else (parts[-1] if parts else None)


def _by_target(metrics: Any) -> dict[str, dict[str, Any]]:
    """Return target → metrics; empty if the card contains something else."""
    if not isinstance(metrics, dict):
        return {}
    return {target: metrics[target] for target in PARTS if isinstance(metrics.get(target), dict)}


def show_card(model: ModelEntry) -> None:
    """Print a model card: metrics and coverage as tables, then all other entries."""
    card = model.card
    show_table(model_table([model]))
    if any(map(_by_target, card.metrics.values())):
        groups = ((part, _by_target(metrics)) for part, metrics in card.metrics.items())
        show_table(metrics_table('Metrics', 'rows of', groups))
    coverage = coverage_table(
        {part: metrics.get(COVERAGE) for part, metrics in card.metrics.items() if isinstance(metrics, dict)}
    )
    if coverage is not None:
        show_table(coverage)
    elif not card.uncertainty:
        source = 'standard deviations are the spread of the members' if card.members > 1 else 'no standard deviations'
        echo.echo(f'uncertainty: not calibrated, {source}')
    echo.echo(f'preset: {card.preset}')
    if card.elements:
        echo.echo(f'elements, {len(card.elements)}: {" ".join(symbols_of(np.array(card.elements)))}')
    for name, value in _other_entries(card):
        echo.echo(f'{name}: {value}', keep='\n')
    echo.echo(f'hash: {model.content_hash}')


def _other_entries(card: ModelCard) -> Iterator[tuple[str, str]]:
    for name in ('architectures' if card.architectures else 'architecture', 'training', 'uncertainty'):
        if getattr(card, name):
            yield name, json_text(getattr(card, name), 2)
    others = {part: metrics for part, metrics in card.metrics.items() if not _by_target(metrics)}
    if others:
        yield 'other metrics', json_text(others, 2)
    for name in ('licence', 'citation', 'notes'):
        if getattr(card, name):
            yield name, getattr(card, name)

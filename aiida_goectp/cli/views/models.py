"""Models side by side, and the card of one in full."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from aiida_goectp.cli.views.datasets import COVERAGE, FIGURES, coverage_table
from aiida_goectp.cli.views.tables import make_table, show_table

if TYPE_CHECKING:
    from rich.table import Table

    from aiida_goectp.core.formats.model_card import ModelCard

__all__ = ('Known', 'metrics_table', 'model_table', 'show_card')

_TARGETS = ('electronic', 'ionic', 'total')


class Known(NamedTuple):
    """A model that ships, is stored, or both."""

    card: ModelCard
    content_hash: str
    pks: Sequence[int] = ()
    """of its nodes; none if it ships and is not stored"""
    ships: bool = False


def model_table(models: Sequence[Known]) -> Table:
    """Return one line a model, with what it reached on the rows that it was judged by."""
    lines = []
    for model in models:
        card = model.card
        part = _judged_by(card)
        figures = card.metrics.get(part, {}) if part else {}
        rows = max((figures[target].get('rows', 0) for target in _TARGETS if target in figures), default=0)
        where = ['ships'] * model.ships + [f'pk {pk}' for pk in model.pks]
        errors = [figures.get(target, {}).get('mae_average') for target in _TARGETS]
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
    columns = ['name', 'where', 'targets', 'functional', 'members', 'judged by', 'ε∞ / ionic / total', '± σ']
    table = make_table('Models; mean absolute error of the polycrystalline average', columns, lines, 4)
    for place in (0, 1, 6):
        table.columns[place].no_wrap = True
    return table


def _judged_by(card: ModelCard) -> str | None:
    """Return the rows whose figures say most: those that nothing was tuned on."""
    parts = [part for part, figures in card.metrics.items() if _of_targets(figures)]
    return 'test' if 'test' in parts else (parts[-1] if parts else None)


def _of_targets(figures: Any) -> dict[str, dict[str, Any]]:
    """Return the figures by target; empty where a card holds something else."""
    if not isinstance(figures, dict):
        return {}
    return {target: figures[target] for target in _TARGETS if isinstance(figures.get(target), dict)}


def metrics_table(card: ModelCard) -> Table:
    """Return what the model reached: one line for each part of the data and target; EwT in % of the crystals."""
    lines = [
        [part if first == 0 else '', target, *(figures.get(key) for key in FIGURES)]
        for part, targets in card.metrics.items()
        for first, (target, figures) in enumerate(_of_targets(targets).items())
    ]
    return make_table('Metrics', ['rows of', 'target', *FIGURES.values()], lines, 2)


def show_card(model: Known) -> None:
    """Print the card: metrics and coverage as tables, all else below."""
    from aiida_goectp.core.crystals.elements import symbols_of

    card = model.card
    show_table(model_table([model]))
    if any(_of_targets(figures) for figures in card.metrics.values()):
        show_table(metrics_table(card))
    table = coverage_table(
        {part: figures.get(COVERAGE) for part, figures in card.metrics.items() if isinstance(figures, dict)}
    )
    if table is not None:
        show_table(table)
    elif not card.uncertainty:
        how = 'the bare spread of its members' if card.members > 1 else 'no standard deviations'
        click.echo(f'uncertainty: not calibrated; it states {how}')
    click.echo(f'preset: {card.preset}')
    if card.elements:
        click.echo(f'elements, {len(card.elements)}: {" ".join(symbols_of(np.array(card.elements)))}')
    for name, value in _rest(card):
        click.echo(f'{name}: {value}')
    click.echo(f'hash: {model.content_hash}')


def _rest(card: ModelCard) -> Iterator[tuple[str, str]]:
    for name in ('architectures' if card.architectures else 'architecture', 'training', 'uncertainty'):
        if getattr(card, name):
            yield name, json.dumps(getattr(card, name), indent=2, ensure_ascii=False)
    others = {part: figures for part, figures in card.metrics.items() if not _of_targets(figures)}
    if others:
        yield 'further figures', json.dumps(others, indent=2, ensure_ascii=False)
    for name in ('licence', 'citation', 'notes'):
        if getattr(card, name):
            yield name, getattr(card, name)

"""``goectp info``."""

from __future__ import annotations

import json
from typing import Any

import click

from aiida_goectp.core.executable.status import ExecutableError, report_error
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('info',)


@click.command()
@click.argument('model', required=False)
@click.option('--json', 'as_json', is_flag=True, help='The whole card as one JSON object.')
def info(model: str | None, as_json: bool) -> None:
    """Describe a MODEL (a file, or the name of a shipped one); without one, list those that ship."""
    from aiida_goectp.core.formats.model_card import model_hash, read_card, resolve_model, shipped_models

    if model is None:
        for name in shipped_models():
            click.echo(name)
        return
    try:
        path = resolve_model(model)
        card = read_card(path)
    except FormatError as error:
        report_error(ExecutableError('bad_model', str(error)))
    if as_json:
        click.echo(json.dumps({'hash': model_hash(path), **card.model_dump()}))
        return
    click.echo(f'{card.name}: preset {card.preset}, targets {", ".join(card.targets)}, {card.members} member(s)')
    click.echo(f'hash        {model_hash(path)}')
    for words in backbones(card):
        click.echo(f'backbone    {words}')
    click.echo(f'functional  {card.functional}')
    click.echo(f'elements    {len(card.elements)} in the training set')
    for part, targets in card.metrics.items():
        for target, figures in (targets if isinstance(targets, dict) else {'': targets}).items():
            click.echo(f'{part} {target}: {_figures(figures)}'.replace(' :', ':'))
    for label, text in (('licence', card.licence), ('citation', card.citation), ('notes', card.notes)):
        if text:
            click.echo(f'{label:<11} {text}')


def backbones(card: ModelCard) -> list[str]:
    """Return the backbones in words, with the number of members that have each where they differ."""
    told = [f'{item.get("backbone")} {item.get("options")}' for item in map(card.architecture_of, range(card.members))]
    if not card.architectures:
        return told[:1]
    return [f'{told.count(words)} × {words}' for words in dict.fromkeys(told)]


def _figures(figures: Any) -> str:
    if not isinstance(figures, dict):
        return json.dumps(figures)
    return ', '.join(
        f'{k} {v:.3g}' if isinstance(v, int | float) else f'{k} {json.dumps(v)}' for k, v in figures.items()
    )

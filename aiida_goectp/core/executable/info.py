"""``goectp info``."""

from __future__ import annotations

import json
from typing import Any

import click

from aiida_goectp.core.executable.options import complete_model
from aiida_goectp.core.executable.status import ExecutableError, report_error
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import ModelCard, model_hash, read_card, resolve_model, shipped_models
from aiida_goectp.core.formats.terminal import echo, json_text

__all__ = ('info',)


@click.command()
@click.argument('model', required=False, shell_complete=complete_model)
@click.option('--json', 'as_json', is_flag=True, help='Print the whole card as one JSON object.')
def info(model: str | None, as_json: bool) -> None:
    """Describe a MODEL (a file, or the name of a shipped model); without one, list the shipped models."""
    if model is None:
        for name in shipped_models():
            echo(name)
        return
    try:
        path = resolve_model(model)
        card = read_card(path)
    except FormatError as error:
        report_error(ExecutableError('bad_model', str(error)))
    if as_json:
        echo(json_text({'hash': model_hash(path), **card.model_dump()}))
        return
    echo(f'{card.name}: preset {card.preset}, targets {", ".join(card.targets)}, {card.members} member(s)')
    echo(f'hash        {model_hash(path)}')
    for backbone in _backbones(card):
        echo(f'backbone    {backbone}')
    echo(f'functional  {card.functional}')
    echo(f'elements    {len(card.elements)} in the training set')
    for part, targets in card.metrics.items():
        for target, metrics in (targets if isinstance(targets, dict) else {'': targets}).items():
            echo(f'{part} {target}: {_format_metrics(metrics)}'.replace(' :', ':'))
    for label, content in (('licence', card.licence), ('citation', card.citation), ('notes', card.notes)):
        if content:
            echo(f'{label:<11} {content}', keep='\n')


def _backbones(card: ModelCard) -> list[str]:
    """Return backbone and options of the members; where they differ, with the number of members that have each."""
    each = [f'{item.get("backbone")} {item.get("options")}' for item in map(card.architecture_of, range(card.members))]
    if not card.architectures:
        return each[:1]
    return [f'{each.count(backbone)} × {backbone}' for backbone in dict.fromkeys(each)]


def _format_metrics(metrics: Any) -> str:
    if not isinstance(metrics, dict):
        return json.dumps(metrics)
    return ', '.join(
        f'{name} {value:.3g}' if isinstance(value, int | float) else f'{name} {json.dumps(value)}'
        for name, value in metrics.items()
    )

"""``goectp info``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from aiida_goectp.core.executable.options import complete_model
from aiida_goectp.core.executable.status import ExecutableError, report_error
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import ModelCard, model_hash, read_card, resolve_model, shipped_models
from aiida_goectp.core.formats.output_format import RAW, json_option, output_format
from aiida_goectp.core.formats.terminal import echo, json_text

__all__ = ('info',)

_ALIGNED = ('hash', 'backbone', 'functional', 'elements', 'licence', 'citation', 'notes')
"""labels whose contents are printed in one column"""


@click.command()
@click.argument('model', required=False, shell_complete=complete_model)
@json_option('Print the whole card as one JSON object.')
@RAW
def info(model: str | None) -> None:
    """Describe a MODEL (a file, or the name of a shipped model); without one, list the shipped models."""
    if model is None:
        echo(json_text(list(shipped_models())) if output_format() == 'json' else '\n'.join(shipped_models()), keep='\n')
        return
    try:
        path = resolve_model(model)
        card = read_card(path)
    except FormatError as error:
        report_error(ExecutableError('bad_model', str(error)))
    if output_format() == 'json':
        echo(json_text({'hash': model_hash(path), **card.model_dump()}))
    elif output_format() == 'raw':
        for label, content in _lines(card, model_hash(path)):
            echo(f'{label}\t{" ".join(content.split())}', keep='\t')
    else:
        for label, content in _lines(card, model_hash(path)):
            echo(f'{label:<11} {content}' if label in _ALIGNED else f'{label}: {content}', keep='\n')


def _lines(card: ModelCard, digest: str) -> Iterator[tuple[str, str]]:
    """Yield what is printed about a model, as label and content."""
    yield card.name, f'preset {card.preset}, targets {", ".join(card.targets)}, {card.members} member(s)'
    yield 'hash', digest
    for backbone in _backbones(card):
        yield 'backbone', backbone
    predicted, *others = card.architecture.get('functionals', []) or [card.functional]
    yield 'functional', f'{predicted}, trained on {", ".join(others)} as well' if others else predicted
    yield 'elements', f'{len(card.elements)} in the training set'
    for part, targets in card.metrics.items():
        for target, metrics in (targets if isinstance(targets, dict) else {'': targets}).items():
            yield f'{part} {target}'.strip(), _format_metrics(metrics)
    for label, content in (('licence', card.licence), ('citation', card.citation), ('notes', card.notes)):
        if content:
            yield label, content


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

"""Output of the commands that write a model."""

from __future__ import annotations

from pathlib import Path

from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.terminal import echo

__all__ = ('echo_metrics',)


def echo_metrics(card: ModelCard, output: Path) -> None:
    """Print the metrics on the test rows, and the path of the model."""
    for target, metrics in card.metrics.get('test', {}).items():
        numbers = [f'{name} {value:.3g}' for name, value in metrics.items() if isinstance(value, int | float)]
        if numbers:
            echo(f'test {target}: ' + ', '.join(numbers))
    echo(f'wrote {output}', err=True)

"""Output of the commands that write a model."""

from __future__ import annotations

import sys
from pathlib import Path

from aiida_goectp.core.formats.model_card import ModelCard

__all__ = ('echo_metrics',)


def echo_metrics(card: ModelCard, output: Path) -> None:
    """Print the metrics on the test rows, and the path of the model."""
    for target, metrics in card.metrics.get('test', {}).items():
        numbers = [f'{name} {value:.3g}' for name, value in metrics.items() if isinstance(value, int | float)]
        if numbers:
            print(f'test {target}: ' + ', '.join(numbers))
    print(f'wrote {output}', file=sys.stderr)

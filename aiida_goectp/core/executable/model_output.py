"""What a command that writes a model says in the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiida_goectp.core.formats.model_card import ModelCard

__all__ = ('echo_metrics',)


def echo_metrics(card: ModelCard, output: Path) -> None:
    """Print the figures on the test rows, and where the model lies."""
    for name, figures in card.metrics.get('test', {}).items():
        shown = [f'{key} {value:.3g}' for key, value in figures.items() if isinstance(value, int | float)]
        if shown:
            print(f'test {name}: ' + ', '.join(shown))
    print(f'wrote {output}', file=sys.stderr)

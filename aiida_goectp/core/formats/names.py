"""Names that files, nodes and the command line share; free of numpy, so that help texts load quickly."""

from __future__ import annotations

__all__ = ('PARTS', 'SPLIT_PARTS')

PARTS = ('electronic', 'ionic', 'total')
"""parts of the static permittivity: clamped ions, ionic contribution, and their sum"""

SPLIT_PARTS = ('train', 'validation', 'test')
"""parts of a split"""

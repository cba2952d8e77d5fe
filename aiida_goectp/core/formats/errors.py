"""Error of all readers, in a module that imports nothing."""

from __future__ import annotations

__all__ = ('FormatError',)


class FormatError(ValueError):
    """Invalid file or settings; the message names the place, the error and the remedy."""

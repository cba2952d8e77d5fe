"""Cores that this process may use."""

from __future__ import annotations

import os

__all__ = ('available_cores',)


def available_cores() -> int:
    """Return the number of cores that this process may use, as limited by a scheduler."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1

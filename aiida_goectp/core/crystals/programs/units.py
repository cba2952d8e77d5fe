"""Units of length."""

from __future__ import annotations

__all__ = ('BOHR',)

BOHR = 0.529177210903
"""Å, CODATA 2018"""

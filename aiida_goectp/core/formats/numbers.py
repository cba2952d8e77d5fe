"""Numbers as text, and numbers in options of commands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import click

__all__ = ('FiniteFloat', 'fortran_number', 'with_deviation', 'with_deviations')

_MAX_DECIMALS = 4
_MAX_NUMBER = 1e12  # no quantity that is read can be larger; a larger number is damaged


class FiniteFloat(click.FloatRange):
    """Type of an option: a finite number within bounds. ``click.FloatRange`` admits NaN within any bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f'{value!r} is not a finite number', param, ctx)
        return number


def fortran_number(word: str) -> float:
    """Return a number in the output of a Fortran program, NaN if it is damaged: ``****``, ``NaN``, two points."""
    try:
        value = float(word)
    except ValueError:
        return math.nan
    return value if abs(value) < _MAX_NUMBER else math.nan


def with_deviation(value: float | None, deviation: float | None = None, plain: str = '.4g') -> str:
    """Return text such as ``12.3 ± 1.1``: two digits of the standard deviation, and equal decimals of the value.

    Two numbers of which all digits are zero are ``0``.

    :param value: None or NaN gives an empty text
    :param deviation: omitted if None or NaN
    :param plain: format of a value without standard deviation
    """
    if value is None or math.isnan(value):
        return ''
    if deviation is None or math.isnan(deviation):
        return format(value, plain)
    decimals = 1 - math.floor(math.log10(deviation)) if deviation > 0 else _MAX_DECIMALS
    decimals = min(max(decimals, 0), _MAX_DECIMALS)
    if max(abs(value), deviation) < 0.5 * 10**-_MAX_DECIMALS:  # as the ionic part of diamond, by symmetry
        return '0'
    return f'{value:.{decimals}f} ± {deviation:.{decimals}f}'


def with_deviations(values: Iterable[float], deviations: Iterable[float], plain: str = '.4g') -> str:
    """Return several values with their standard deviations, separated by commas."""
    pairs = zip(values, deviations, strict=True)
    return ', '.join(with_deviation(float(value), float(deviation), plain) for value, deviation in pairs)

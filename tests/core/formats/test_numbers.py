"""Numbers with standard deviations as text."""

import math

import click
import pytest

from aiida_goectp.core.formats.numbers import FiniteFloat, with_deviation, with_deviations


@pytest.mark.parametrize(
    ('value', 'deviation', 'text'),
    [
        (12.3456, 1.149, '12.3 ± 1.1'),
        (12.3456, 0.0962, '12.346 ± 0.096'),
        (212.3456, 41.5, '212 ± 42'),
        (1523.4, 310.0, '1523 ± 310'),
        (3.0, 0.99999, '3.00 ± 1.00'),
        (3.0, 1e-7, '3.0000 ± 0.0000'),
        (3.0, 0.0, '3.0000 ± 0.0000'),
        (0.0, 0.0, '0'),
        (-1e-12, 4e-5, '0'),
        (0.0, 1.0, '0.0 ± 1.0'),
        (3.14159, math.nan, '3.142'),
        (3.14159, None, '3.142'),
        (math.nan, 0.3, ''),
        (None, None, ''),
    ],
)
def test_number_of_digits(value, deviation, text):
    assert with_deviation(value, deviation) == text


def test_several_values():
    assert with_deviations([1.5, 2.5], [0.1, math.nan], '.3f') == '1.50 ± 0.10, 2.500'


@pytest.mark.parametrize('word', ['nan', '-nan', 'inf', '-inf', '1e999', '-0.5', 'two'])
def test_options_are_finite_numbers(word):
    with pytest.raises(click.BadParameter):
        FiniteFloat(min=0).convert(word, None, None)
    assert FiniteFloat(min=0).convert('0.25', None, None) == 0.25

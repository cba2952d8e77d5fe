"""Conversion of parameters."""

from aiida_goectp.cli.params import ElementsParam


def test_elements_are_separated_by_commas_or_spaces():
    for value in ('Ba,Ti, O', 'Ba Ti O', ['Ba', 'Ti', 'O']):
        assert ElementsParam().convert(value, None, None) == ['Ba', 'Ti', 'O']

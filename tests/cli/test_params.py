"""Choices and conversion of parameters."""

from aiida_goectp.cli.params import SPLIT_PART, TENSOR_PART, ElementsParam
from aiida_goectp.core.datasets.splits import SPLIT_PARTS
from aiida_goectp.core.dielectric.tensors import PARTS


def test_choices_are_those_of_core():
    assert tuple(SPLIT_PART.choices) == tuple(SPLIT_PARTS)
    assert tuple(TENSOR_PART.choices) == tuple(PARTS)


def test_elements_are_separated_by_commas_or_spaces():
    for value in ('Ba,Ti, O', 'Ba Ti O', ['Ba', 'Ti', 'O']):
        assert ElementsParam().convert(value, None, None) == ['Ba', 'Ti', 'O']

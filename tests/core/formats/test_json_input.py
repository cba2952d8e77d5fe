"""JSON: depth and errors."""

from __future__ import annotations

import sys

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import MAX_DEPTH, parse_json


def test_content():
    assert parse_json('{"a": [1, null]}') == {'a': [1, None]}
    assert parse_json('"é"'.encode('utf-16')) == 'é'


@pytest.mark.parametrize('text', ['', '{', b'\xff', '{"a": 1}x', '9' * 5000])
def test_invalid_json_is_named(text):
    with pytest.raises(FormatError, match='card: not valid JSON'):
        parse_json(text, 'card')


@pytest.mark.parametrize('text', ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]'])
def test_repeated_keys_are_refused(text):
    with pytest.raises(FormatError, match=r"card.*'a'"):
        parse_json(text, 'card')


@pytest.mark.parametrize('start', ['[', '{"a":', '{"b": 1, "a": ['])
def test_depth(start):
    end = ''.join({'[': ']', '{': '}'}[char] for char in reversed(start) if char in '[{')
    levels = MAX_DEPTH // len(end)
    assert parse_json(start * levels + '1' + end * levels)
    for deeper in (levels + 1, 500, 100_000):
        with pytest.raises(FormatError, match='deeper than 64'):
            parse_json(start * deeper + '1' + end * deeper)


def test_depth_when_a_library_has_raised_the_limit_of_recursion():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as the import of symfc does
    try:
        for text in ('[' * 100_000, '{"a":' * 100_000):
            with pytest.raises(FormatError, match='deeper than 64'):
                parse_json(text)
        assert sys.getrecursionlimit() == 100_000
    finally:
        sys.setrecursionlimit(before)

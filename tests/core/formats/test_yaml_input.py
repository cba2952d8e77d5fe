"""YAML: aliases, size, depth and values."""

from __future__ import annotations

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.yaml_input import read_yaml

LAUGHS = 'a0: &a0 [x, x]\n' + ''.join(f'a{k}: &a{k} [{", ".join([f"*a{k - 1}"] * 10)}]\n' for k in range(1, 12))


def test_content_and_lines():
    tree, values = read_yaml('a: 1\nb:\n  c: [x, 2.5]\n', 'some.yaml')
    assert values == {'a': 1, 'b': {'c': ['x', 2.5]}}
    assert [key.start_mark.line for key, _ in tree.value] == [0, 1]
    assert read_yaml('', 'some.yaml') == (None, None)


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        (LAUGHS, r'some.yaml:2: alias \*a0'),
        ('a: &a [*a]', r'some.yaml:1: alias \*a'),
        ('a: {<<: &b {c: 1}}\nd: {<<: *b}', r'some.yaml:2: alias \*b'),
        ('[' * 5000, 'some.yaml:1: nested deeper'),
        ('\n'.join(' ' * k + 'a:' for k in range(100)), 'some.yaml:33: nested deeper'),
        ('a' * 300_000, '300000 characters'),
        ('a: [', 'invalid YAML'),
        ('a: [b\nc: 2', 'some.yaml:2: invalid YAML'),
        ('a: \x01', 'some.yaml: invalid YAML'),
        ('a: {b: 1}\nc: 2\na: {d: 3}', "some.yaml:3: the key 'a' is already in line 1"),
        ('- {b: 1, c: {e: 1, e: 1}}', "some.yaml:1: the key 'e'"),
        ('a: 2024-99-99', 'invalid value'),
        ('? [a]\n: 1', 'invalid YAML'),
        ('a: !!python/object/apply:os.system [ls]', 'invalid YAML'),
    ],
)
def test_refused(text, found):
    with pytest.raises(FormatError, match=found):
        read_yaml(text, 'some.yaml')

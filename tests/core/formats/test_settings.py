"""Validation of settings: the message names the wrong key, the error and what is allowed."""

from __future__ import annotations

import pytest
from pydantic import Field

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import Settings, read_settings


class Inner(Settings):
    kappa: float = Field(default=1.0, ge=0)
    name: str = 'a'


class Outer(Settings):
    number: int = Field(ge=1)
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()


def test_valid_settings():
    found = read_settings(Outer, {'number': 2, 'inner': {'kappa': 2}}, 'campaign')
    assert (found.number, found.inner.kappa) == (2, 2.0)
    assert read_settings(Outer, found, 'campaign') == found
    assert read_settings(Outer, found.model_dump_json(), 'campaign') == found


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'number': 1, 'numbr': 2}, r"^campaign\.numbr: .*'number'\?.*: number, inner, many$"),
        ({'number': 1, 'inner': {'kapa': 2}}, r"^campaign\.inner\.kapa: .*'kappa'\?"),
        ({'number': 1, 'many': [{}, {'x': 2}]}, r'^campaign\.many\.1\.x: .*: kappa, name$'),
        ({}, r'^campaign\.number: missing'),
        ({'number': 0}, r'^campaign\.number: .* 1, found 0$'),
        ({'number': 1, 'inner': {'kappa': float('inf')}}, r'^campaign\.inner\.kappa: .*found inf$'),
        ({'number': 'x' * 100}, 'x{58}…$'),
        ({'number': {'a': 1}}, r'^campaign\.number: '),
        ('{', '^campaign: Invalid JSON'),
        ([], r'^campaign: .*found \[\]$'),
    ],
)
def test_wrong_keys_are_named(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(Outer, values, 'campaign')


def test_every_wrong_key_is_named():
    with pytest.raises(FormatError, match=r'campaign\.inner\.kappa: .*; campaign\.other: '):
        read_settings(Outer, {'number': 1, 'other': 1, 'inner': {'kappa': -1}}, 'campaign')

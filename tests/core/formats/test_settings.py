"""Messages on wrong settings: each names the key, what is wrong with it, and what there is."""

from __future__ import annotations

import pytest
from pydantic import Field

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import Settings, read_settings


class _Inner(Settings):
    kappa: float = Field(default=1.0, ge=0)
    name: str = 'a'


class _Outer(Settings):
    number: int = Field(ge=1)
    inner: _Inner | None = None
    many: tuple[_Inner, ...] = ()


def test_good_settings_come_back():
    found = read_settings(_Outer, {'number': 2, 'inner': {'kappa': 2}}, 'campaign')
    assert (found.number, found.inner.kappa) == (2, 2.0)
    assert read_settings(_Outer, found, 'campaign') == found
    assert read_settings(_Outer, found.model_dump_json(), 'campaign') == found


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (
            {'number': 1, 'numbr': 2},
            r"campaign.numbr: no such setting \(did you mean 'number'\?\); there are: number, inn",
        ),
        ({'number': 1, 'inner': {'kapa': 2}}, r"campaign.inner.kapa: no such setting \(did you mean 'kappa'\?\)"),
        ({'number': 1, 'many': [{}, {'x': 2}]}, r'campaign.many.1.x: no such setting; there are: kappa, name'),
        ({}, 'campaign.number: is missing; give a value$'),
        ({'number': 0}, 'campaign.number: should be greater than or equal to 1, found 0$'),
        ({'number': 1, 'inner': {'kappa': float('inf')}}, 'campaign.inner.kappa: should be a finite number, found inf'),
        ({'number': 'x' * 100}, "found 'x{58}…$"),
        ({'number': {'a': 1}}, 'found an object of settings$'),
        ('{', 'campaign: Invalid JSON'),
        ([], 'campaign: should be a valid dictionary'),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(_Outer, values, 'campaign')


def test_every_wrong_key_is_named():
    with pytest.raises(FormatError, match=r'campaign.inner.kappa: .*; campaign.other: '):
        read_settings(_Outer, {'number': 1, 'other': 1, 'inner': {'kappa': -1}}, 'campaign')

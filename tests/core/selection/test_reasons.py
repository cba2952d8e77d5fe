"""Reasons of rankings and picks: codes, their text, and text parsed back into codes."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.selection.reasons import (
    Reason,
    ReasonCode,
    count_reasons,
    join_reasons,
    make_reason,
    parse_reasons,
)

VALUES = {
    'failure': 'unreadable_file',
    'message': 'a.cif: cut off',
    'element': 'Si',
    'elements': 'Na, Si',
    'id': 'mp-1',
    'outcome': 'verified',
    'acquisition': 'greedy',
    'place': 3,
    'candidates': 12,
    'limit': 1000.0,
    'probability': 0.125,
    'column': 'band_gap',
    'bound': -1.5e-3,
    'merit': 'refractive_index',
}


@pytest.mark.parametrize('code', [code for code in ReasonCode if code is not ReasonCode.OTHER])
def test_text_is_parsed_back(code):
    reason = make_reason(code, **VALUES)
    assert parse_reasons(reason.text) == [reason]
    assert reason.code is code


def test_several_reasons_of_a_row():
    first = make_reason(ReasonCode.ABOVE_MAXIMUM, column='band_gap', bound=3)
    second = make_reason(ReasonCode.PREDICTION_FAILED, message='out of memory; band_gap missing')
    text = join_reasons([first, second])
    assert text == 'band_gap > 3; prediction failed: out of memory, band_gap missing'
    assert parse_reasons(text) == [first, second]
    assert parse_reasons('') == []


def test_details_are_shortened():
    assert len(make_reason(ReasonCode.IMPORT_FAILED, failure='x', message='y' * 999).text) == 200
    exact = make_reason(ReasonCode.PREDICTION_FAILED, message='z' * (200 - len('prediction failed: ')))
    assert (len(exact.text), exact.text[-1]) == (200, 'z')


def test_unknown_text_keeps_kind_and_detail():
    assert parse_reasons('beyond repair: twice') == [Reason(ReasonCode.OTHER, 'beyond repair', 'twice')]


def test_counts_by_kind():
    column = np.array(
        ['band_gap < 1', '', 'prediction failed: a; band_gap < 1', 'prediction failed: b', 'band_gap < 1']
    )
    assert list(count_reasons([column[:2], column[2:]]).items()) == [('band_gap < 1', 3), ('prediction failed', 2)]

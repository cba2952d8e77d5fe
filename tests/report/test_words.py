"""Text of codes and numbers."""

import pytest

from aiida_goectp.report.words import GATE_RESULTS, counted, duration, percent, spaced


def test_gate_results_are_distinct():
    assert len(set(GATE_RESULTS.values())) == 3


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (counted(1, 'round'), '1 round'),
        (counted(0, 'round'), '0 rounds'),
        (duration(3725.9), '1:02:05'),
        (percent(0.104), '10%'),
        (percent(0.104, '+'), '+10%'),
        (percent(None), ''),
        (spaced('unreadable_file'), 'unreadable file'),
    ],
)
def test_numbers(text, expected):
    assert text == expected

"""Damaged copies of the output of a program, for tests that its parser refuses or reads each of them."""

from __future__ import annotations

import re

from hypothesis import strategies as st

__all__ = ('damaged', 'without_or_with_two')

_NUMBER = re.compile(r'-?\d+\.?\d*(?:[ED][+-]\d+)?')
_WORDS = ('****', 'nan', 'NaN', '1e400', '-1e400', '1e300', '0', '0.0', '-7', '1.2.3', '--', '9' * 5000, '')


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """Return the text after one to four changes: truncated, lines deleted, repeated or swapped, numbers or characters
    replaced."""
    for _ in range(draw(st.integers(1, 4))):
        text = draw(st.sampled_from((_truncated, _lines, _number, _characters)))(draw, text)
    return text


def _truncated(draw: st.DrawFn, text: str) -> str:
    return text[: draw(st.integers(0, len(text)))]


def _lines(draw: st.DrawFn, text: str) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    first, second = sorted(draw(st.tuples(st.integers(0, len(lines) - 1), st.integers(0, len(lines) - 1))))
    part = lines[first : min(second + 1, first + draw(st.integers(1, 8)))]
    change = draw(st.sampled_from(('delete', 'repeat', 'swap')))
    if change == 'swap':
        lines[first], lines[second] = lines[second], lines[first]
        return ''.join(lines)
    return ''.join(lines[:first] + part * (0 if change == 'delete' else 2) + lines[first + len(part) :])


def _number(draw: st.DrawFn, text: str) -> str:
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    match = draw(st.sampled_from(found))
    return text[: match.start()] + draw(st.sampled_from(_WORDS)) + text[match.end() :]


def _characters(draw: st.DrawFn, text: str) -> str:
    if not text:
        return text
    place = draw(st.integers(0, len(text) - 1))
    return text[:place] + draw(st.text(max_size=3)) + text[place + draw(st.integers(1, 3)) :]


def without_or_with_two(text: str, first: int = 0) -> list[str]:
    """Return a copy without each line, and one with each line twice.

    :param first: first line that is changed
    """
    lines = text.splitlines(keepends=True)
    rows = range(first, len(lines))
    return [''.join(lines[:row] + [lines[row]] * times + lines[row + 1 :]) for row in rows for times in (0, 2)]

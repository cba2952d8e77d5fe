"""Codes of the reasons why a row of a ranking or of picks is in or out, and their text.

The column ``reason`` of both tables contains text: ``KIND`` or ``KIND: DETAIL``, several reasons of a row joined by
``; ``. The kind is the same for all rows with the same reason, the detail is about the single row. Only this module
writes or parses that text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import numpy as np

__all__ = ('Reason', 'ReasonCode', 'count_reasons', 'join_reasons', 'make_reason', 'parse_reasons')

_MAX_TEXT = 200  # characters; the longest text sets the width of the column
_SEPARATOR = '; '


class ReasonCode(Enum):
    """Why a row is in or out."""

    IMPORT_FAILED = 'import_failed'
    PREDICTION_FAILED = 'prediction_failed'
    NOT_PREDICTED_AGAIN = 'not_predicted_again'
    UNSEEN_ELEMENT = 'unseen_element'
    LACKS_ELEMENT = 'lacks_element'
    CONTAINS_ELEMENT = 'contains_element'
    LACKS_ALL_ELEMENTS = 'lacks_all_elements'
    OTHER_ELEMENTS = 'other_elements'
    VERIFIED = 'verified'
    FAILED_PERMANENTLY = 'failed_permanently'
    COPY = 'copy'
    EQUAL_CRYSTAL = 'equal_crystal'
    NO_SCORE = 'no_score'
    NEAR_DUPLICATE = 'near_duplicate'
    PICKED = 'picked'
    NOT_PICKED = 'not_picked'
    SOFT_MODE = 'soft_mode'
    BELOW_STABILITY = 'below_stability'
    STABILITY_MISSING = 'stability_missing'
    PROPERTY_MISSING = 'property_missing'
    PROPERTY_NEGATIVE = 'property_negative'
    BELOW_MINIMUM = 'below_minimum'
    ABOVE_MAXIMUM = 'above_maximum'
    NO_VALUE = 'no_value'
    OTHER = 'other'
    """text that this version does not write"""


# Parsing tries the codes in this order; kinds that begin with a free name come last.
_TEXTS: dict[ReasonCode, tuple[str, str]] = {
    ReasonCode.IMPORT_FAILED: ('import failed ({failure})', '{message}'),
    ReasonCode.PREDICTION_FAILED: ('prediction failed', '{message}'),
    ReasonCode.NOT_PREDICTED_AGAIN: ('not predicted again', ''),
    ReasonCode.UNSEEN_ELEMENT: ('element not in the training set', ''),
    ReasonCode.LACKS_ELEMENT: ('lacks {element}', ''),
    ReasonCode.CONTAINS_ELEMENT: ('contains {element}', ''),
    ReasonCode.LACKS_ALL_ELEMENTS: ('none of {elements}', ''),
    ReasonCode.OTHER_ELEMENTS: ('elements beyond {elements}', ''),
    ReasonCode.VERIFIED: ('verified', ''),
    ReasonCode.FAILED_PERMANENTLY: ('failed permanently', '{message}'),
    ReasonCode.COPY: ('copy', 'the same crystal as {id}, {outcome}'),
    ReasonCode.EQUAL_CRYSTAL: ('equal crystal', 'ranked as {id}'),
    ReasonCode.NO_SCORE: ('no value of {acquisition}', 'its standard deviation or its band gap is unknown'),
    ReasonCode.NEAR_DUPLICATE: ('near-duplicate', 'of {id}, picked before it'),
    ReasonCode.PICKED: ('picked', 'place {place} of {candidates} by {acquisition}'),
    ReasonCode.NOT_PICKED: ('not picked', 'place {place} of {candidates} by {acquisition}'),
    ReasonCode.SOFT_MODE: ('soft mode (total > {limit:g})', ''),
    ReasonCode.BELOW_STABILITY: ('probability of stability < {bound:g}', '{probability:.4g}'),
    ReasonCode.STABILITY_MISSING: ('probability of stability missing', ''),
    ReasonCode.PROPERTY_MISSING: ('{column} missing', ''),
    ReasonCode.PROPERTY_NEGATIVE: ('{column} negative', ''),
    ReasonCode.BELOW_MINIMUM: ('{column} < {bound:g}', ''),
    ReasonCode.ABOVE_MAXIMUM: ('{column} > {bound:g}', ''),
    ReasonCode.NO_VALUE: ('{merit} has no value', ''),
}


class Reason(NamedTuple):
    """One reason of one row."""

    code: ReasonCode
    kind: str
    """text shared by all rows with this reason"""
    detail: str = ''
    """text about the single row"""

    @property
    def text(self) -> str:
        """Text of the column ``reason``."""
        return f'{self.kind}: {self.detail}' if self.detail else self.kind


def make_reason(code: ReasonCode, **values: object) -> Reason:
    """Return a reason; its detail is shortened so that the text has at most 200 characters.

    :param values: names and numbers in the text of this code
    """
    kind, detail = (text.format(**values).replace(_SEPARATOR, ', ') for text in _TEXTS[code])
    room = _MAX_TEXT - len(kind) - len(': ')
    return Reason(code, kind, detail if len(detail) <= room else detail[: max(room - 1, 0)] + '…')


def join_reasons(reasons: Iterable[Reason]) -> str:
    """Return the text of a row, empty without a reason."""
    return _SEPARATOR.join(reason.text for reason in reasons)


def _pattern(kind: str, detail: str) -> re.Pattern[str]:
    names = {'element': '[A-Z][a-z]?', 'bound': r'[-+.\dinfe]+', 'limit': r'[-+.\de]+'}
    parts = re.split(r'\{(\w+)[^}]*\}', kind)
    text = ''.join(names.get(part, '.+?') if place % 2 else re.escape(part) for place, part in enumerate(parts))
    return re.compile(f'({text})' + ('(?:: (.*))?' if detail else ''), re.DOTALL)


_PATTERNS = {code: _pattern(*texts) for code, texts in _TEXTS.items()}


def parse_reasons(text: str) -> list[Reason]:
    """Return the reasons of a row from the text of the column, none for an empty text.

    Text of another version has the code :attr:`ReasonCode.OTHER`.
    """
    return [_parse(part) for part in text.split(_SEPARATOR) if part]


def _parse(text: str) -> Reason:
    for code, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(text):
            return Reason(code, *(part or '' for part in match.groups()))
    kind, _, detail = text.partition(': ')
    return Reason(ReasonCode.OTHER, kind, detail)


def count_reasons(blocks: Iterable[np.ndarray]) -> dict[str, int]:
    """Return the number of rows of each kind of reason, most frequent first; a row with two reasons counts twice.

    :param blocks: texts of the column ``reason``, in one block or more
    """
    counts: Counter[str] = Counter()
    for block in blocks:
        for text, number in Counter(block.tolist()).items():
            for reason in parse_reasons(text):
                counts[reason.kind] += number
    return dict(counts.most_common())

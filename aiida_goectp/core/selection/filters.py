"""Conditions on properties, elements and size by which crystals are candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, SYMBOLS
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.names import GAP_COLUMN, HULL_COLUMN, LARGEST_GAP
from aiida_goectp.core.selection.reasons import Reason, ReasonCode, make_reason

__all__ = ('Filters',)

_ATOMS = 'number of atoms'


class Filters(BaseModel):
    """Conditions that a crystal must meet; a condition that is not given admits every crystal. Bounds are inclusive."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    min_gap: float | None = Field(default=None, ge=0, allow_inf_nan=False, description='eV, column band_gap')
    max_gap: float | None = Field(default=None, ge=0, allow_inf_nan=False, description='eV, column band_gap')
    max_hull: float | None = Field(default=None, allow_inf_nan=False, description='eV/atom, column e_above_hull')
    elements_all: tuple[str, ...] = Field(default=(), description='the crystal contains all of these elements')
    elements_any: tuple[str, ...] = Field(default=(), description='the crystal contains at least one of these elements')
    elements_only: tuple[str, ...] = Field(default=(), description='the crystal contains no other elements')
    elements_none: tuple[str, ...] = Field(default=(), description='the crystal contains none of these elements')
    min_atoms: int | None = Field(default=None, ge=1, description='atoms in the cell as given')
    max_atoms: int | None = Field(default=None, ge=1, description='atoms in the cell as given')
    unseen_elements: bool = Field(
        default=False, description='rank also crystals with an element that is not in the training set of the model'
    )
    ranges: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description='name of a property column: [lowest, highest], null or infinite for no bound'
    )

    @field_validator('elements_all', 'elements_any', 'elements_only', 'elements_none')
    @classmethod
    def _are_elements(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [symbol for symbol in symbols if symbol not in SYMBOLS[1:]]
        if unknown:
            raise ValueError(f'unknown chemical element: {", ".join(map(repr, unknown))}')
        return tuple(sorted(set(symbols), key=ATOMIC_NUMBERS.__getitem__))

    @field_validator('ranges')
    @classmethod
    def _without_infinity(
        cls, ranges: dict[str, tuple[float | None, float | None]]
    ) -> dict[str, tuple[float | None, float | None]]:
        for name, (low, high) in ranges.items():
            if low == np.inf or high == -np.inf:
                raise ValueError(f'no crystal can pass: {name} between {low} and {high}')
        return {
            name: (None if low == -np.inf else low, None if high == np.inf else high)
            for name, (low, high) in ranges.items()
        }

    @model_validator(mode='after')
    def _can_be_met(self) -> Filters:
        for name, (low, high) in self.bounds().items():
            if low is not None and high is not None and low > high:
                raise ValueError(f'no crystal can pass: {name} between {low} and {high}')
            if any(bound is not None and np.isnan(bound) for bound in (low, high)):
                raise ValueError(f'a bound of {name} is NaN')
        low, high = self.bounds().get(GAP_COLUMN, (None, None))
        if (low or 0.0) > LARGEST_GAP or (high is not None and high < 0):
            raise ValueError(f'no crystal can pass: {GAP_COLUMN} between {low} and {high} eV')
        self._check_elements()
        return self

    def _check_elements(self) -> None:
        """Check that the conditions on elements can be met together.

        :raises ValueError: they cannot
        """
        needed, allowed = set(self.elements_all), set(self.elements_only or SYMBOLS[1:]) - set(self.elements_none)
        any_of = set(self.elements_any)
        if needed - allowed:
            both = ', '.join(sorted(needed - allowed))
            raise ValueError(f'no crystal can pass: {both} is both required and excluded')
        if not allowed:
            raise ValueError('no crystal can pass: elements_none contains all of elements_only')
        if any_of and not any_of & allowed:
            raise ValueError(f'no crystal can pass: all of elements_any are excluded ({", ".join(self.elements_any)})')
        fewest = len(needed) + bool(any_of and not any_of & needed)
        if self.max_atoms is not None and self.max_atoms < fewest:
            raise ValueError(
                f'no crystal can pass: {fewest} elements are required in {self.max_atoms} atoms (max_atoms)'
            )

    def bounds(self) -> dict[str, tuple[float | None, float | None]]:
        """Return the bounds of each column, those of the named fields combined with those of ``ranges``."""
        named = {
            GAP_COLUMN: (self.min_gap, self.max_gap),
            HULL_COLUMN: (None, self.max_hull),
            _ATOMS: (self.min_atoms, self.max_atoms),
        }
        bounds = {name: pair for name, pair in named.items() if pair != (None, None)}
        for name, (low, high) in self.ranges.items():
            first = bounds.get(name, (None, None))
            lows = [bound for bound in (low, first[0]) if bound is not None]
            highs = [bound for bound in (high, first[1]) if bound is not None]
            bounds[name] = (max(lows, default=None), min(highs, default=None))
        return bounds

    @property
    def columns(self) -> tuple[str, ...]:
        """Property columns of all conditions."""
        return tuple(name for name in self.bounds() if name != _ATOMS)

    def check_columns(self, properties: Mapping[str, np.ndarray]) -> None:
        """Check that the property columns of all conditions exist and contain numbers.

        :param properties: name → (n,) of the crystals
        :raises FormatError: a missing column, or one of text
        """
        for name in self.columns:
            if name not in properties:
                have = ', '.join(sorted(properties)) or 'none'
                raise FormatError(f'filters: the crystals have no property {name!r}; available: {have}')
            if properties[name].dtype.kind not in 'fiub':
                raise FormatError(f'filters: the property {name!r} contains text, not numbers')

    def passes(self, crystals: CrystalSet) -> np.ndarray:
        """Return (n,) true for the crystals that meet all conditions.

        :raises FormatError: as :meth:`check_columns`
        """
        return np.array([not reasons for reasons in self.reasons(crystals)], dtype=bool).reshape(-1)

    def reasons(self, crystals: CrystalSet) -> list[list[Reason]]:
        """Return the conditions that each of n crystals does not meet, empty for a crystal that passes.

        :raises FormatError: as :meth:`check_columns`
        """
        self.check_columns(crystals.properties)
        found: list[list[Reason]] = [[] for _ in range(len(crystals))]
        for name, (low, high) in self.bounds().items():
            values = crystals.atom_counts if name == _ATOMS else crystals.properties[name]
            values = values.astype(np.float64)
            _add(found, np.isnan(values), ReasonCode.PROPERTY_MISSING, column=name)
            if low is not None:
                _add(found, values < low, ReasonCode.BELOW_MINIMUM, column=name, bound=low)
            if high is not None:
                _add(found, values > high, ReasonCode.ABOVE_MAXIMUM, column=name, bound=high)
        self._add_element_reasons(found, crystals)
        return found

    def _add_element_reasons(self, found: list[list[Reason]], crystals: CrystalSet) -> None:
        contains = np.zeros((len(crystals), len(SYMBOLS)), dtype=bool)
        contains[np.repeat(np.arange(len(crystals)), crystals.atom_counts), crystals.atomic_numbers] = True
        for symbol in self.elements_all:
            _add(found, ~contains[:, ATOMIC_NUMBERS[symbol]], ReasonCode.LACKS_ELEMENT, element=symbol)
        for symbol in self.elements_none:
            _add(found, contains[:, ATOMIC_NUMBERS[symbol]], ReasonCode.CONTAINS_ELEMENT, element=symbol)
        if self.elements_any:
            lacking = ~contains[:, _numbers(self.elements_any)].any(axis=1)
            _add(found, lacking, ReasonCode.LACKS_ALL_ELEMENTS, elements=', '.join(self.elements_any))
        if self.elements_only:
            others = np.ones(len(SYMBOLS), dtype=bool)
            others[_numbers(self.elements_only)] = False
            beyond = contains[:, others].any(axis=1)
            _add(found, beyond, ReasonCode.OTHER_ELEMENTS, elements=', '.join(self.elements_only))


def _numbers(symbols: Iterable[str]) -> list[int]:
    return [ATOMIC_NUMBERS[symbol] for symbol in symbols]


def _add(found: list[list[Reason]], mask: np.ndarray | np.bool_, code: ReasonCode, **values: object) -> None:
    """Add one reason to the rows of a mask."""
    reason = make_reason(code, **values)
    for row in np.flatnonzero(mask):
        found[row].append(reason)

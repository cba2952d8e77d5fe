"""Which crystals are considered at all, by their properties, elements and size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, SYMBOLS
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('GAP_COLUMN', 'HULL_COLUMN', 'Filters')

GAP_COLUMN, HULL_COLUMN = 'band_gap', 'e_above_hull'


class Filters(BaseModel):
    """Conditions that a crystal has to meet; those not given admit everything. Bounds are inclusive."""

    model_config = ConfigDict(extra='forbid', frozen=True)

    min_gap: float | None = Field(default=None, ge=0, allow_inf_nan=False, description='eV, of the column band_gap')
    max_gap: float | None = Field(default=None, ge=0, allow_inf_nan=False, description='eV, of the column band_gap')
    max_hull: float | None = Field(default=None, allow_inf_nan=False, description='eV/atom, column e_above_hull')
    elements_all: tuple[str, ...] = Field(default=(), description='the crystal holds each of them')
    elements_any: tuple[str, ...] = Field(default=(), description='the crystal holds one of them at least')
    elements_only: tuple[str, ...] = Field(default=(), description='the crystal holds no element but these')
    elements_none: tuple[str, ...] = Field(default=(), description='the crystal holds none of them')
    min_atoms: int | None = Field(default=None, ge=1, description='in the cell as given')
    max_atoms: int | None = Field(default=None, ge=1, description='in the cell as given')
    unseen_elements: bool = Field(
        default=False, description='rank also crystals that hold an element which the training set of the model lacks'
    )
    ranges: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description='name of a property column: [lowest, highest], null for no bound'
    )

    @field_validator('elements_all', 'elements_any', 'elements_only', 'elements_none')
    @classmethod
    def _known(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [symbol for symbol in symbols if symbol not in SYMBOLS[1:]]
        if unknown:
            raise ValueError(f'no chemical element: {", ".join(map(repr, unknown))}')
        return tuple(sorted(set(symbols), key=ATOMIC_NUMBERS.__getitem__))

    @model_validator(mode='after')
    def _possible(self) -> Filters:
        for name, (low, high) in self._bounds().items():
            if low is not None and high is not None and low > high:
                raise ValueError(f'nothing can pass: {name} between {low} and {high}')
            if any(bound is not None and np.isnan(bound) for bound in (low, high)):
                raise ValueError(f'a bound of {name} is NaN')
        both = set(self.elements_all) & set(self.elements_none)
        outside = set(self.elements_all) - set(self.elements_only) if self.elements_only else set()
        if both or outside:
            raise ValueError(f'nothing can pass: {", ".join(sorted(both | outside))} is both demanded and excluded')
        return self

    def _bounds(self) -> dict[str, tuple[float | None, float | None]]:
        """Return the bounds of every column, those of the named fields and of ``ranges`` joined."""
        named = {
            GAP_COLUMN: (self.min_gap, self.max_gap),
            HULL_COLUMN: (None, self.max_hull),
            'number of atoms': (self.min_atoms, self.max_atoms),
        }
        bounds = {name: pair for name, pair in named.items() if pair != (None, None)}
        for name, (low, high) in self.ranges.items():
            first = bounds.get(name, (None, None))
            lows = [bound for bound in (low, first[0]) if bound is not None]
            highs = [bound for bound in (high, first[1]) if bound is not None]
            bounds[name] = (max(lows, default=None), min(highs, default=None))
        return bounds

    def check_columns(self, properties: Mapping[str, np.ndarray]) -> None:
        """Refuse filters on columns that the crystals lack altogether, before anything is computed.

        :raises FormatError: with the columns there are
        """
        for name in self._bounds():
            if name == 'number of atoms':
                continue
            if name not in properties:
                have = ', '.join(sorted(properties)) or 'none'
                raise FormatError(
                    f'a filter is set on the property {name!r}, which the crystals lack; there are: {have}'
                )
            if properties[name].dtype.kind not in 'fiub':
                raise FormatError(f'a filter is set on the property {name!r}, which holds text, not numbers')

    def apply(self, crystals: CrystalSet) -> np.ndarray:
        """Say of each crystal why it is out.

        :return: (n,) strings, empty where a crystal passes; several reasons are joined by semicolons. A reason
            reads the same in each row, so that reasons can be counted
        :raises FormatError: as :meth:`check_columns`
        """
        self.check_columns(crystals.properties)
        reasons: list[list[str]] = [[] for _ in range(len(crystals))]
        for name, (low, high) in self._bounds().items():
            values = crystals.atom_counts if name == 'number of atoms' else crystals.properties[name]
            values = values.astype(np.float64)
            _note(reasons, np.isnan(values), f'{name} missing')
            if low is not None:
                _note(reasons, values < low, f'{name} < {low:g}')
            if high is not None:
                _note(reasons, values > high, f'{name} > {high:g}')
        self._note_elements(reasons, crystals)
        return np.array(['; '.join(items) for items in reasons], dtype=np.str_).reshape(-1)

    def _note_elements(self, reasons: list[list[str]], crystals: CrystalSet) -> None:
        holds = np.zeros((len(crystals), len(SYMBOLS)), dtype=bool)
        holds[np.repeat(np.arange(len(crystals)), crystals.atom_counts), crystals.atomic_numbers] = True
        for symbol in self.elements_all:
            _note(reasons, ~holds[:, ATOMIC_NUMBERS[symbol]], f'lacks {symbol}')
        for symbol in self.elements_none:
            _note(reasons, holds[:, ATOMIC_NUMBERS[symbol]], f'contains {symbol}')
        if self.elements_any:
            _note(
                reasons, ~holds[:, _numbers(self.elements_any)].any(axis=1), f'none of {", ".join(self.elements_any)}'
            )
        if self.elements_only:
            others = np.ones(len(SYMBOLS), dtype=bool)
            others[_numbers(self.elements_only)] = False
            _note(reasons, holds[:, others].any(axis=1), f'elements beyond {", ".join(self.elements_only)}')


def _numbers(symbols: Iterable[str]) -> list[int]:
    return [ATOMIC_NUMBERS[symbol] for symbol in symbols]


def _note(reasons: list[list[str]], mask: np.ndarray | np.bool_, text: str) -> None:
    for row in np.flatnonzero(mask):
        reasons[row].append(text)

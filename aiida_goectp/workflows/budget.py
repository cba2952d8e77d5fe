"""Budget of a verification: the largest numbers of calculations and of core-hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ('Budget',)


class Budget(NamedTuple):
    """Limits of a verification; None for no limit."""

    max_calculations: int | None = None
    max_core_hours: float | None = None

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> Budget:
        """Return the budget of inputs with nodes of these names."""
        return cls(**{name: inputs[name].value for name in cls._fields if name in inputs})

    def exhausted(self, calculations: int, core_hours: float) -> str:
        """Return which limit is reached, empty if none is.

        :param calculations: that were submitted
        :param core_hours: that were spent
        """
        if self.max_calculations is not None and calculations >= self.max_calculations:
            return f'the budget of {self.max_calculations} calculations is spent'
        if self.max_core_hours is not None and core_hours >= self.max_core_hours:
            return f'the budget of {self.max_core_hours:g} core-hours is spent'
        return ''

    @property
    def text(self) -> str:
        """The limits in words."""
        limits = {name.removeprefix('max_'): value for name, value in self._asdict().items() if value is not None}
        parts = [f'{name} {value:g}' for name, value in limits.items()]
        return 'budget: ' + ', '.join(part.replace('_', '-') for part in parts) if parts else 'no budget'

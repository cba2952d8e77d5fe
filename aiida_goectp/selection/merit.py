"""Figures of merit: one number a crystal, by which candidates are ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aiida_goectp import tensors
from aiida_goectp.npzfile import FormatError

__all__ = ('FIGURES_OF_MERIT', 'FigureOfMerit', 'TensorRows', 'figure_of_merit')


class TensorRows(Protocol):
    """What a figure of merit looks at: :class:`aiida_goectp.predictions.Predictions`, or labels in the same shape."""

    @property
    def electronic(self) -> np.ndarray: ...  # noqa: D102
    @property
    def ionic(self) -> np.ndarray: ...  # noqa: D102
    @property
    def total(self) -> np.ndarray: ...  # noqa: D102
    @property
    def average_std(self) -> np.ndarray: ...  # noqa: D102
    @property
    def failed(self) -> np.ndarray: ...  # noqa: D102


_GAP = ('band_gap',)
_Function = Callable[[TensorRows, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FigureOfMerit:
    """A named score; more is better.

    :param name: key in :data:`FIGURES_OF_MERIT`
    :param formula: for tables and help texts
    :param function: (rows, band gap in eV or NaN) → (n,)
    :param tensor: the predicted tensor that it needs
    :param columns: property columns of the crystals that it needs
    :param committee: whether it needs the standard deviations of a committee
    """

    name: str
    formula: str
    function: _Function
    tensor: str = 'total'
    columns: tuple[str, ...] = ()
    committee: bool = False

    def evaluate(self, rows: TensorRows, properties: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the score of each row (n,), NaN where a prediction or a property is missing or a gap is negative.

        :param rows: tensors (n, 3, 3) and their standard deviations
        :param properties: name → (n,)
        :raises FormatError: a column that it needs is not there or no numbers; the model does not
            predict the tensor that it needs, or is no committee
        """
        n = len(rows.failed)
        for name in self.columns:
            if name not in properties:
                have = ', '.join(sorted(properties)) or 'none'
                raise FormatError(
                    f'figure of merit {self.name!r} ({self.formula}) needs the property {name!r}; there are: {have}. '
                    'Give that column with the crystals, or rank by another figure of merit'
                )
            if np.shape(properties[name]) != (n,) or properties[name].dtype.kind not in 'fiu':
                raise FormatError(f'property {name!r} is no column of {n} numbers, as {self.name!r} needs it')
        self._check_rows(rows)
        gap = properties['band_gap'].astype(np.float64) if 'band_gap' in self.columns else np.full(n, np.nan)
        return np.asarray(self.function(rows, np.where(gap >= 0, gap, np.nan)), dtype=np.float64)

    def _check_rows(self, rows: TensorRows) -> None:
        if rows.failed.all():
            return
        if self.committee and not np.isfinite(rows.average_std[~rows.failed, 2]).any():
            raise FormatError(
                f'figure of merit {self.name!r} ({self.formula}) needs standard deviations, and this model gives none; '
                'predict with a committee or a model that knows how sure it is, or rank by another figure of merit'
            )
        if not np.isfinite(getattr(rows, self.tensor)[~rows.failed]).all(axis=(1, 2)).any():
            raise FormatError(
                f'figure of merit {self.name!r} ({self.formula}) needs the {self.tensor} tensor, which this model does '
                'not predict; rank by another figure of merit, or predict with another model'
            )


def _electronic(rows: TensorRows) -> np.ndarray:
    return tensors.polycrystalline_average(rows.electronic)


def _total(rows: TensorRows) -> np.ndarray:
    return tensors.polycrystalline_average(rows.total)


def _spread(rows: TensorRows) -> np.ndarray:
    """Return the standard deviation of ε_poly of the static tensor."""
    return rows.average_std[:, 2]


def _energy_density(rows: TensorRows, gap: np.ndarray) -> np.ndarray:
    ratio = gap / 4.0
    return _total(rows) * np.where(ratio < 1, ratio**3, ratio)


# Sources: total · gap: Riebesell et al., Cell Rep. Phys. Sci. 5, 102241 (2024). Averages, n: Petousis et al., Sci.
# Data 4, 160134 (2017). The others are in use for energy storage and optics; Eg is the band gap in eV.
FIGURES_OF_MERIT: dict[str, FigureOfMerit] = {
    item.name: item
    for item in (
        FigureOfMerit('total', 'ε_poly = trace(ε_∞ + ε_ionic)/3', lambda rows, gap: _total(rows)),
        FigureOfMerit('electronic', 'trace(ε_∞)/3', lambda rows, gap: _electronic(rows), 'electronic'),
        FigureOfMerit(
            'ionic', 'trace(ε_ionic)/3', lambda rows, gap: tensors.polycrystalline_average(rows.ionic), 'ionic'
        ),
        FigureOfMerit('gap_total', 'Eg · ε_poly', lambda rows, gap: gap * _total(rows), columns=_GAP),
        FigureOfMerit('sqrt_gap_total', '√Eg · ε_poly', lambda rows, gap: np.sqrt(gap) * _total(rows), columns=_GAP),
        FigureOfMerit(
            'gap_electronic', 'Eg · trace(ε_∞)/3', lambda rows, gap: gap * _electronic(rows), 'electronic', _GAP
        ),
        FigureOfMerit(
            'energy_density', 'ε_poly · (Eg/4 eV)^a, a = 3 below 4 eV, 1 above', _energy_density, columns=_GAP
        ),
        FigureOfMerit(
            'cautious_gap_total',
            'Eg · (ε_poly − σ)',
            lambda rows, gap: gap * (_total(rows) - _spread(rows)),
            columns=_GAP,
            committee=True,
        ),
        FigureOfMerit(
            'anisotropy', 'largest / smallest eigenvalue of ε_total', lambda rows, gap: tensors.anisotropy(rows.total)
        ),
        FigureOfMerit(
            'electronic_anisotropy',
            'largest / smallest eigenvalue of ε_∞',
            lambda rows, gap: tensors.anisotropy(rows.electronic),
            'electronic',
        ),
        FigureOfMerit(
            'refractive_index',
            '√(trace(ε_∞)/3)',
            lambda rows, gap: tensors.refractive_index(rows.electronic),
            'electronic',
        ),
    )
}


def figure_of_merit(name: str) -> FigureOfMerit:
    """Return the figure of merit of this name.

    :raises FormatError: there is none; the message lists those there are
    """
    try:
        return FIGURES_OF_MERIT[name]
    except KeyError:
        known = ', '.join(FIGURES_OF_MERIT)
        raise FormatError(f'no figure of merit is named {name!r}; there are: {known}') from None

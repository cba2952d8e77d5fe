"""Figures of merit by which crystals are ranked, and their standard deviations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from aiida_goectp.core.dielectric import tensors
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.names import LARGEST_GAP
from aiida_goectp.core.formats.settings import unknown_value

__all__ = ('FIGURES_OF_MERIT', 'FigureOfMerit', 'TensorRows', 'UncertainRows', 'figure_of_merit', 'label_rows')


class TensorRows(Protocol):
    """Input of a figure of merit: :class:`.Predictions`, or labels with the same attributes."""

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


class UncertainRows(TensorRows, Protocol):
    """Tensors with standard deviations, as :class:`.Predictions`."""

    @property
    def anisotropy_std(self) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class _Rows:
    """Tensors without further columns."""

    electronic: np.ndarray
    ionic: np.ndarray
    total: np.ndarray
    average_std: np.ndarray
    failed: np.ndarray


_GAP = ('band_gap',)
_STEP = 1e-2  # standard deviations; the relative error of a central difference is then about 1e-5
_Function = Callable[[TensorRows, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FigureOfMerit:
    """A named score; larger is better.

    :param name: key in :data:`FIGURES_OF_MERIT`
    :param formula: text
    :param function: (rows, band gap in eV or NaN) → (n,)
    :param tensor: required tensor
    :param columns: required property columns of the crystals
    :param committee: whether the standard deviations of a committee are required
    :param uncertain: quantity whose standard deviation is propagated: the average of the tensor, on which the score
        may depend in any way, or the anisotropy, which then is the score
    """

    name: str
    formula: str
    function: _Function
    tensor: str = 'total'
    columns: tuple[str, ...] = ()
    committee: bool = False
    uncertain: Literal['average', 'anisotropy'] = 'average'
    margin: float = 0.0

    def evaluate(self, rows: TensorRows, properties: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the score of each row (n,), NaN if a prediction or a property is missing, or a band gap is impossible.

        :param rows: tensors (n, 3, 3) and their standard deviations
        :param properties: name → (n,)
        :raises FormatError: a required column that is missing or contains no numbers, a tensor that the model does not
            predict, or a model that is not a committee
        """
        scores = self.scores(rows, properties)
        self.check_known(self.known(rows))
        return scores

    def scores(self, rows: TensorRows, properties: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return :meth:`evaluate` of a part of the rows, of which none needs to have the predictions.

        :raises FormatError: a required column that is missing or contains no numbers
        """
        gap = self._gap(rows, properties)
        return np.asarray(self.function(rows, gap), dtype=np.float64)

    def deviation(self, rows: UncertainRows, properties: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the standard deviation of each score (n,), NaN without a score or a standard deviation of the model.

        First-order propagation |∂score/∂average| σ, with a central difference of the tensor ± a small multiple of
        σ · 1; exact for scores linear in the average, as Eg · ε (Eg σ). The band gap has no uncertainty. Source: JCGM
        100:2008 (GUM), 5.1.2.

        :raises FormatError: as :meth:`evaluate`
        """
        gap = self._gap(rows, properties)
        self.check_known(self.known(rows))
        place = tensors.PARTS.index(self.tensor)
        if self.uncertain == 'anisotropy':
            scored = np.isfinite(self.function(rows, gap))
            return np.where(scored, rows.anisotropy_std[:, place], np.nan)
        sigma = np.asarray(rows.average_std[:, place], dtype=np.float64)
        step = _STEP * np.where(sigma > 0, sigma, 1.0)
        up, down = (self.function(_shifted(rows, self.tensor, sign * step), gap) for sign in (1, -1))
        return np.abs(up - down) / (2 * step) * sigma

    def _gap(self, rows: TensorRows, properties: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the band gap (n,) in eV, NaN if unknown, negative, above 100 eV or not required.

        :raises FormatError: a required column that is missing or contains no numbers
        """
        n = len(rows.failed)
        for name in self.columns:
            if name not in properties:
                have = ', '.join(sorted(properties)) or 'none'
                raise FormatError(
                    f'figure of merit {self.name!r} ({self.formula}) needs the property {name!r}; available: {have}. '
                    'Give that column with the crystals, or rank by another figure of merit'
                )
            if np.shape(properties[name]) != (n,) or properties[name].dtype.kind not in 'fiu':
                raise FormatError(
                    f'figure of merit {self.name!r}: the property {name!r} is not a column of {n} numbers'
                )
        gap = properties['band_gap'].astype(np.float64) if 'band_gap' in self.columns else np.full(n, np.nan)
        return np.where((gap >= 0) & (gap <= LARGEST_GAP), gap, np.nan)

    def known(self, rows: TensorRows) -> np.ndarray:
        """Return (3,) whether any row has a prediction, a standard deviation, and the tensor of this figure of merit.

        That of several parts is the logical or.
        """
        good = ~rows.failed
        tensor, deviation = getattr(rows, self.tensor)[good], rows.average_std[good, 2]
        return np.array([good.any(), np.isfinite(deviation).any(), np.isfinite(tensor).all(axis=(1, 2)).any()])

    def check_known(self, known: np.ndarray) -> None:
        """Check that rows have the predictions which this figure of merit needs.

        :param known: (3,) as :meth:`known` returns it
        :raises FormatError: a tensor that the model does not predict, or a model that is not a committee
        """
        predicted, deviation, tensor = known
        if not predicted:
            return
        if self.committee and not deviation:
            raise FormatError(
                f'figure of merit {self.name!r} ({self.formula}) needs standard deviations, which this model does not '
                'give; predict with a committee, or rank by another figure of merit'
            )
        if not tensor:
            raise FormatError(
                f'figure of merit {self.name!r} ({self.formula}) needs the {self.tensor} tensor, which this model does '
                'not predict; rank by another figure of merit, or predict with another model'
            )


def label_rows(electronic: np.ndarray, ionic: np.ndarray) -> TensorRows:
    """Return labels as input of a figure of merit; their standard deviations are zero.

    :param electronic: (n, 3, 3), NaN if missing
    :param ionic: (n, 3, 3), NaN if missing
    """
    nothing = ~np.isfinite([electronic, ionic]).all(axis=(2, 3)).any(axis=0)
    return _Rows(electronic, ionic, electronic + ionic, np.zeros((len(electronic), 3)), np.asarray(nothing))


def _shifted(rows: TensorRows, tensor: str, by: np.ndarray) -> _Rows:
    """Return the rows with a multiple (n,) of the identity added to one tensor, and hence to its average."""
    parts = {name: getattr(rows, name) for name in tensors.PARTS}
    parts[tensor] = parts[tensor] + by[:, None, None] * np.eye(3)
    return _Rows(**parts, average_std=rows.average_std, failed=rows.failed)


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
# Data 4, 160134 (2017). The others are used for energy storage and optics; Eg is the band gap in eV.
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
            margin=1.0,
        ),
        FigureOfMerit(
            'anisotropy',
            'largest / smallest eigenvalue of ε_total',
            lambda rows, gap: tensors.anisotropy(rows.total),
            uncertain='anisotropy',
        ),
        FigureOfMerit(
            'electronic_anisotropy',
            'largest / smallest eigenvalue of ε_∞',
            lambda rows, gap: tensors.anisotropy(rows.electronic),
            'electronic',
            uncertain='anisotropy',
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

    :raises FormatError: an unknown name
    """
    try:
        return FIGURES_OF_MERIT[name]
    except KeyError:
        raise FormatError(unknown_value('figure_of_merit', name, FIGURES_OF_MERIT)) from None

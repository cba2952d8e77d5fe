"""Filter and rank crystals; the order of the crystals is kept, and for every row why it is in or out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.predictions import DEVIATIONS, TENSORS, Predictions
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData

__all__ = ('filter_crystals', 'rank_crystals')

_NOT_PREDICTED = 'not predicted'


@calcfunction
def filter_crystals(crystals: CrystalsData, filters: orm.Dict) -> CrystalsData:
    """Return the crystals that pass the filters, in their order; those that could not be read stay behind.

    :param filters: the fields of :class:`aiida_goectp.core.selection.filters.Filters`
    :raises ValueError: an unknown filter, or one on a property that the crystals lack
    """
    from aiida_goectp.core.selection.filters import Filters

    table = crystals.crystals
    reasons = Filters.model_validate(filters.get_dict()).apply(table)
    return CrystalsData(table.take(np.flatnonzero(reasons == '')))


@calcfunction
def rank_crystals(
    crystals: CrystalsData,
    predictions: PredictionsData,
    figure_of_merit: orm.Str | None = None,
    filters: orm.Dict | None = None,
) -> RankingData:
    """Rank all crystals by a figure of merit.

    The predictions may be those of fewer crystals, if the others are out by the filters anyway.

    :param figure_of_merit: a name in :data:`aiida_goectp.core.selection.merit.FIGURES_OF_MERIT`, ``total`` if not given
    :param filters: the fields of :class:`aiida_goectp.core.selection.filters.Filters`
    :raises ValueError: predictions of other crystals, an unknown figure of merit or filter, or a property that is
        needed and missing altogether
    """
    from aiida_goectp.core.selection.filters import Filters
    from aiida_goectp.core.selection.ranking import rank

    table = crystals.crystals
    aligned = _align(table, predictions.predictions)
    checked = Filters.model_validate(filters.get_dict() if filters is not None else {})
    ranking = rank(table, aligned, figure_of_merit.value if figure_of_merit is not None else 'total', checked)
    unpredicted = f'prediction failed: {_NOT_PREDICTED}'
    alone = np.flatnonzero(ranking.reason == unpredicted)
    if len(alone):
        raise FormatError(
            f'{len(alone)} crystals pass the filters and have no prediction, first {ranking.ids[alone[0]]}; '
            'predict them, or filter as was done before the prediction'
        )
    reasons = np.array([text.replace(f'; {unpredicted}', '') for text in ranking.reason.tolist()], dtype=np.str_)
    return RankingData(replace(ranking, reason=reasons.reshape(-1)))


def _align(crystals: CrystalSet, predictions: Predictions) -> Predictions:
    """Return one row for each crystal; a crystal that was not predicted gets a failed row.

    :raises FormatError: a prediction that belongs to no crystal
    """
    if len(crystals) == len(predictions):
        return predictions  # rank() compares row by row
    rows = {key: row for row, key in enumerate(zip(crystals.ids.tolist(), crystals.hashes.tolist(), strict=True))}
    keys = list(zip(predictions.ids.tolist(), predictions.hashes.tolist(), strict=True))
    places = [rows.get(key, -1) for key in keys]
    if -1 in places:
        row = places.index(-1)
        raise FormatError(f'row {row} of the predictions, {keys[row][0]}, is none of the crystals')
    if len(set(places)) < len(places):
        raise FormatError('a crystal was predicted twice; merge the predictions with `merge_predictions`')
    n = len(crystals)
    source = np.full(n, -1, dtype=np.int64)
    source[places] = np.arange(len(places))
    there = source >= 0

    def spread(column: np.ndarray) -> np.ndarray:
        wide = np.full((n, *column.shape[1:]), np.nan)
        wide[there] = column[source[there]]
        return wide

    flags = np.zeros(n, dtype=predictions.flags.dtype)
    flags[there] = predictions.flags[source[there]]
    errors = [str(predictions.errors[row]) if row >= 0 else _NOT_PREDICTED for row in source]
    return Predictions(
        ids=crystals.ids.astype(np.str_),
        hashes=crystals.hashes,
        **{name: spread(getattr(predictions, name)) for name in (*TENSORS, *DEVIATIONS)},
        flags=flags,
        errors=np.array(errors, dtype=np.str_),
        model_hash=predictions.model_hash,
        settings=predictions.settings,
    )

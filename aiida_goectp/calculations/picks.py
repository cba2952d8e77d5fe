"""Calcfunctions that pick the next batch of a campaign, and prune its pool."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.calculations.campaign import functionals_of, read_history
from aiida_goectp.calculations.select import make_selection
from aiida_goectp.core.dielectric.alignment import NOT_PREDICTED_AGAIN, align_predictions
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import (
    KnownCrystals,
    PickSettings,
    StopRules,
    allowed_picks,
    pick,
    with_seeds,
)
from aiida_goectp.core.selection.pruning import rows_to_predict
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('fill_predictions', 'pick_batch', 'prune_pool')


@calcfunction
def pick_batch(
    pool: CrystalsData,
    predictions: PredictionsData,
    dataset: DatasetData,
    history: orm.Dict,
    picking: orm.Dict,
    stop_rules: orm.Dict,
    seed: orm.Int,
    model: ModelData | None = None,
) -> dict[str, Any]:
    """Pick the batch of the next round, see :func:`aiida_goectp.core.selection.picking.pick`.

    :param pool: crystals to pick from
    :param predictions: of these crystals
    :param dataset: all labels so far; crystals with a label are not picked again
    :param history: of the campaign so far; crystals that failed permanently are not picked again
    :param picking: fields of :class:`aiida_goectp.core.selection.picking.PickSettings`
    :param stop_rules: fields of :class:`.StopRules`; the maximum number of calculations limits the batch
    :param seed: of the campaign
    :param model: in use; of labels of several functionals, that of its first one is taken
    :return: ``picks``, a reason for each crystal; with at least one pick also ``selection`` and ``structures`` in the
        order of the picks, see :func:`aiida_goectp.calculations.select.make_selection`
    :raises ValueError: predictions of other crystals, or a required property or standard deviation that is missing
    """
    table, predicted = pool.crystals, predictions.predictions
    done = read_history(history)
    settings = with_seeds(read_settings(PickSettings, picking.get_dict(), 'picking'), seed.value)
    rules = read_settings(StopRules, stop_rules.get_dict(), 'stop_rules')
    known = KnownCrystals.of_dataset(
        dataset.dataset, settings.figure_of_merit, table, done.outcomes(), functionals_of(model)
    )
    number = allowed_picks(done, rules, settings.batch_size)
    picks = pick(table, predicted, known, settings, round_number=len(done.rounds) + 1, number=number)
    if not len(picks.rows):
        return {'picks': PicksData(picks)}
    columns = {'score': picks.mean, 'flags': predicted.flags, 'stability': predicted.stability}
    for place, part in enumerate(PARTS):
        columns[part] = polycrystalline_average(getattr(predicted, part))
        columns[f'{part}_std'] = predicted.average_std[:, place]
    return {'picks': PicksData(picks), **make_selection('pick', table.take(picks.rows), picks.rows.tolist(), columns)}


@calcfunction
def prune_pool(
    pool: CrystalsData, predictions: PredictionsData, dataset: DatasetData, history: orm.Dict, picking: orm.Dict
) -> CrystalsData:
    """Return the crystals that new models have to predict, see :func:`.pruning.rows_to_predict`.

    :param pool: all crystals
    :param predictions: of all crystals, by an earlier model
    :param dataset: all labels so far
    :param history: of the campaign so far
    :param picking: fields of :class:`aiida_goectp.core.selection.picking.PickSettings`, with ``pruning``
    :raises ValueError: predictions of other crystals
    """
    table, settings = pool.crystals, read_settings(PickSettings, picking.get_dict(), 'picking')
    outcomes = read_history(history).outcomes()
    known = KnownCrystals.of_dataset(dataset.dataset, settings.figure_of_merit, table, outcomes)
    return CrystalsData(table.take(rows_to_predict(table, predictions.predictions, known, settings)))


@calcfunction
def fill_predictions(pool: CrystalsData, predictions: PredictionsData) -> PredictionsData:
    """Return predictions with a row for each crystal of the pool; those that were left out are failed rows.

    :param pool: all crystals
    :param predictions: of some of them
    :raises ValueError: a prediction of another crystal
    """
    return PredictionsData(align_predictions(pool.crystals, predictions.predictions, NOT_PREDICTED_AGAIN)[0])

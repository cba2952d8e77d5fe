"""Pick what is computed next, and make the structures of these crystals alone; as provenance."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.dielectric.predictions import Predictions, flag_names
from aiida_goectp.core.dielectric.tensors import polycrystalline_average
from aiida_goectp.data.crystals import CrystalsData, structure_from_crystal
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData

if TYPE_CHECKING:
    from aiida_goectp.core.crystals import CrystalSet
    from aiida_goectp.core.selection import Picks

__all__ = ('pick_batch',)

_PARTS = ('electronic', 'ionic', 'total')


@calcfunction
def pick_batch(
    pool: CrystalsData,
    predictions: PredictionsData,
    dataset: DatasetData,
    history: orm.Dict,
    picking: orm.Dict,
    stop_rules: orm.Dict,
    seed: orm.Int,
) -> dict[str, Any]:
    """Pick the batch of the next round, see :func:`aiida_goectp.core.selection.picking.pick`.

    :param pool: crystals to pick from
    :param predictions: of these crystals
    :param dataset: with all labels so far; what it holds is not picked again
    :param history: of the campaign so far; what failed for good is not picked again
    :param picking: fields of :class:`aiida_goectp.core.selection.picking.PickSettings`
    :param stop_rules: fields of :class:`.StopRules`; a budget of calculations may cut
        the batch
    :param seed: of the campaign
    :return: ``picks``, a place or a reason for each crystal; if there is a pick, ``selection`` and ``structures`` as
        :func:`aiida_goectp.calculations.select.select_top` gives them, in the order of the picks
    :raises ValueError: predictions of other crystals; a property or deviations that are needed and missing
    """
    from aiida_goectp.core.selection import (
        History,
        KnownCrystals,
        PickSettings,
        StopRules,
        allowed_picks,
        pick,
        read_settings,
        with_seeds,
    )

    table = pool.crystals
    done = read_settings(History, history.get_dict(), 'history')
    settings = with_seeds(read_settings(PickSettings, picking.get_dict(), 'picking'), seed.value)
    rules = read_settings(StopRules, stop_rules.get_dict(), 'stop_rules')
    past = KnownCrystals.of_dataset(dataset.dataset, settings.figure_of_merit, table, done.outcomes())
    picks = pick(
        table,
        predictions.predictions,
        past,
        settings,
        round_number=len(done.rounds) + 1,
        number=allowed_picks(done, rules, settings.batch_size),
    )
    found: dict[str, Any] = {'picks': PicksData(picks)}
    if len(picks.rows):
        rows = {f'pick_{picks.pick[row]:05d}': row for row in picks.rows.tolist()}
        items = [_item(name, row, picks, table, predictions.predictions) for name, row in rows.items()]
        found['selection'] = orm.List(items)
        found['structures'] = {name: structure_from_crystal(table[row]) for name, row in rows.items()}
    return found


def _item(name: str, row: int, picks: Picks, crystals: CrystalSet, predictions: Predictions) -> dict[str, Any]:
    """Return the line of a selection for one pick."""
    return {
        'rank': int(picks.pick[row]),
        'id': str(picks.ids[row]),
        'formula': formula(crystals[row].atomic_numbers),
        'row': row,
        'hash': str(picks.hashes[row]),
        'score': _number(picks.mean[row]),
        **_averages(predictions, row),
        'flags': list(flag_names(predictions.flags[row])),
        'structure': name,
    }


def _averages(predictions: Predictions, row: int) -> dict[str, float | None]:
    """Return averages and their standard deviations, as a selection has them."""
    means = {name: _number(polycrystalline_average(getattr(predictions, name)[row])) for name in _PARTS}
    sure = {f'{name}_std': _number(predictions.average_std[row, place]) for place, name in enumerate(_PARTS)}
    return {**means, **sure}


def _number(value: Any) -> float | None:
    """Return a number that JSON knows; a part that the model does not predict is none."""
    return float(value) if isfinite(value) else None

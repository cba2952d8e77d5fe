"""Calcfunctions that filter crystals, merge their predictions and rank them; the order of the crystals is kept."""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryFile

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals.crystalset import CrystalFile
from aiida_goectp.core.dielectric import shards
from aiida_goectp.core.dielectric.alignment import align_predictions
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.ranking import Ranker, rank
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData

__all__ = ('filter_crystals', 'merge_predictions', 'rank_crystals')


@calcfunction
def filter_crystals(crystals: CrystalsData, filters: orm.Dict) -> CrystalsData:
    """Return the crystals that pass the filters, in their order, without import failures.

    :param filters: fields of :class:`aiida_goectp.core.selection.filters.Filters`
    :raises ValueError: an unknown filter, or one on a property that the crystals lack
    """
    conditions = read_settings(Filters, filters.get_dict(), 'filters')
    with crystals.open_rows() as rows:
        conditions.check_columns(rows.empty_properties())
        passes = [np.zeros(0, dtype=bool), *(conditions.passes(block) for block in rows.blocks())]
        return CrystalsData(rows.take(np.flatnonzero(np.concatenate(passes))))


@calcfunction
def merge_predictions(crystals: CrystalsData, **parts: PredictionsData) -> PredictionsData:
    """Return the predictions of all crystals, in their order, from those of shards.

    :param crystals: the crystals that were divided into shards
    :param parts: predictions of each shard, under any name and in any order
    :raises ValueError: a row is missing, duplicate or of another crystal, or the models differ
    """
    nodes = [parts[name] for name in sorted(parts)]
    with ExitStack() as stack:
        target, rows = stack.enter_context(TemporaryFile()), stack.enter_context(crystals.open_rows())
        files = [stack.enter_context(node.open_rows()) for node in nodes]
        merged = shards.merge_files(files, rows, target)
        if merged is not None:
            return PredictionsData.from_file(
                target,
                {
                    'number': merged.rows,
                    'failed': merged.failed,
                    'model_hash': merged.model_hash,
                    'settings': merged.settings,
                    'content_hash': merged.content_hash,
                },
            )
    table = crystals.crystals
    return PredictionsData(shards.merge_predictions([node.predictions for node in nodes], table.ids, table.hashes))


@calcfunction
def rank_crystals(
    crystals: CrystalsData,
    predictions: PredictionsData,
    figure_of_merit: orm.Str | None = None,
    filters: orm.Dict | None = None,
    keep_duplicates: orm.Bool | None = None,
    min_stability: orm.Float | None = None,
) -> RankingData:
    """Rank all crystals by a figure of merit.

    Crystals that the filters exclude need no prediction.

    :param figure_of_merit: a name in :data:`aiida_goectp.core.selection.merit.FIGURES_OF_MERIT`; ``total`` if not given
    :param filters: fields of :class:`aiida_goectp.core.selection.filters.Filters`
    :param keep_duplicates: whether every row of equal crystals is ranked; otherwise they are ranked once
    :param min_stability: smallest predicted probability of stability of a ranked crystal; any if not given
    :raises ValueError: predictions of other crystals, an unknown figure of merit or filter, a missing property column,
        a crystal without a prediction that passes the filters, or predictions without probabilities of stability where
        they are needed
    """
    conditions = read_settings(Filters, filters.get_dict() if filters is not None else {}, 'filters')
    merit = figure_of_merit.value if figure_of_merit is not None else 'total'
    keep = keep_duplicates is not None and keep_duplicates.value
    stable = None if min_stability is None else min_stability.value
    with crystals.open_rows() as rows, predictions.open_rows() as predicted:
        ranker = Ranker(merit, conditions, stable)
        if _add_in_order(ranker, rows, predicted):
            return RankingData(ranker.ranking(rows.failures(), None if keep else rows.take))
    table = crystals.crystals
    aligned, known = align_predictions(table, predictions.predictions)
    return RankingData(rank(table, aligned, merit, conditions, known, keep_duplicates=keep, min_stability=stable))


def _add_in_order(ranker: Ranker, crystals: CrystalFile, predictions: TableFile[Predictions]) -> bool:
    """Add all crystals block by block; return False if the predictions are not in their order."""
    if not len(crystals):
        return False
    following, done = predictions.reader(), 0
    whole = len(crystals) == len(predictions)
    ids = predictions.whole('ids')
    for block in crystals.blocks():
        count = len(block) if whole else _predicted(block.ids, ids[done : done + len(block)])
        done += count
        ranker.add(block, *align_predictions(block, following(count)))
    return done == len(predictions)


def _predicted(ids: np.ndarray, following: np.ndarray) -> int:
    """Return how many of the next predictions are of some of these crystals, in their order."""
    rows = {name: row for row, name in enumerate(ids.tolist())}
    last = -1
    for count, name in enumerate(following.tolist()):
        row = rows.get(name, -1)
        if row <= last:
            return count
        last = row
    return len(following)

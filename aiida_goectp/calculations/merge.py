"""Join the predictions of shards to one table, and refuse whatever does not fit together."""

from __future__ import annotations

from aiida.engine import calcfunction

from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('merge_predictions',)


@calcfunction
def merge_predictions(crystals: CrystalsData, **parts: PredictionsData) -> PredictionsData:
    """Return the predictions of all crystals, in their order, from those of shards.

    :param crystals: the crystals that were cut into shards
    :param parts: the predictions of each shard, under any name and in any order
    :raises ValueError: a row is missing, stands twice or belongs to another crystal, or the models differ
    """
    from aiida_goectp.core.dielectric.shards import merge_predictions as merge

    table = crystals.crystals
    tables = [parts[name].predictions for name in sorted(parts)]
    return PredictionsData(merge(tables, table.ids, table.hashes))

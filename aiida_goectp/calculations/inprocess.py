"""Calcfunction that predicts in the current process."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.data.crystals import CrystalsData, crystal_from_structure
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('predict_crystals',)


@calcfunction
def predict_crystals(
    crystals: Any,
    model: ModelData,
    device: orm.Str = 'auto',  # type: ignore[assignment]
    phonons: orm.Bool = False,  # type: ignore[assignment]
) -> PredictionsData:
    """Predict with GoeCTP in this process, on a GPU if available; the model remains loaded between calls.

    A ``goectp.predict`` job runs the same code and gives the same numbers.

    >>> predict_crystals(structure, ModelData.get_or_create('goectp-small')).predictions.total

    :param crystals: a ``StructureData`` or a ``goectp.crystals`` node
    :param model: the model
    :param device: auto, cpu, cuda or cuda:N
    :param phonons: whether to predict phonons at Γ as well
    :raises TypeError: another type of node
    :raises ValueError: an invalid structure, a model that cannot be read or has no phonons, or an unavailable device
    """
    # torch takes seconds to import
    from aiida_goectp.core.learning.predict import predict_crystals as predict

    table = predict(_crystal_set(crystals), model.content, device=device.value, phonons=phonons.value)
    return PredictionsData(table)


def _crystal_set(node: orm.Data) -> CrystalSet:
    if isinstance(node, CrystalsData):
        return node.crystals
    if isinstance(node, orm.StructureData):
        # the id depends on content only, so that caching finds the result of an equal structure
        return CrystalSet.from_crystals([crystal_from_structure(node.get_formula('hill_compact'), node)])
    raise TypeError(f'cannot predict a {type(node).__name__}: give a StructureData or a goectp.crystals node')

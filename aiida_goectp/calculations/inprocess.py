"""Predict in the process itself: one line in a notebook, with provenance."""

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
def predict_crystals(crystals: Any, model: ModelData, device: orm.Str = 'auto') -> PredictionsData:  # type: ignore[assignment]
    """Predict with GoeCTP in this process, on its GPU if there is one; the model stays loaded between calls.

    The numbers are those of the ``goectp.predict`` job: both run the same code.

    >>> predict_crystals(structure, ModelData.get_or_create('goectp-small')).predictions.total

    :param crystals: a ``StructureData``, or a ``goectp.crystals`` node for many
    :param model: the model
    :param device: auto, cpu, cuda or cuda:N
    :raises TypeError: ``crystals`` is neither
    :raises ValueError: a structure that is no crystal, a model that cannot be read, or no such device
    """
    # torch takes seconds to import, and loading this module must not
    from aiida_goectp.core.learning.predict import predict_crystals as predict

    table = predict(_crystal_set(crystals), model.content, device=device.value)
    return PredictionsData(table)


def _crystal_set(node: orm.Data) -> CrystalSet:
    if isinstance(node, CrystalsData):
        return node.crystals
    if isinstance(node, orm.StructureData):
        # the name follows from the content alone, so that caching may take the result of an equal structure
        return CrystalSet.from_crystals([crystal_from_structure(node.get_formula('hill_compact'), node)])
    raise TypeError(f'cannot predict a {type(node).__name__}: give a StructureData or a goectp.crystals node')

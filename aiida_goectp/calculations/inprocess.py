"""Prediction in the current process, with provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.calculations.predict import validate_phonons
from aiida_goectp.calculations.structures import to_crystals
from aiida_goectp.core.crystals.convert import as_crystal_set, warn_of_failures
from aiida_goectp.data.crystals import CrystalsData, to_crystal
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('predict_crystals', 'predict_nodes')


def predict_crystals(
    crystals: Any,
    model: ModelData | str | Path = 'goectp',
    device: orm.Str | str = 'auto',
    phonons: orm.Bool | bool = False,
) -> PredictionsData:
    """Predict with GoeCTP in this process, on a GPU if available; the model remains loaded between calls.

    The calcfunction :func:`predict_nodes` creates the result, so that it has provenance. A ``goectp.predict`` job runs
    the same code and gives the same numbers.

    >>> predict_crystals(structure).to_dataframe()

    :param crystals: pymatgen ``Structure``, ASE ``Atoms``, ``StructureData``, :class:`.CrystalSet`, a
        ``goectp.crystals`` node, a list of these, or a dict id → structure. Values of a list that are no valid crystals
        have no row; a warning names the first
    :param model: a node, a model file, or the name of a shipped model
    :param device: auto, cpu, cuda or cuda:N
    :param phonons: whether to predict phonons at Γ as well
    :raises TypeError: another type of crystals or model
    :raises ValueError: an invalid structure, a model that cannot be read or has no phonons, or an unavailable device
    """
    nodes = crystals if isinstance(crystals, orm.StructureData) else to_crystals(crystals)
    if isinstance(nodes, CrystalsData) and nodes is not crystals:
        warn_of_failures(nodes.crystals, crystals)
    node = to_model(model)
    if error := validate_phonons({'phonons': orm.Bool(bool(phonons)), 'model': node}):
        raise ValueError(error)
    predictions: PredictionsData = predict_nodes(nodes, node, device, phonons)  # type: ignore[arg-type]
    return predictions


@calcfunction
def predict_nodes(
    crystals: CrystalsData | orm.StructureData,
    model: ModelData,
    device: orm.Str = 'auto',  # type: ignore[assignment]
    phonons: orm.Bool = False,  # type: ignore[assignment]
) -> PredictionsData:
    """Predict the crystals of one node; see :func:`predict_crystals`."""
    # torch takes seconds to import
    from aiida_goectp.core.learning.predict import predict_crystals as predict

    # the id of a structure depends on content only, so that caching finds the result of an equal one
    rows = crystals.crystals if isinstance(crystals, CrystalsData) else as_crystal_set(crystals, to_crystal)
    return PredictionsData(predict(rows, model.content, device=device.value, phonons=phonons.value))

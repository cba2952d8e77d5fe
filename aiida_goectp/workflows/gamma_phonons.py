"""Predicted phonons at Γ of crystals in a verification: which are missing, and which model predicts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('model_of', 'names_without_phonons')


def model_of(predictions: PredictionsData) -> ModelData | None:
    """Return the model that made predictions, by their provenance; None if it is not recorded.

    Predictions that were merged or selected from others lead to the model of these.
    """
    waiting, passed = [predictions], set()
    while waiting:
        node = waiting.pop()
        if node.uuid in passed or node.creator is None:
            continue
        passed.add(node.uuid)
        for item in node.creator.base.links.get_incoming(node_class=(ModelData, PredictionsData)).all_nodes():
            if isinstance(item, PredictionsData):
                waiting.append(item)
            elif item.content_hash == predictions.model_hash:
                return item
    return None


def names_without_phonons(
    selection: list[dict[str, Any]], predictions: PredictionsData, responses: Mapping[str, Any]
) -> list[str]:
    """Return the structures with computed frequencies, for which the predictions were made without phonons.

    :param selection: items of a selection
    :param responses: ``goectp.dielectric`` nodes by the name of their structure
    """
    table = predictions.predictions
    held = set() if table.phonons is None else set(zip(table.ids.tolist(), table.hashes.tolist(), strict=True))
    names = {item['structure'] for item in selection if (item.get('id'), item.get('hash')) not in held}
    return [name for name, node in responses.items() if name in names and node.dielectric.frequencies is not None]

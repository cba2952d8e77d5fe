"""Calcfunction that merges members, trained in separate jobs, to a committee."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.calculations.train import all_settings
from aiida_goectp.core.datasets.splits import SPLIT_PARTS
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData

__all__ = ('merge_models',)


@calcfunction
def merge_models(
    dataset: DatasetData,
    split: orm.Str,
    settings: orm.Dict,
    name: orm.Str = None,  # type: ignore[assignment]
    card: orm.Dict = None,  # type: ignore[assignment]
    initial: ModelData = None,  # type: ignore[assignment]
    **members: ModelData,
) -> ModelData:
    """Return the committee of all members, calibrated and evaluated as if it had been trained in one job.

    :param dataset: on which the members were trained
    :param split: on which they were trained; or the base split, if each was trained without a fold of its part train
    :param settings: of the committee, fields of :class:`.TrainSettings`
    :param name: of the committee; that of the first member if not given
    :param card: text fields of the model card: licence, citation, notes
    :param initial: of whose members these were fine-tuned; its calibration is kept where the validation rows are too
        few for one
    :param members: in the order of their names
    :raises ValueError: another number of members than in the settings, or members of different kinds
    """
    from aiida_goectp.core.learning.committee_settings import check_same_kind

    models = [members[key] for key in sorted(members)]
    wanted = all_settings(settings.get_dict())
    if len(models) != wanted['members']:
        raise ValueError(f'{len(models)} members given; the settings require {wanted["members"]}')
    cards = [model.card for model in models]
    check_same_kind(cards)
    # elements may differ between members trained without a fold; those of the committee are taken from the dataset
    texts = {'licence': '', 'citation': '', 'notes': '', **(card.get_dict() if card is not None else {})}
    texts |= {'name': name.value if name is not None else cards[0].name}
    return _merge(models, dataset, split.value, wanted, None if initial is None else initial.content, texts)


def _merge(
    models: list[ModelData],
    node: DatasetData,
    split: str,
    settings: dict[str, Any],
    initial: bytes | None,
    texts: dict[str, str],
) -> ModelData:
    # torch takes seconds to import
    from aiida_goectp.core.learning.committee import join_members

    parts = {part: node.dataset.part(split, part) for part in SPLIT_PARTS}
    first = models[0].card
    parents = sorted({model.card.training['parent'] for model in models if 'parent' in model.card.training})
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'model.safetensors'
        join_members(
            [model.content for model in models],
            parts,
            TrainSettings.model_validate(settings),
            path,
            initial,
            data=first.training.get('data', ''),
            functional=first.functional,
            parent=', '.join(parents) or None,
            **texts,
        )
        return ModelData(path)

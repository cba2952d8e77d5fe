"""Join members that were trained in jobs of their own to one committee."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.calculations.train import all_settings
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
    **members: ModelData,
) -> ModelData:
    """Return the committee of all members, calibrated and judged as one, as if it had been trained in one job.

    :param dataset: on which the members were trained
    :param split: on which they were trained, or whose part train they share between them, each without a fold
    :param settings: of the committee
    :param name: of the committee
    :param card: prose for the model card: licence, citation, notes
    :param members: the members, in the order of their names
    :raises ValueError: their number is not that of the settings, or they make no committee
    """
    from aiida_goectp.core.learning.committee_settings import check_same_kind

    models = [members[key] for key in sorted(members)]
    wanted = all_settings(settings.get_dict())
    if len(models) != wanted['members']:
        raise ValueError(f'{len(models)} members for a committee of {wanted["members"]}')
    cards = [model.card for model in models]
    check_same_kind(cards)
    # elements may differ: members that learn without a fold each may see others, and the dataset says which there are
    prose = {'licence': '', 'citation': '', 'notes': '', **(card.get_dict() if card is not None else {})}
    return _joined(models, dataset, split.value, wanted, name.value if name is not None else cards[0].name, prose)


def _joined(
    models: list[ModelData], node: DatasetData, split: str, settings: dict[str, Any], name: str, prose: dict[str, str]
) -> ModelData:
    # torch takes seconds to import, and loading this module must not
    from aiida_goectp.core.learning.committee import join_members
    from aiida_goectp.core.learning.settings import TrainSettings

    parts = {part: node.dataset.part(split, part) for part in ('train', 'validation', 'test')}
    first = models[0].card
    parents = sorted({model.card.training['parent'] for model in models if 'parent' in model.card.training})
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'model.safetensors'
        join_members(
            [model.content for model in models],
            parts,
            TrainSettings.model_validate(settings),
            path,
            name=name,
            data=first.training.get('data', ''),
            functional=first.functional,
            parent=', '.join(parents) or None,
            **prose,
        )
        return ModelData(path)

"""Retraining as provenance: folds dealt, members to begin with, two models compared, the decision written down."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.calculations.campaign import read_history, write_history
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData

if TYPE_CHECKING:
    from aiida_goectp.core.selection.retraining import Comparison

__all__ = ('MEMBER', 'assign_members', 'compare_models', 'extract_members', 'member_settings', 'record_retraining')

MEMBER = 'member_{:02d}'
"""name of a member, from 0"""


@calcfunction
def assign_members(
    dataset: DatasetData, start: DatasetData, split: orm.Str, retraining: orm.Dict, seed: orm.Int
) -> DatasetData:
    """Give the dataset one split for each member of a committee, see :func:`.with_folds`.

    :param dataset: what has grown
    :param start: the starting dataset, with the base split
    :param split: the base split
    :param retraining: fields of :class:`aiida_goectp.core.selection.retraining.RetrainingPolicy`
    :raises ValueError: no such split
    """
    from aiida_goectp.core.selection import RetrainingPolicy, read_settings, with_folds

    policy = read_settings(RetrainingPolicy, retraining.get_dict(), 'retraining')
    return DatasetData(with_folds(dataset.dataset, start.dataset, split.value, policy.folds, seed.value))


@calcfunction
def member_settings(
    settings: orm.Dict, retraining: orm.Dict, seed: orm.Int, dataset: DatasetData, model: ModelData | None = None
) -> dict[str, orm.Dict]:
    """Return the settings of each member and of the committee.

    See :func:`aiida_goectp.core.learning.committee_settings.committee_settings`.

    :param settings: fields of :class:`.TrainSettings`; their seed is that of the campaign
        if they give none
    :param dataset: what is learnt from
    :param model: the one so far; the networks are like its own where the settings say nothing else
    :return: ``member_00``, …, and ``committee``
    """
    from aiida_goectp.core.learning.committee_settings import committee_settings
    from aiida_goectp.core.selection import RetrainingPolicy, read_settings

    folds = read_settings(RetrainingPolicy, retraining.get_dict(), 'retraining').folds
    begun = None if model is None else model.card
    alone, together = committee_settings(
        settings.get_dict(), seed.value, folds, begun, dataset.base.attributes.get('functionals')
    )
    members = {MEMBER.format(member): orm.Dict(values) for member, values in enumerate(alone)}
    return {**members, 'committee': orm.Dict(together)}


@calcfunction
def extract_members(model: ModelData, retraining: orm.Dict) -> dict[str, ModelData]:
    """Return what each new member begins with: member k of the model, beginning anew after its last.

    :return: ``member_00``, …, as many as there are folds
    :raises ValueError: a model that cannot be read
    """
    # torch takes seconds to import, and loading this module must not
    from aiida_goectp.core.learning.committee import extract_member
    from aiida_goectp.core.selection import RetrainingPolicy, read_settings

    folds = read_settings(RetrainingPolicy, retraining.get_dict(), 'retraining').folds
    content, members = model.content, {}
    with TemporaryDirectory() as folder:
        for place in range(folds):
            path = Path(folder) / f'{place}.safetensors'
            extract_member(content, place, path)
            members[MEMBER.format(place)] = ModelData(path)
    return members


@calcfunction
def compare_models(
    dealt: DatasetData,
    seen: DatasetData,
    split: orm.Str,
    picking: orm.Dict,
    retraining: orm.Dict,
    old: ModelData,
    new: ModelData,
    **members: ModelData,
) -> orm.Dict:
    """Say whether a new model replaces the old, by predictions in this process, on its CPU.

    See :func:`aiida_goectp.core.selection.model_errors.comparison_errors` and
    :func:`aiida_goectp.core.selection.retraining.compare_models`.

    :param dealt: the dataset with its folds
    :param seen: what the old model was trained on
    :param split: the base split
    :param members: those of the new model, in the order of their names
    :return: ``replace``, ``reason``, and ``comparisons`` by set of rows
    :raises ValueError: nothing to compare by, or a model that cannot be read
    """
    from aiida_goectp.core.learning.predict import predict_crystals
    from aiida_goectp.core.selection import PickSettings, RetrainingPolicy, comparison_errors, read_settings
    from aiida_goectp.core.selection.retraining import compare_models as compare

    policy = read_settings(RetrainingPolicy, retraining.get_dict(), 'retraining')
    figure = read_settings(PickSettings, picking.get_dict(), 'picking').figure_of_merit
    before, after, *alone = (
        partial(predict_crystals, model=node.content, device='cpu')
        for node in (old, new, *(members[name] for name in sorted(members)))
    )
    errors = comparison_errors(dealt.dataset, seen.dataset, split.value, figure, before, after, alone)
    verdict = compare(*errors, policy)
    comparisons = {
        name: {key: value if value == value else None for key, value in item._asdict().items()}
        for name, item in verdict.comparisons.items()
    }
    return orm.Dict({'replace': verdict.replace, 'reason': verdict.reason, 'comparisons': comparisons})


@calcfunction
def record_retraining(
    history: orm.Dict,
    retraining: orm.Dict,
    record: orm.Dict,
    verdict: orm.Dict | None = None,
    model: ModelData | None = None,
) -> orm.Dict:
    """Write into the last round what was decided on retraining.

    :param record: what the work chain noted: ``core_hours`` of the training, and ``failure``, why there is no verdict
    :param verdict: see :func:`compare_models`
    :param model: what the training gave
    """
    from aiida_goectp.core.selection import RetrainingPolicy, decide_retraining, read_settings, retrained_round
    from aiida_goectp.core.selection.retraining import RetrainingResult
    from aiida_goectp.core.selection.retraining import compare_models as compare

    done = read_history(history)
    policy = read_settings(RetrainingPolicy, retraining.get_dict(), 'retraining')
    due = decide_retraining(done, policy)
    if 'waits' in record.get_dict():  # whatever the policy says, there is nothing to train with
        due = due._replace(retrain=False, reason=record['waits'])
    found = None
    if due.retrain and verdict is None:
        found = compare({}, None, policy, record['failure'])
    elif verdict is not None:
        found = RetrainingResult(verdict['replace'], verdict['reason'], _comparisons(verdict['comparisons']))
    new_hash = None if model is None else model.content_hash
    return write_history(retrained_round(done, due, found, new_hash, record['core_hours']))


def _comparisons(found: dict[str, dict[str, Any]]) -> dict[str, Comparison]:
    """Return what :func:`compare_models` said of each set of rows; a number that there is none of is NaN."""
    from aiida_goectp.core.selection.retraining import Comparison

    made = {}
    for name, item in found.items():
        values: dict[str, Any] = {key: float('nan') if value is None else value for key, value in item.items()}
        made[name] = Comparison(**values)
    return made

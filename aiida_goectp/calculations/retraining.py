"""Calcfunctions of a retraining: folds, settings and initial weights of the members, comparison, decision."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.calculations.campaign import read_history, write_history
from aiida_goectp.core.datasets.trained_rows import take_trained_rows
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import retraining as decisions
from aiida_goectp.core.selection.folds import with_folds
from aiida_goectp.core.selection.model_errors import comparison_errors, count_trained_on
from aiida_goectp.core.selection.picking import PickSettings
from aiida_goectp.core.selection.retraining import (
    Comparison,
    DecisionCode,
    RetrainingPolicy,
    RetrainingResult,
    decide_retraining,
)
from aiida_goectp.core.selection.rounds import retrained_round
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData

__all__ = (
    'MEMBER',
    'assign_members',
    'compare_models',
    'extract_members',
    'member_settings',
    'record_retraining',
    'select_trained',
)

MEMBER = 'member_{:02d}'
"""name of a member, from 0"""


@calcfunction
def assign_members(
    dataset: DatasetData, start: DatasetData, split: orm.Str, retraining: orm.Dict, seed: orm.Int
) -> DatasetData:
    """Return the dataset with one split for each member of a committee, see :func:`.with_folds`.

    :param dataset: with the labels of the campaign
    :param start: the starting dataset, with the base split
    :param split: the base split
    :param retraining: fields of :class:`aiida_goectp.core.selection.retraining.RetrainingPolicy`
    :raises ValueError: an unknown split
    """
    policy = _policy(retraining)
    return DatasetData(with_folds(dataset.dataset, start.dataset, split.value, policy.folds, seed.value))


@calcfunction
def select_trained(dataset: DatasetData, functionals: orm.List) -> dict[str, Any]:
    """Return the rows with labels that a training can take, see :func:`.take_trained_rows`.

    :param functionals: of the training
    :return: ``dataset``, and ``left_out``: functional → number of trainable rows
    :raises ValueError: labels with different values of U for one element
    """
    taken, left_out = take_trained_rows(dataset.dataset, functionals.get_list())
    return {'dataset': DatasetData(taken), 'left_out': orm.Dict(left_out)}


def _policy(retraining: orm.Dict) -> RetrainingPolicy:
    return read_settings(RetrainingPolicy, retraining.get_dict(), 'retraining')


@calcfunction
def member_settings(
    settings: orm.Dict, retraining: orm.Dict, seed: orm.Int, dataset: DatasetData, model: ModelData | None = None
) -> dict[str, orm.Dict]:
    """Return the training settings of each member and of the committee.

    See :func:`aiida_goectp.core.learning.committee_settings.committee_settings`.

    :param settings: fields of :class:`.TrainSettings`; the seed is that of the campaign if they contain none
    :param retraining: fields of :class:`aiida_goectp.core.selection.retraining.RetrainingPolicy`
    :param dataset: training data
    :param model: model in use, whose architecture is used unless the settings contain another
    :return: ``member_00``, …, and ``committee``
    """
    # numba and ASE take a second to import
    from aiida_goectp.core.learning.committee_settings import committee_settings

    members, committee = committee_settings(
        settings.get_dict(),
        seed.value,
        _policy(retraining).folds,
        None if model is None else model.card,
        dataset.base.attributes.get('functionals'),
    )
    nodes = {MEMBER.format(place): orm.Dict(values) for place, values in enumerate(members)}
    return {**nodes, 'committee': orm.Dict(committee)}


@calcfunction
def extract_members(model: ModelData, retraining: orm.Dict) -> dict[str, ModelData]:
    """Return the initial model of each new member: the members of the model in turn.

    :param retraining: fields of :class:`aiida_goectp.core.selection.retraining.RetrainingPolicy`
    :return: ``member_00``, …, one for each fold
    :raises ValueError: the model cannot be read
    """
    # torch takes seconds to import
    from aiida_goectp.core.learning.committee import extract_member

    content, members = model.content, {}
    with TemporaryDirectory() as folder:
        for place in range(_policy(retraining).folds):
            path = Path(folder) / f'{place}.safetensors'
            extract_member(content, place, path)
            members[MEMBER.format(place)] = ModelData(path)
    return members


@calcfunction
def compare_models(
    dataset: DatasetData,
    previous: DatasetData,
    split: orm.Str,
    picking: orm.Dict,
    retraining: orm.Dict,
    old: ModelData,
    new: ModelData,
    **members: ModelData,
) -> orm.Dict:
    """Return whether a new model replaces the old one, by predictions in this process on the CPU.

    Rows that the old model was trained on are left out, if its file states them.

    See :func:`aiida_goectp.core.selection.model_errors.comparison_errors` and
    :func:`aiida_goectp.core.selection.retraining.compare_models`.

    :param dataset: with folds, on which the members were trained
    :param previous: on which the old model was trained
    :param split: the base split
    :param picking: fields of :class:`aiida_goectp.core.selection.picking.PickSettings`
    :param retraining: fields of :class:`aiida_goectp.core.selection.retraining.RetrainingPolicy`
    :param members: of the new model, in the order of their names
    :return: ``replace``, ``reason``, ``comparisons`` by set of rows, and ``trained_on``: the number of rows left out
        by set, null if the crystals that the old model was trained on are unknown
    :raises ValueError: no row of the predicted functional to compare, or a model that cannot be read
    """
    # torch takes seconds to import
    from aiida_goectp.core.learning.committee import split_members
    from aiida_goectp.core.learning.predict import predict_crystals

    figure = read_settings(PickSettings, picking.get_dict(), 'picking').figure_of_merit
    old_model, new_model, *each = (
        partial(predict_crystals, model=node.content, device='cpu')
        for node in (old, new, *(members[name] for name in sorted(members)))
    )
    old_each = [partial(predict_crystals, model=content, device='cpu') for content in split_members(old.content)]
    tables, names = (dataset.dataset, previous.dataset), new.card.architecture.get('functionals', [])
    seen = old.trained_on
    errors = comparison_errors(*tables, split.value, figure, old_model, new_model, each, old_each, names, seen)
    result = decisions.compare_models(*errors, _policy(retraining))
    comparisons = {
        name: {key: value if value == value else None for key, value in item._asdict().items()}
        for name, item in result.comparisons.items()
    }
    left_out = count_trained_on(*tables, split.value, figure, names, seen)
    return orm.Dict(
        {'replace': result.replace, 'reason': result.reason, 'comparisons': comparisons, 'trained_on': left_out}
    )


@calcfunction
def record_retraining(
    history: orm.Dict,
    retraining: orm.Dict,
    record: orm.Dict,
    comparison: orm.Dict | None = None,
    model: ModelData | None = None,
) -> orm.Dict:
    """Record the decision on retraining in the last round of the history.

    :param retraining: fields of :class:`aiida_goectp.core.selection.retraining.RetrainingPolicy`
    :param record: noted by the work chain: ``core_hours`` of the training; ``failure``, why there is no comparison;
        ``left_out``, number of labels that it could not take, by functional; ``new_labels``, see
        :func:`.decide_retraining`; ``has_training``, false if the campaign has no inputs of a training
    :param comparison: see :func:`compare_models`
    :param model: the trained model
    """
    done, policy, noted = read_history(history), _policy(retraining), record.get_dict()
    decision = decide_retraining(done, policy, noted.get('new_labels'))
    if not noted.get('has_training', True):
        decision = decision._replace(code=DecisionCode.NO_TRAINING)
    result, seen = None, {}
    if comparison is not None:
        seen = comparison.get_dict().get('trained_on', {})
        result = RetrainingResult(comparison['replace'], _comparisons(comparison['comparisons']))
    elif decision.retrain:
        result = RetrainingResult(False, {}, noted['failure'])
    new_hash = None if model is None else model.content_hash
    left_out = noted.get('left_out', {})
    return write_history(retrained_round(done, decision, result, new_hash, noted['core_hours'], left_out, seen))


def _comparisons(found: dict[str, dict[str, Any]]) -> dict[str, Comparison]:
    """Return the comparisons of :func:`compare_models`; null numbers become NaN."""
    made = {}
    for name, item in found.items():
        values: dict[str, Any] = {key: float('nan') if value is None else value for key, value in item.items()}
        made[name] = Comparison(**values)
    return made

"""What a campaign is told: its ports, what is refused before anything is computed, and its builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiida import orm
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.base import validate_positive
from aiida_goectp.calculations.train import few_labels_settings
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.dfpt.engines import load_engine
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.protocols.mixin import merge
from aiida_goectp.workflows.train import TrainWorkChain
from aiida_goectp.workflows.verify import VerifyWorkChain

__all__ = ('FEW', 'define_inputs', 'inputs_from_labels', 'predict_inputs', 'train_inputs', 'validate_campaign')

_PREDICT = ('goectp.crystals', 'goectp.model', 'goectp.shard', 'goectp.parent_folder')
_TRAIN = ('goectp.dataset', 'goectp.split', 'goectp.model', 'goectp.parent_folder')
_PARTS = ('train', 'validation', 'test')

FEW = 400
"""rows to learn from, up to which the recipe for few labels is taken; docs/explanation/accuracy.md compares"""


def _settings(model: str) -> Callable[[orm.Dict | None, Any], str | None]:
    """Return a validator of a Dict that holds settings.

    :param model: name of their class in :mod:`aiida_goectp.core.selection`
    """

    def validate(value: orm.Dict | None, _: Any) -> str | None:
        from aiida_goectp.core import selection

        if value is None:
            return None
        try:
            selection.read_settings(getattr(selection, model), value.get_dict(), _WHERE[model])
        except ValueError as error:
            return str(error)
        return None

    return validate


_WHERE = {
    'PickSettings': 'picking',
    'StopRules': 'stop_rules',
    'RetrainingPolicy': 'retraining',
    'History': 'extend.history',
}


def define_inputs(spec: WorkChainSpec) -> None:
    """Declare the inputs of :class:`aiida_goectp.workflows.campaign.workchain.ActiveLearningWorkChain`."""
    to_node = orm.to_aiida_type
    spec.input('pool', valid_type=CrystalsData, help='The crystals to search in.')
    spec.input('dataset', valid_type=DatasetData, help='The starting dataset: labels that are known beforehand.')
    spec.input(
        'split',
        valid_type=orm.Str,
        required=False,
        serializer=to_node,
        help='Base split of the starting dataset: validation calibrates, test is the fixed hold-out. If not given, one '
        'by formula is made: 70, 20 and 10 %.',
    )
    spec.input(
        'model',
        valid_type=ModelData,
        required=False,
        help='The model to begin with; if not given, one is trained on the starting dataset.',
    )
    spec.input(
        'predictions',
        valid_type=PredictionsData,
        required=False,
        help='Of the pool by that model, for round one.',
    )
    spec.input('labels', valid_type=DatasetData, required=False, help='Labels of your own, as if of earlier rounds.')
    _define_settings(spec)
    spec.expose_inputs(VerifyWorkChain, include=('engine', 'dfpt', 'thresholds', 'reuse', 'max_concurrent'))
    spec.input_namespace('extend', required=False, help='A campaign that ended, to go on with; give its model, too.')
    spec.input(
        'extend.history', valid_type=orm.Dict, required=False, validator=_settings('History'), help='Its output.'
    )
    spec.input('extend.dataset', valid_type=DatasetData, required=False, help='Its dataset.')
    spec.expose_inputs(PredictWorkChain, namespace='predict', exclude=_PREDICT)
    spec.expose_inputs(
        TrainWorkChain,
        namespace='train',
        exclude=_TRAIN,
        namespace_options={
            'required': False,
            'populate_defaults': False,
            'help': 'Of each member of the committee; if not given, the model stays what it is.',
        },
    )
    spec.inputs.validator = validate_campaign


def _define_settings(spec: WorkChainSpec) -> None:
    to_node = orm.to_aiida_type
    for name, model, meaning in (
        ('picking', 'PickSettings', 'What is looked for, and how a batch is picked.'),
        ('stop_rules', 'StopRules', 'The first rule that fires ends the campaign.'),
        ('retraining', 'RetrainingPolicy', 'When to retrain, how, and what a new model must prove.'),
    ):
        spec.input(
            name,
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            serializer=to_node,
            validator=_settings(model),
            help=f'{meaning} Fields of `aiida_goectp.core.selection.{model}`.',
        )
    spec.input(
        'max_trainings',
        valid_type=orm.Int,
        default=lambda: orm.Int(1),
        serializer=to_node,
        validator=validate_positive,
        help='Members in training at the same time.',
    )
    spec.input(
        'seed',
        valid_type=orm.Int,
        default=lambda: orm.Int(0),
        serializer=to_node,
        validator=lambda value, _: 'seed: give zero or more' if value is not None and value.value < 0 else None,
        help='Of the base split, the folds, the members and the random acquisition, where nothing else is given.',
    )


def validate_campaign(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Refuse, before anything is computed, what would fail in the first round or the last."""
    if any(name not in inputs for name in ('pool', 'dataset', 'engine', 'picking')):
        return None  # which of them is missing is said elsewhere
    checks = (_check_engine, _check_pool, _check_dataset, _check_model, _check_extension, _check_training)
    return next((complaint for check in checks if (complaint := check(inputs))), None)


def _check_engine(inputs: Mapping[str, Any]) -> str | None:
    try:
        load_engine(inputs['engine'].value)
    except ValueError as error:
        return f'engine: {error}'
    return None


def _check_pool(inputs: Mapping[str, Any]) -> str | None:
    from aiida_goectp.core.selection import PickSettings, figure_of_merit, read_settings

    pool = inputs['pool']
    if len(pool) == 0:
        return 'pool: the node holds no crystal; look at its failures with `aiida-goectp show PK`'
    try:
        settings = read_settings(PickSettings, inputs['picking'].get_dict(), 'picking')
        settings.filters.check_columns(pool.crystals.properties)
    except ValueError as error:
        return str(error)
    figure = figure_of_merit(settings.figure_of_merit)
    missing = [name for name in figure.columns if name not in pool.columns]
    if missing:
        have = ', '.join(pool.columns) or 'none'
        return f'picking: {figure.name!r} needs the property {", ".join(missing)}; the pool has: {have}'
    return None


def _check_dataset(inputs: Mapping[str, Any]) -> str | None:
    node = inputs['dataset']
    if 'split' not in inputs:
        return None if node.base.attributes.get('trainable') else 'dataset: none of its rows has a label to be used'
    name = inputs['split'].value
    if name not in node.splits:
        return f'split {name!r}: the dataset has {", ".join(node.splits) or "none; leave it out"}'
    empty = [part for part in _PARTS if not node.splits[name].get(part)]
    return f'split {name!r}: no row in {", ".join(empty)}; a campaign needs all three parts' if empty else None


def _check_model(inputs: Mapping[str, Any]) -> str | None:
    from aiida_goectp.core.selection import figure_of_merit
    from aiida_goectp.core.selection.picking import PickSettings

    if 'model' not in inputs:
        if 'train' not in inputs:
            return 'give a model to begin with, or the inputs `train` of a training, or both'
        return 'predictions: give the model that made them as well' if 'predictions' in inputs else None
    model = inputs['model']
    figure = figure_of_merit(PickSettings.model_validate(inputs['picking'].get_dict()).figure_of_merit)
    targets = set(model.card.targets)
    if figure.tensor not in targets | ({'total'} if {'electronic', 'ionic'} <= targets else set()):
        known = ', '.join(sorted(targets))
        return f'model: {figure.name!r} needs the {figure.tensor} tensor; {model.card.name} predicts {known}'
    if 'predictions' not in inputs:
        return None
    predictions = inputs['predictions']
    if len(predictions) != len(inputs['pool']):
        return f'predictions: {len(predictions)} rows for a pool of {len(inputs["pool"])} crystals'
    if predictions.model_hash != model.content_hash:
        return 'predictions: they were made by another model than the one that is given'
    return None


def _check_extension(inputs: Mapping[str, Any]) -> str | None:
    given = inputs.get('extend', {})
    if not given:
        return None
    if {'history', 'dataset'} - set(given) or 'model' not in inputs:
        return 'extend: give the outputs `history` and `dataset` of the campaign, and its output `model` as `model`'
    if 'labels' in inputs:
        return 'labels: what a campaign is extended with comes from its dataset; join them to that first'
    wanted, had = inputs['picking'].get_dict().get('figure_of_merit', 'total'), given['history']['figure_of_merit']
    return f'extend: the campaign looked for {had!r}, not for {wanted!r}' if wanted != had else None


def _check_training(inputs: Mapping[str, Any]) -> str | None:
    from aiida_goectp.core.selection import RetrainingPolicy

    job = inputs.get('train', {}).get('goectp')
    if not job or 'settings' not in job:
        return None
    settings = job['settings'].get_dict()
    policy = RetrainingPolicy.model_validate(inputs['retraining'].get_dict())
    if settings.get('members', 1) != 1:
        return 'train.goectp.settings.members: the committee has as many members as there are folds (retraining.folds)'
    if 'model' not in inputs or policy.mode != 'fine-tune' or not {'preset', 'options', 'functionals'} & set(settings):
        return None
    card = inputs['model'].card
    other = card.other_options(settings.get('options', {}))
    if settings.get('preset', card.preset if 'options' not in settings else 'goectp') != card.preset:
        other.append('preset')
    if 'functionals' in settings and card.other_functionals(settings['functionals']):
        other.append('functionals')
    if other:
        what = ', '.join(other)
        return (
            f'train.goectp.settings: {card.name} has another {what} and cannot be fine-tuned to these settings; leave '
            'preset, options and functionals out, or retrain from scratch (retraining.mode)'
        )
    return None


def predict_inputs(
    code: orm.AbstractCode | str,
    protocol: str | None,
    overrides: Mapping[str, Any] | None,
    options: Mapping[str, Any] | None,
    gpus: int,
) -> dict[str, Any]:
    """Return the inputs of a prediction but crystals and model, by a protocol of ``goectp.predict``.

    :raises ValueError: no such protocol, or a scheduler that cannot be asked for GPUs
    """
    return PredictWorkChain.inputs_from_protocol(code, protocol, overrides, options, gpus)


def inputs_from_labels(dataset: DatasetData, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a campaign without a model to begin with has in place of the protocol's inputs.

    Its models know nothing but its labels. So each is trained from scratch, elements that no label has shown yet are
    candidates (who leaves them out never finds them), and as long as there are few labels a small network on fixed
    numbers of the crystal learns from them. This is what found most in the backtest, docs/howto/backtest.md.

    :param dataset: labels to begin with
    :param overrides: of the user; with a preset or options of their own, the recipe of the training is theirs, too
    """
    from aiida_goectp.core.selection import FROM_LABELS

    inputs: dict[str, Any] = {
        'retraining': {'mode': FROM_LABELS.mode},
        'picking': {'filters': {'unseen_elements': True}},
    }
    given = overrides.get('train', {}).get('goectp', {}).get('settings', {})
    if not {'preset', 'options'} & set(given) and dataset.base.attributes.get('trainable') <= FEW:
        inputs['train'] = {'goectp': {'settings': few_labels_settings()}}
    return inputs


def train_inputs(
    code: orm.AbstractCode | str,
    dataset: DatasetData,
    protocol: str | None,
    overrides: Mapping[str, Any] | None,
    options: Mapping[str, Any] | None,
    gpus: int,
) -> dict[str, Any]:
    """Return the inputs of the training of one member but dataset, split and model, by a protocol of ``goectp.train``.

    :raises ValueError: no such protocol or setting, or a scheduler that cannot be asked for GPUs
    """
    one = merge({'goectp': {'settings': {'members': 1}}}, overrides or {})
    return TrainWorkChain.inputs_from_protocol(code, protocol, one, options, gpus)

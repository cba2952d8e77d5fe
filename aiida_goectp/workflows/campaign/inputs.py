"""Inputs of a campaign and of a retraining: ports, and values that follow from the starting dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.base import validate_positive
from aiida_goectp.calculations.structures import to_crystals
from aiida_goectp.core.formats.settings import Settings
from aiida_goectp.core.learning.settings import settings_from_labels
from aiida_goectp.core.selection import FROM_LABELS, History, PickSettings, RetrainingPolicy, StopRules
from aiida_goectp.core.selection.folds import BASE_FRACTIONS
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.campaign.validation import validate_campaign, validate_settings
from aiida_goectp.workflows.predict import PROVIDED, PredictWorkChain
from aiida_goectp.workflows.train import TrainWorkChain
from aiida_goectp.workflows.verify import VerifyWorkChain

__all__ = (
    'SETTINGS',
    'define_inputs',
    'define_settings',
    'define_training',
    'inputs_from_labels',
    'kept_inputs',
)

_TRAIN = ('goectp.dataset', 'goectp.split', 'goectp.model', 'goectp.parent_folder')
"""inputs that the work chain provides itself"""
SETTINGS: dict[str, type[Settings]] = {'picking': PickSettings, 'stop_rules': StopRules, 'retraining': RetrainingPolicy}
"""class of the settings of each port"""
_MEANINGS = {
    'picking': 'Figure of merit, filters and acquisition of the picks.',
    'stop_rules': 'The first rule that applies ends the campaign.',
    'retraining': 'When and how to retrain, and the condition for adopting the new model.',
}


def define_settings(spec: WorkChainSpec, *names: str) -> None:
    """Define the ports of settings.

    :param names: of ``picking``, ``stop_rules`` and ``retraining``
    """
    for name in names:
        model = SETTINGS[name]
        spec.input(
            name,
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            serializer=orm.to_aiida_type,
            validator=validate_settings(model),
            help=f'{_MEANINGS[name]} Fields of `aiida_goectp.core.selection.{model.__name__}`.',
        )


def define_training(spec: WorkChainSpec, **options: Any) -> None:
    """Define the ports of a training of a committee: ``train``, ``max_trainings`` and ``seed``.

    :param options: of the namespace ``train``
    """
    spec.expose_inputs(TrainWorkChain, namespace='train', exclude=_TRAIN, namespace_options=options)
    spec.input(
        'max_trainings',
        valid_type=orm.Int,
        default=lambda: orm.Int(1),
        serializer=orm.to_aiida_type,
        validator=validate_positive,
        help='Maximum number of members in training at the same time.',
    )
    spec.input(
        'seed',
        valid_type=orm.Int,
        default=lambda: orm.Int(0),
        serializer=orm.to_aiida_type,
        validator=lambda value, _: 'seed: give zero or more' if value is not None and value.value < 0 else None,
        help='Seed of base split, folds, members and random acquisition, where their settings give none.',
    )


def define_inputs(spec: WorkChainSpec) -> None:
    """Define the ports of :class:`aiida_goectp.workflows.campaign.workchain.ActiveLearningWorkChain`."""
    train, validation, test = (f'{fraction:.0%}' for fraction in BASE_FRACTIONS)
    spec.input('pool', valid_type=CrystalsData, serializer=to_crystals, help='Crystals to search in.')
    spec.input(
        'dataset',
        valid_type=DatasetData,
        serializer=DatasetData.wrap,
        help='Starting dataset: labels that are known beforehand.',
    )
    spec.input(
        'split',
        valid_type=orm.Str,
        required=False,
        serializer=orm.to_aiida_type,
        help='Base split of the starting dataset: its validation rows calibrate the models, its test rows are the '
        f'hold-out. Default: a new split by formula, {train} train, {validation} validation, {test} test.',
    )
    spec.input(
        'model',
        valid_type=ModelData,
        required=False,
        serializer=to_model,
        help='Model to start with; without it, one is trained on the starting dataset.',
    )
    spec.input(
        'predictions',
        valid_type=PredictionsData,
        required=False,
        help='Predictions of the pool by `model`, for the first round.',
    )
    spec.input(
        'labels',
        valid_type=DatasetData,
        required=False,
        serializer=DatasetData.wrap,
        help='Further labels, as if of earlier rounds.',
    )
    define_settings(spec, *SETTINGS)
    spec.expose_inputs(VerifyWorkChain, include=('engine', 'dfpt', 'thresholds', 'reuse', 'max_concurrent'))
    spec.input_namespace('extend', required=False, help='Outputs of a campaign to extend; give its model as `model`.')
    spec.input(
        'extend.history', valid_type=orm.Dict, required=False, validator=validate_settings(History), help='Its history.'
    )
    spec.input(
        'extend.dataset',
        valid_type=DatasetData,
        required=False,
        serializer=DatasetData.wrap,
        help='Its dataset.',
    )
    spec.expose_inputs(PredictWorkChain, namespace='predict', exclude=PROVIDED)
    define_training(
        spec,
        required=False,
        populate_defaults=False,
        help='Inputs of the training of each member of the committee; without them no model is retrained.',
    )
    spec.inputs.validator = validate_campaign


def inputs_from_labels(dataset: DatasetData, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of the protocol for a campaign without a model to start with.

    Its models learn from the labels of the campaign only. So each is trained from scratch, elements without a label
    are candidates. If most labels have force constants, the models learn from these as well; else, with few labels, the
    model is a small network on fixed descriptors of the crystal. These inputs found most in the backtest,
    docs/howto/backtest.md.

    :param dataset: starting dataset
    :param overrides: given by the user; with a preset or options of the network, the training settings are not changed
    """
    inputs: dict[str, Any] = {
        'retraining': {'mode': FROM_LABELS.mode},
        'picking': {'filters': {'unseen_elements': True}},
    }
    given = overrides.get('train', {}).get('goectp', {}).get('settings', {})
    count = dataset.base.attributes.get
    settings = settings_from_labels(count('trainable'), count('force_constants', 0))
    if not {'preset', 'options'} & set(given) and settings is not None:
        inputs['train'] = {'goectp': {'settings': settings.model_dump(exclude_unset=True)}}
    return inputs


def kept_inputs(retrains: bool, model: ModelData, prepared: orm.RemoteData | None) -> dict[str, orm.Data]:
    """Return the inputs of a prediction of the pool by which its crystals are prepared once only.

    :param retrains: whether the pool may be predicted again, by another model
    :param model: that predicts
    :param prepared: folder of an earlier prediction with the preparation
    """
    if not retrains or not model.card.preparation_can_be_kept:
        return {}
    return {'keep_prepared': orm.Bool(True)} if prepared is None else {'prepared': prepared}

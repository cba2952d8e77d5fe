"""Validation of the inputs of a campaign, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import numpy as np
from aiida import orm

from aiida_goectp.calculations.train import all_settings
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, make_split
from aiida_goectp.core.datasets.trained_rows import (
    label_counts,
    missing_labels_error,
    take_trained_rows,
    training_functionals,
)
from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.formats.names import GAP_COLUMN
from aiida_goectp.core.formats.settings import Settings, read_settings
from aiida_goectp.core.selection import History, PickSettings, RetrainingPolicy, StopRules, figure_of_merit
from aiida_goectp.core.selection.acquisition import acquisition
from aiida_goectp.core.selection.folds import (
    BASE_FRACTIONS,
    BASE_SPLIT,
    add_labels,
    fold_name,
    with_base_split,
    with_folds,
)
from aiida_goectp.core.selection.model_errors import rows_trained_on
from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.workflows.dfpt.engines import check_engine, engine_inputs, load_engine

__all__ = ('campaign_errors', 'hold_out_warning', 'validate_campaign', 'validate_settings')

_PORTS: dict[type[Settings], str] = {
    PickSettings: 'picking',
    StopRules: 'stop_rules',
    RetrainingPolicy: 'retraining',
    History: 'extend.history',
}

_COMPARED = 500
"""largest number of rows that are searched for in the training of a model"""
_SAMPLE = 10
"""crystals of the pool for which the functional of the engine is determined"""


def validate_settings(model: type[Settings]) -> Callable[[orm.Dict | None, Any], str | None]:
    """Return a port validator of a ``Dict`` with the fields of a settings class."""

    def validate(value: orm.Dict | None, _: Any) -> str | None:
        if value is None:
            return None
        try:
            read_settings(model, value.get_dict(), _PORTS[model])
        except ValueError as error:
            return str(error)
        return None

    return validate


def validate_campaign(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return the errors, one a line, of inputs that would fail in the first round or a later one."""
    if any(name not in inputs for name in ('pool', 'dataset', 'engine', 'picking')):
        return None  # the validation of the single ports names what is missing
    return '\n'.join(campaign_errors(inputs)) or None


def campaign_errors(inputs: Mapping[str, Any], invalid: Container[str] = ()) -> list[str]:
    """Return the errors of inputs that would fail in the first round or a later one.

    :param invalid: inputs whose own errors are known; what depends on them is not checked
    """
    checks = [check for check, names in _CHECKS.items() if not any(name in invalid for name in names)]
    return [error for check in checks if (error := check(inputs))]


def hold_out_warning(inputs: Any) -> str | None:
    """Return a warning if the model to start with was or may have been trained on rows of the hold-out, else None.

    Without a retraining there is no comparison, and no warning.

    :param inputs: of a campaign: a mapping, or those of a stored node
    """
    if 'model' not in inputs or 'train' not in inputs:
        return None
    policy = RetrainingPolicy.model_validate(inputs['retraining'].get_dict())
    if policy.every_rounds is policy.every_labels is None:
        return None
    trained_on = inputs['model'].trained_on
    if trained_on is None:
        return (
            'the file of the model does not state the crystals that it was trained on; if rows of the hold-out are '
            'among them, they favour it over retrained models'
        )
    extended = 'extend' in inputs and inputs['extend']  # that of a process is empty without a campaign to extend
    node = (extended or inputs)['dataset']
    table = node.dataset
    column = table.splits.get(inputs['split'].value if 'split' in inputs else BASE_SPLIT)
    held = table.trainable if column is None else table.trainable & (column == 'test')
    rows = np.flatnonzero(held)
    compared = rows[:: 1 + len(rows) // _COMPARED]
    seen = int(rows_trained_on(table, np.isin(np.arange(len(table)), compared), trained_on).sum())
    text = 'trainable rows of the dataset' if column is None else 'rows of the hold-out'
    text += '' if len(compared) == len(rows) else f' that were compared, of {len(rows)}'
    return (
        f'the model was trained on {seen} of {len(compared)} {text}; where such rows are in the hold-out, they are '
        'left out of its comparisons with retrained models'
        if seen
        else None
    )


def _check_engine(inputs: Mapping[str, Any]) -> str | None:
    try:
        engine = load_engine(inputs['engine'].value)
    except ValueError as error:
        return f'engine: {error}'
    try:
        check_engine(engine, inputs.get('dfpt', {}))
    except ValueError as error:
        return f'dfpt: {error}'
    return None


def _check_pool(inputs: Mapping[str, Any]) -> str | None:
    pool = inputs['pool']
    if len(pool) == 0:
        return 'pool: the node holds no crystal; `aiida-goectp show PK` lists its failures'
    settings = read_settings(PickSettings, inputs['picking'].get_dict(), 'picking')
    try:
        settings.filters.check_columns(pool.crystals.properties)
    except ValueError as error:
        return f'picking.filters: {error}'
    figure = figure_of_merit(settings.figure_of_merit)
    missing = [name for name in figure.columns if name not in pool.columns]
    if missing:
        have = ', '.join(pool.columns) or 'none'
        return f'picking: {figure.name!r} needs the property {", ".join(missing)}; the pool has: {have}'
    name = settings.acquisition.name
    if acquisition(name).needs_objectives and GAP_COLUMN not in pool.columns:
        have = ', '.join(pool.columns) or 'none'
        return f'picking.acquisition: {name!r} needs the property {GAP_COLUMN}; the pool has: {have}'
    return None


def _check_dataset(inputs: Mapping[str, Any]) -> str | None:
    node = inputs['dataset']
    if 'split' not in inputs:
        return _new_split_error(node, inputs['seed'].value if 'seed' in inputs else 0)
    name = inputs['split'].value
    if name not in node.splits:
        return f'split: {name!r} is unknown; the dataset has {", ".join(node.splits) or "no split; leave it out"}'
    empty = [part for part in SPLIT_PARTS if not node.splits[name].get(part)]
    return (
        f'split: {name!r} has no row in {", ".join(empty)}; a campaign needs rows in all three parts' if empty else None
    )


def _new_split_error(node: DatasetData, seed: int) -> str | None:
    """Return an error if no base split can be made."""
    if not node.base.attributes.get('trainable'):
        return 'dataset: none of its rows has a usable label'
    if BASE_SPLIT in node.splits:
        return (
            f'dataset: it has the base split {BASE_SPLIT!r} of an earlier campaign already; set split: {BASE_SPLIT} to '
            'continue with its parts, or give another split of the dataset'
        )
    table = node.dataset
    try:
        make_split(table.crystals, table.trainable, 'formula', seed, BASE_FRACTIONS)
    except ValueError as error:
        return f'dataset: no base split can be made: {error}'
    return None


def _check_labels(inputs: Mapping[str, Any]) -> str | None:
    """Return an error if the training rows of a member of the first committee lack labels of a tensor."""
    job = inputs.get('train', {}).get('goectp')
    if job is None or 'model' in inputs:
        return None
    seed = inputs['seed'].value if 'seed' in inputs else 0
    values = all_settings(job['settings'].get_dict() if 'settings' in job else {})
    table, name = inputs['dataset'].dataset, inputs['split'].value if 'split' in inputs else None

    def error_of(data: Dataset, split: str) -> str | None:
        return missing_labels_error(label_counts(data.part(split, 'train')), values['preset'])

    try:
        made = table.with_split(BASE_SPLIT, 'formula', seed, BASE_FRACTIONS) if name is None else table
        taken = take_trained_rows(made, training_functionals(values['functionals'], table, name))[0]
        if error_of(taken, name or BASE_SPLIT) is None:  # each member is trained on these rows
            return None
        # as the campaign does it, which takes longer
        start, split = with_base_split(table, name, seed)
        grown = add_labels(start, inputs['labels'].dataset, split)[0] if 'labels' in inputs else start
        taken = take_trained_rows(grown, training_functionals(values['functionals'], start, split))[0]
        folds = RetrainingPolicy.model_validate(inputs['retraining'].get_dict()).folds
        folded = with_folds(taken, start, split, folds, seed)
    except ValueError:  # the checks of dataset and functionals name it
        return None
    errors = [error_of(folded, fold_name(split, member)) for member in range(folds)]
    return next((f'dataset: {error}' for error in errors if error), None)


def _check_model(inputs: Mapping[str, Any]) -> str | None:
    if 'model' not in inputs:
        if 'train' not in inputs:
            return 'model: give a model to start with, or the inputs `train` of a training, or both'
        return 'predictions: give the model that made them as well' if 'predictions' in inputs else None
    model = inputs['model']
    figure = figure_of_merit(PickSettings.model_validate(inputs['picking'].get_dict()).figure_of_merit)
    targets = set(model.card.targets)
    if figure.tensor not in targets | ({'total'} if {'electronic', 'ionic'} <= targets else set()):
        have = ', '.join(sorted(targets))
        return f'model: {figure.name!r} needs the {figure.tensor} tensor; {model.card.name} predicts {have}'
    if 'predictions' not in inputs:
        return None
    predictions = inputs['predictions']
    if len(predictions) != len(inputs['pool']):
        return f'predictions: {len(predictions)} rows for a pool of {len(inputs["pool"])} crystals'
    if predictions.model_hash != model.content_hash:
        return 'predictions: they were made by another model than `model`'
    return None


def _check_extension(inputs: Mapping[str, Any]) -> str | None:
    given = inputs.get('extend', {})
    if not given:
        return None
    if {'history', 'dataset'} - set(given) or 'model' not in inputs:
        return 'extend: give the outputs `history` and `dataset` of the campaign, and its output `model` as `model`'
    if 'labels' in inputs:
        return 'labels: not allowed with `extend`; join them to the dataset of the campaign first'
    wanted, had = inputs['picking'].get_dict().get('figure_of_merit', 'total'), given['history']['figure_of_merit']
    return f'extend: the figure of merit of the campaign is {had!r}, not {wanted!r}' if wanted != had else None


def _check_training(inputs: Mapping[str, Any]) -> str | None:
    job = inputs.get('train', {}).get('goectp')
    if not job or 'settings' not in job:
        return None
    settings = job['settings'].get_dict()
    policy = RetrainingPolicy.model_validate(inputs['retraining'].get_dict())
    if settings.get('members', 1) != 1:
        return 'train.goectp.settings.members: leave it out; the committee has one member for each of retraining.folds'
    if 'model' not in inputs or policy.mode != 'fine-tune' or not {'preset', 'options', 'functionals'} & set(settings):
        return None
    card = inputs['model'].card
    other = card.differing_options(settings.get('options', {}))
    if settings.get('preset', card.preset if 'options' not in settings else 'goectp') != card.preset:
        other.append('preset')
    if 'functionals' in settings and card.functionals_differ(settings['functionals']):
        other.append('functionals')
    if other:
        return (
            f'train.goectp.settings: {card.name} has another {", ".join(other)} and cannot be fine-tuned to these '
            "settings; leave preset, options and functionals out, or set retraining.mode to 'scratch'"
        )
    return None


def _check_functionals(inputs: Mapping[str, Any]) -> str | None:
    """Return an error if no retraining could take the labels of the engine together with those of the dataset."""
    settings = inputs.get('train', {}).get('goectp', {}).get('settings')
    policy = RetrainingPolicy.model_validate(inputs['retraining'].get_dict())
    if settings is None or policy.every_rounds is policy.every_labels is None:
        return None
    start = inputs['dataset'].dataset
    present = sorted(set(start.functional[start.trainable].tolist()))
    functionals = settings.get_dict().get('functionals', [])
    if not functionals and 'model' in inputs:
        functionals = inputs['model'].card.architecture.get('functionals', [])
    trained = training_functionals(functionals, start)
    for name, crystal in _engine_functionals(inputs).items():
        try:
            taken = trained_as([*present, name], trained)
        except ValueError as error:
            return f'dfpt: labels of {name} (crystal {crystal}): {error}'
        if name not in taken:
            # a name with a comma is quoted for the configuration, a YAML file
            words = [repr(item) if ',' in item else item for item in (name, *present)]
            both = f'[{name.partition("+U(")[0]}+U]' if '+U(' in name else f'[{", ".join(words)}]'
            return (
                f'dataset: labels of {", ".join(present)}, while the engine gives {name} (crystal {crystal}), which no '
                'retraining could take; state the functional of the dataset if its rows have none, choose another '
                f'functional of the engine, or set training.functionals to {both}'
            )
    return None


def _engine_functionals(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the functionals of labels that the engine would give, with the id of a crystal, from some of the pool."""
    pool = inputs['pool'].crystals
    found: dict[str, str] = {}
    try:
        engine = load_engine(inputs['engine'].value)
    except ValueError:  # the check of the engine names it
        return found
    for row in range(0, len(pool), max(1, len(pool) // _SAMPLE)):
        structure = structure_from_crystal(pool[row])
        try:
            name = engine.functional_of(engine_inputs(engine, structure, inputs.get('dfpt', {}), None))
        except ValueError:  # a refused crystal gets no label
            continue
        if name is not None:
            found.setdefault(name, pool[row].id)
    return found


_CHECKS: dict[Callable[[Mapping[str, Any]], str | None], tuple[str, ...]] = {
    _check_engine: ('engine', 'dfpt'),
    _check_pool: ('pool', 'picking'),
    _check_dataset: ('dataset', 'split', 'seed'),
    _check_labels: ('dataset', 'split', 'seed', 'labels', 'model', 'train', 'retraining'),
    _check_model: ('pool', 'model', 'train', 'predictions', 'picking'),
    _check_extension: ('extend', 'model', 'labels', 'picking'),
    _check_training: ('train', 'retraining', 'model'),
    _check_functionals: ('pool', 'dataset', 'engine', 'dfpt', 'train', 'retraining', 'model'),
}
"""check → inputs that it depends on"""

"""``goectp.train``: training of a model or a committee in one job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine.processes.process_spec import CalcJobProcessSpec

from aiida_goectp.calculations.base import ExecutableCalculation, validate_positive
from aiida_goectp.core.datasets.trained_rows import label_counts, missing_labels_error
from aiida_goectp.core.executable.traininputs import split_dataset
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData, to_model

__all__ = ('TrainCalculation', 'all_settings', 'labels_error', 'settings_error', 'validate_rows')

_CARD = ('licence', 'citation', 'notes')
"""text fields of the model card"""
_LABELS = ('electronic', 'ionic', 'force_constants', 'born_charges')
"""kinds of labels, attributes of a dataset"""
_FEW_LABELS = 20
"""labels that may all be in the fifth of the rows that a random split holds out"""


def all_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return training settings with the defaults of missing ones.

    :raises FormatError: unknown or invalid settings
    """
    return read_settings(TrainSettings, dict(settings), 'settings').model_dump()


def settings_error(settings: Mapping[str, Any]) -> str | None:
    """Return the errors in training settings, None without errors."""
    try:
        all_settings(settings)
    except FormatError as error:
        return str(error)
    return None


def validate_settings(value: orm.Dict | None, _: Any) -> str | None:
    """Return an error for unknown or invalid settings."""
    return None if value is None else settings_error(value.get_dict())


def validate_card(value: orm.Dict | None, _: Any) -> str | None:
    """Return an error for unknown fields of the model card."""
    unknown = [key for key in value.get_dict() if key not in _CARD] if value is not None else []
    return f'card: unknown field {unknown[0]!r}; available: {", ".join(_CARD)}' if unknown else None


def validate_rows(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return an error for a dataset without training rows, or an unknown split."""
    node = inputs.get('dataset')
    if node is None:  # a work chain that exposes the port provides it later
        return None
    rows = int(node.base.attributes.get('trainable'))
    if 'split' in inputs:
        name = inputs['split'].value
        if name not in node.splits:
            have = ', '.join(node.splits) or 'none; `aiida-goectp dataset split` makes a dataset with one'
            return f'split: dataset node {node.pk} has no split {name!r}; it has {have}'
        rows = node.splits[name].get('train', 0)
    if rows < 2:
        return f'dataset: {rows} trainable rows; give at least two with labels that passed the gates'
    return None


def validate_inputs(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return an error for a dataset without training rows or without labels to learn from, or an unknown split."""
    if (error := validate_rows(inputs, _)) or 'dataset' not in inputs or 'model' in inputs:
        return error
    return labels_error(inputs['dataset'], inputs.get('settings'), inputs['split'].value if 'split' in inputs else None)


def labels_error(dataset: DatasetData, settings: orm.Dict | None, split: str | None = None) -> str | None:
    """Return an error if no training row has a label of a tensor that a training from random weights has to learn.

    The rows are those of the executable. To read the dataset and to make a random split takes time, and validators run
    several times: both are done only where the labels that decide are so few that all of them may be outside of the
    part train.

    :param split: of the dataset; None for the random split of the executable
    """
    values = all_settings({} if settings is None else settings.get_dict())
    counts = {name: dataset.base.attributes.get(name, 0) for name in _LABELS}
    missing = missing_labels_error(counts, values['preset'])
    most = _FEW_LABELS if split is None else len(dataset) - dataset.splits[split].get('train', 0)
    certain = {name: number if number > most else 0 for name, number in counts.items()}
    if missing is None and missing_labels_error(certain, values['preset']) is not None:
        try:
            parts = split_dataset(dataset.dataset, split, None, values['seed'])[1]
        except FormatError as error:  # the executable would refuse it as well
            return f'dataset: {error}'
        missing = missing_labels_error(label_counts(parts['train']), values['preset'])
    return f'dataset: {missing}' if missing else None


class TrainCalculation(ExecutableCalculation):
    """Run ``goectp train`` on a dataset, from scratch or from a model.

    After each epoch the state of the training is written to ``model.safetensors.state`` in the working folder. A new
    job continues an interrupted or killed one, to the same weights, if it gets the ``remote_folder`` of that job as
    ``parent_folder``.
    """

    INPUT = 'dataset.npz'
    SETTINGS = 'settings.json'
    INITIAL = 'initial.safetensors'
    OUTPUT = 'model.safetensors'
    STATUS = 'model.safetensors.status.json'
    STATE = 'model.safetensors.state'
    LOG = 'model.safetensors.log.jsonl'
    _PARSER = 'goectp.train'
    _UNIT = 'epochs'
    _CODES = (
        (210, 'ERROR_BAD_INPUT', 'The executable refused dataset, split or settings: {message}'),
        (312, 'ERROR_OUTPUT_MISSING', 'The executable finished without a model file.'),
        (313, 'ERROR_OUTPUT_BROKEN', 'The model file cannot be read: {message}'),
        (315, 'ERROR_MODEL_DOES_NOT_MATCH', 'The model does not match the settings: {message}'),
        (321, 'ERROR_OUT_OF_MEMORY', 'The memory is too small for the batch: {message}'),
        (325, 'ERROR_DIVERGED', 'The training diverged: {message}'),
        (326, 'ERROR_PLATEAU', 'The monitor stopped the training: {message}'),
    )

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        to_node = orm.to_aiida_type
        spec.input('dataset', valid_type=DatasetData, serializer=DatasetData.wrap, help='Crystals with labels.')
        spec.input(
            'settings',
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            serializer=to_node,
            validator=validate_settings,
            help='Fields of `aiida_goectp.core.learning.settings.TrainSettings`; missing ones have their defaults.',
        )
        spec.input(
            'split',
            valid_type=orm.Str,
            required=False,
            serializer=to_node,
            help='Split of the dataset; if not given, a tenth each is drawn by the seed for validation and test.',
        )
        spec.input(
            'model',
            valid_type=ModelData,
            required=False,
            serializer=to_model,
            help='Model with the initial weights (fine-tuning).',
        )
        spec.input(
            'processes',
            valid_type=orm.Int,
            required=False,
            serializer=to_node,
            validator=validate_positive,
            help='Number of processes that train one network, one for each GPU of the node; one if not given.',
        )
        spec.input('name', valid_type=orm.Str, required=False, serializer=to_node, help='Name of the new model.')
        spec.input(
            'card',
            valid_type=orm.Dict,
            required=False,
            serializer=to_node,
            validator=validate_card,
            help='Text fields of the model card: licence, citation, notes.',
        )
        spec.inputs.validator = validate_inputs

        spec.output('model', valid_type=ModelData, help='The trained model.')
        spec.output(
            'history',
            valid_type=orm.ArrayData,
            required=False,
            help='Values by epoch: loss, errors, learning rate.',
        )
        spec.output(
            'output_parameters',
            valid_type=orm.Dict,
            required=False,
            help='Status of the executable: epochs, best validation, device; metrics of the model, seconds.',
        )
        spec.default_output_node = 'output_parameters'

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the settings; return what to copy, run and retrieve."""
        with folder.open(self.SETTINGS, 'w') as stream:
            json.dump(self.inputs.settings.get_dict(), stream)
        calcinfo = CalcInfo()
        calcinfo.local_copy_list = [(self.inputs.dataset.uuid, DatasetData.FILE, self.INPUT)]
        arguments = ['train', self.INPUT, '--output', self.OUTPUT, '--settings', self.SETTINGS]
        if 'model' in self.inputs:
            calcinfo.local_copy_list.append((self.inputs.model.uuid, ModelData.FILE, self.INITIAL))
            arguments += ['--initial', self.INITIAL]
        for name in ('split', 'name', 'processes'):
            if name in self.inputs:
                arguments += [f'--{name}', str(self.inputs[name].value)]
        for name, text in (self.inputs.card.get_dict() if 'card' in self.inputs else {}).items():
            arguments += [f'--{name}', str(text)]
        calcinfo.codes_info = [self._code_info(*arguments)]
        calcinfo.retrieve_list = [self.OUTPUT, self.STATUS, self.LOG, self.STDOUT, self.STDERR]
        calcinfo.remote_copy_list = self._from_parent(self.STATE, self.LOG)
        return calcinfo

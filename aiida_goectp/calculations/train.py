"""``goectp.train``: train a model, or a committee, in one job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine.processes.process_spec import CalcJobProcessSpec

from aiida_goectp.calculations.base import ExecutableCalculation, validate_positive
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.learning.settings import FEW_LABELS, TrainSettings
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData

__all__ = ('TrainCalculation', 'all_settings', 'few_labels_settings', 'settings_error')

_CARD = ('licence', 'citation', 'notes')
"""fields of the model card that are prose"""


def all_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training with the defaults of those that are not given.

    :raises FormatError: unknown or invalid settings
    """
    return read_settings(TrainSettings, dict(settings), 'settings').model_dump()


def few_labels_settings() -> dict[str, Any]:
    """Return the settings of a training for few labels."""
    return FEW_LABELS.model_dump(exclude_unset=True)


def settings_error(settings: Mapping[str, Any]) -> str | None:
    """Return the errors in the settings of a training, None without errors."""
    try:
        all_settings(settings)
    except FormatError as error:
        return str(error)
    return None


def validate_settings(value: orm.Dict | None, _: Any) -> str | None:
    """Refuse unknown and invalid settings."""
    return None if value is None else settings_error(value.get_dict())


def validate_card(value: orm.Dict | None, _: Any) -> str | None:
    """Refuse what the model card has no room for."""
    unknown = [key for key in value.get_dict() if key not in _CARD] if value is not None else []
    return f'card: no field is named {unknown[0]!r}; there are {", ".join(_CARD)}' if unknown else None


def validate_inputs(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Refuse a dataset without rows to learn from, and a split that it does not have."""
    node = inputs.get('dataset')
    if node is None:  # a work chain that exposes the port fills it later
        return None
    rows = int(node.base.attributes.get('trainable'))
    if 'split' in inputs:
        name = inputs['split'].value
        if name not in node.splits:
            return f'split {name!r}: the dataset has {", ".join(node.splits) or "no splits; leave it out"}'
        rows = node.splits[name].get('train', 0)
    if rows < 2:
        return f'dataset: {rows} rows to learn from; give two or more with labels that passed their gates'
    return None


class TrainCalculation(ExecutableCalculation):
    """Run ``goectp train`` on a dataset, from scratch or from a model.

    After each epoch the state of the training stands in ``model.safetensors.state`` in the working folder. A job that
    was interrupted or killed goes on there, to the same weights, if its ``remote_folder`` is given to the next one as
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
        (312, 'ERROR_OUTPUT_MISSING', 'The executable says that it finished, but left no model.'),
        (313, 'ERROR_OUTPUT_BROKEN', 'The model file cannot be read: {message}'),
        (315, 'ERROR_MODEL_DOES_NOT_MATCH', 'The model is not what the settings ask for: {message}'),
        (321, 'ERROR_OUT_OF_MEMORY', 'The memory did not suffice for the batch: {message}'),
        (325, 'ERROR_DIVERGED', 'The training diverged: {message}'),
        (326, 'ERROR_PLATEAU', 'The monitor stopped the training: {message}'),
    )

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        to_node = orm.to_aiida_type
        spec.input('dataset', valid_type=DatasetData, help='Crystals with labels.')
        spec.input(
            'settings',
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            serializer=to_node,
            validator=validate_settings,
            help='Fields of `aiida_goectp.core.learning.settings.TrainSettings`; what is missing has its default.',
        )
        spec.input(
            'split',
            valid_type=orm.Str,
            required=False,
            serializer=to_node,
            help='Split of the dataset to train, validate and test on; a tenth is held out twice, by the seed, if not '
            'given.',
        )
        spec.input('model', valid_type=ModelData, required=False, help='Model to go on from (fine-tuning).')
        spec.input(
            'processes',
            valid_type=orm.Int,
            required=False,
            serializer=to_node,
            validator=validate_positive,
            help='Processes that train one network together, one a GPU of the node; one if not given.',
        )
        spec.input('name', valid_type=orm.Str, required=False, serializer=to_node, help='Name of the new model.')
        spec.input(
            'card',
            valid_type=orm.Dict,
            required=False,
            serializer=to_node,
            validator=validate_card,
            help='Prose for the model card: licence, citation, notes.',
        )
        spec.inputs.validator = validate_inputs

        spec.output('model', valid_type=ModelData, help='The trained model.')
        spec.output(
            'history', valid_type=orm.ArrayData, required=False, help='One value an epoch: loss, errors, learning rate.'
        )
        spec.output(
            'output_parameters',
            valid_type=orm.Dict,
            required=False,
            help='What the executable says of itself: epochs, best validation, device; metrics of the model, seconds.',
        )
        spec.default_output_node = 'output_parameters'

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the settings and say what to copy, run and fetch."""
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

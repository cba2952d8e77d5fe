"""``goectp.evaluate``: errors of the predictions of a model against the labels of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.datasets import dataset_crystals, evaluate_predictions
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.predict import PROVIDED, PredictWorkChain
from aiida_goectp.workflows.submit_once import SubmitOnceMixin

__all__ = ('EvaluateWorkChain',)


def validate_evaluation(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return an error for an unknown split, or for one without rows to evaluate."""
    dataset, split, part = (inputs.get(name) for name in ('dataset', 'split', 'part'))
    if dataset is None:
        return None
    if split is None:
        trainable = dataset.base.attributes.get('trainable')
        return None if trainable else f'dataset: none of its {len(dataset)} rows has a label that passed the gates'
    if split.value not in dataset.splits:
        return f'split {split.value!r}: the dataset has {", ".join(dataset.splits) or "none"}'
    parts = dataset.splits[split.value]
    if part is not None and not parts.get(part.value):
        return f'part {part.value!r} of the split {split.value!r}: it has {parts}'
    return None


class EvaluateWorkChain(SubmitOnceMixin):
    """Predict the crystals of a dataset, or of one part of a split, and compare with the labels.

    Only the crystals are inputs of the job, not the labels.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        to_node = orm.to_aiida_type
        spec.input('model', valid_type=ModelData, serializer=to_model, help='The model.')
        spec.input('dataset', valid_type=DatasetData, serializer=DatasetData.wrap, help='Crystals with labels.')
        spec.input(
            'split',
            valid_type=orm.Str,
            required=False,
            serializer=to_node,
            help='Name of a split of the dataset; without one, all rows with a label that passed the gates.',
        )
        spec.input(
            'part',
            valid_type=orm.Str,
            default=lambda: orm.Str('test'),
            serializer=to_node,
            help='Part of that split: train, validation or test.',
        )
        spec.expose_inputs(
            PredictWorkChain,
            namespace='predict',
            exclude=PROVIDED,
        )
        spec.inputs.validator = validate_evaluation
        steps: Any = cls  # the type hints of aiida-core do not admit steps of a subclass
        spec.outline(steps.select_rows, steps.run_prediction, steps.inspect_prediction)
        spec.output('metrics', valid_type=orm.Dict, help='Metrics of all rows, by crystal system and by functional.')
        spec.output('predictions', valid_type=PredictionsData, help='Predictions of the evaluated crystals.')
        spec.exit_code(
            410,
            'ERROR_TOO_MANY_FAILED_ROWS',
            message='{failed} of {total} rows failed, more than allowed; the predictions are attached.',
        )
        spec.exit_code(450, 'ERROR_PREDICTION_FAILED', message='The crystals could not be predicted: {message}')
        spec.exit_code(451, 'ERROR_NOTHING_TO_COMPARE', message='Labels and predictions cannot be compared: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        dataset: DatasetData | Dataset,
        model: ModelData | str | Path,
        split: str | None = None,
        part: str = 'test',
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol of ``goectp.predict``.

        :param code: the executable ``goectp``, or its full label
        :param dataset: a node, or a dataset of the library
        :param model: a node, a model file, or the name of a shipped model
        :param split: name of a split of the dataset; without one, all rows
        :param part: part of that split: train, validation or test
        :param protocol: fast, balanced or stringent
        :param overrides: inputs of the work chain ``goectp.predict`` that take precedence over the protocol
        :param options: options of the job
        :param gpus: number of GPUs to request from the scheduler
        :raises ValueError: an unknown protocol, or a scheduler from which GPUs cannot be requested
        """
        builder = cls.get_builder()
        builder.dataset = dataset
        builder.model = model
        if split is not None:
            builder.split = orm.Str(split)
            builder.part = orm.Str(part)
        builder.predict = PredictWorkChain.inputs_from_protocol(code, protocol, overrides, options, gpus)
        return builder

    def select_rows(self) -> None:
        """Take the crystals of the rows to evaluate, without their labels."""
        self.ctx.crystals = self.call_once(
            'dataset_crystals',
            dataset_crystals,
            dataset=self.inputs.dataset,
            **({name: self.inputs[name] for name in ('split', 'part')} if 'split' in self.inputs else {}),
        ).result
        self.report(f'{len(self.ctx.crystals)} of {len(self.inputs.dataset)} rows are evaluated')

    def run_prediction(self) -> None:
        """Submit the prediction."""
        inputs = self.exposed_inputs(PredictWorkChain, 'predict')
        inputs.goectp.crystals = self.ctx.crystals
        inputs.goectp.model = self.inputs.model
        self.to_context(prediction=self.submit_once('predict', PredictWorkChain, inputs))

    def inspect_prediction(self) -> ExitCode | None:
        """Compare predictions and labels; too many failed rows end with an exit code, with all outputs attached."""
        node = self.ctx.prediction
        if 'predictions' not in node.outputs:
            return self.exit_codes.ERROR_PREDICTION_FAILED.format(message=failure_reason(node))
        predictions = node.outputs.predictions
        self.out('predictions', predictions)
        try:
            evaluated = self.call_once(
                'evaluate_predictions', evaluate_predictions, predictions=predictions, dataset=self.inputs.dataset
            )
        except ValueError as error:
            return self.exit_codes.ERROR_NOTHING_TO_COMPARE.format(message=error)
        self.out('metrics', evaluated.result)
        if node.is_finished_ok:
            return None
        failed = predictions.base.attributes.get('failed')
        return self.exit_codes.ERROR_TOO_MANY_FAILED_ROWS.format(failed=failed, total=len(predictions))

"""``goectp.evaluate``: how well a model predicts the labels of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.engine import ExitCode, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.datasets import dataset_crystals
from aiida_goectp.calculations.evaluate import evaluate_predictions
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.predict import PredictWorkChain

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('EvaluateWorkChain',)


def validate_evaluation(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Refuse a split that the dataset lacks, and one of which nothing can be evaluated."""
    dataset, split, part = (inputs.get(name) for name in ('dataset', 'split', 'part'))
    if dataset is None:
        return None
    if split is None:
        trainable = dataset.base.attributes.get('trainable')
        return None if trainable else f'dataset: none of its {len(dataset)} rows has a label that may be used'
    if split.value not in dataset.splits:
        return f'split {split.value!r}: the dataset has {", ".join(dataset.splits) or "none"}'
    parts = dataset.splits[split.value]
    if part is not None and not parts.get(part.value):
        return f'part {part.value!r} of the split {split.value!r}: it has {parts}'
    return None


class EvaluateWorkChain(WorkChain):
    """Predict the crystals of a dataset, or of one part of a split, and compare with the labels.

    The model sees no label: only the crystals go to the job.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        to_node = orm.to_aiida_type
        spec.input('model', valid_type=ModelData, help='The model.')
        spec.input('dataset', valid_type=DatasetData, help='Crystals with labels.')
        spec.input(
            'split',
            valid_type=orm.Str,
            required=False,
            serializer=to_node,
            help='Name of a split of the dataset; without one, all rows with a label that may be used.',
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
            exclude=('goectp.crystals', 'goectp.model', 'goectp.shard', 'goectp.parent_folder'),
        )
        spec.inputs.validator = validate_evaluation
        steps: Any = cls  # the hints of aiida-core admit no steps of a subclass
        spec.outline(steps.choose, steps.predict, steps.compare)
        spec.output('metrics', valid_type=orm.Dict, help='In all, by crystal system and by functional.')
        spec.output('predictions', valid_type=PredictionsData, help='Of the crystals that were evaluated.')
        spec.exit_code(
            410,
            'ERROR_TOO_MANY_FAILED_ROWS',
            message='{failed} of {total} rows failed, more than allowed; the predictions are attached all the same.',
        )
        spec.exit_code(450, 'ERROR_PREDICTION_FAILED', message='The crystals could not be predicted: {message}')
        spec.exit_code(451, 'ERROR_NOTHING_TO_COMPARE', message='Labels and predictions do not meet: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        dataset: DatasetData,
        model: ModelData,
        split: str | None = None,
        part: str = 'test',
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol of ``goectp.predict``.

        :param code: the executable ``goectp``, or its full label
        :param split: name of a split of the dataset; all rows without one
        :param part: of that split
        :param protocol: fast, balanced or stringent
        :param overrides: inputs of the work chain ``goectp.predict`` that take precedence over the protocol
        :param options: options of the job
        :param gpus: GPUs to ask the scheduler for
        :raises ValueError: no such protocol, or a scheduler that cannot be asked for GPUs
        """
        crystals = CrystalsData(dataset.dataset.crystals)  # stands in until the part of the split is taken
        predict: Any = PredictWorkChain.get_builder_from_protocol(
            code, crystals, model, protocol, overrides, options, gpus
        )
        job = predict.goectp._inputs(prune=True)
        builder = cls.get_builder()
        builder.dataset = dataset
        builder.model = model
        if split is not None:
            builder.split = orm.Str(split)
            builder.part = orm.Str(part)
        builder.predict = {
            'goectp': {key: value for key, value in job.items() if key not in ('crystals', 'model')},
            'allow_cpu': predict.allow_cpu,
            'clean_workdir': predict.clean_workdir,
            'max_iterations': predict.max_iterations,
        }
        return builder

    def choose(self) -> None:
        """Take the crystals, without their labels."""
        named = {'split': self.inputs.split, 'part': self.inputs.part} if 'split' in self.inputs else {}
        self.ctx.crystals = dataset_crystals(self.inputs.dataset, **named)
        self.report(f'{len(self.ctx.crystals)} of {len(self.inputs.dataset)} rows are evaluated')

    def predict(self) -> None:
        """Start the prediction."""
        inputs = self.exposed_inputs(PredictWorkChain, 'predict')
        inputs.goectp.crystals = self.ctx.crystals
        inputs.goectp.model = self.inputs.model
        inputs.metadata.call_link_label = 'predict'
        self.to_context(prediction=self.submit(PredictWorkChain, **inputs))

    def compare(self) -> ExitCode | None:
        """Compare what was predicted; too many failed rows stay a failure, with everything attached."""
        node = self.ctx.prediction
        if 'predictions' not in node.outputs:
            message = node.exit_message or node.process_state.value
            return self.exit_codes.ERROR_PREDICTION_FAILED.format(message=message)
        predictions = node.outputs.predictions
        self.out('predictions', predictions)
        try:
            metrics = evaluate_predictions(predictions, self.inputs.dataset)
        except ValueError as error:
            return self.exit_codes.ERROR_NOTHING_TO_COMPARE.format(message=error)
        self.out('metrics', metrics)
        if node.is_finished_ok:
            return None
        failed = predictions.base.attributes.get('failed')
        return self.exit_codes.ERROR_TOO_MANY_FAILED_ROWS.format(failed=failed, total=len(predictions))

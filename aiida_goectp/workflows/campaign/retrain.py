"""``goectp.retrain``: a committee trained on the folds of new labels, and compared with the model in use."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.calculations.retraining import (
    MEMBER,
    assign_members,
    compare_models,
    extract_members,
    member_settings,
    select_trained,
)
from aiida_goectp.core.datasets.trained_rows import take_trained_rows, training_functionals
from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import RetrainingPolicy, decide_retraining, fold_name
from aiida_goectp.core.selection.folds import count_new_labels
from aiida_goectp.core.selection.retraining import RetrainingDecision
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.workflows.campaign.inputs import define_settings, define_training
from aiida_goectp.workflows.committee import TrainCommitteeWorkChain
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.submit_once import SubmitOnceMixin
from aiida_goectp.workflows.train import TrainWorkChain

__all__ = ('RetrainWorkChain', 'decision_of')

_MODES = ('fine-tune', 'scratch')


def validate_mode(value: orm.Str | None, _: Any) -> str | None:
    """Return an error for an unknown mode."""
    return None if value is None or value.value in _MODES else f'mode: {value.value!r}; give {" or ".join(_MODES)}'


def trained_functionals(settings: orm.Dict, model: ModelData | None, start: DatasetData, split: str) -> list[str]:
    """Return the functionals of a training: those of the settings, of the model, or of most rows to start with."""
    given = settings.get_dict().get('functionals', [])
    if not given and model is not None:
        given = model.card.architecture.get('functionals', [])
    return training_functionals(given, start.dataset, split)


def training_dataset(model: ModelData, start: DatasetData) -> DatasetData:
    """Return the dataset of a model by its provenance, the starting dataset if it has none."""
    creator = model.creator
    found = creator.inputs.dataset if creator is not None and 'dataset' in creator.inputs else None
    return found if isinstance(found, DatasetData) else start


def decision_of(inputs: Any, ctx: Any) -> tuple[RetrainingDecision, int | None]:
    """Return the decision on retraining after a round of a campaign, and the number of new labels for the training.

    :param inputs: of the campaign
    :param ctx: context of the campaign; ``training``, if present, is the last retraining
    :return: the number is None without inputs of a training, and for labels that no training takes
    """
    history = read_history(ctx.history)
    policy, number = read_settings(RetrainingPolicy, inputs.retraining.get_dict(), 'retraining'), None
    if 'train' in inputs:
        last = ctx.training.inputs.dataset if 'training' in ctx else training_dataset(ctx.model, ctx.start)
        try:
            names = trained_functionals(inputs.train.goectp.settings, ctx.model, ctx.start, ctx.split)
            number = count_new_labels(take_trained_rows(ctx.dataset.dataset, names)[0], last.dataset, ctx.split)
        except ValueError:  # the retraining fails with this reason
            number = None
    return decide_retraining(history, policy, number), number


class RetrainWorkChain(SubmitOnceMixin):
    """Assign the new labels of a campaign to folds, train a committee, and compare it with the model in use.

    Member k is trained without fold k, from the weights of member k of the model in use or from random weights. The
    committee is calibrated on the validation rows of the base split.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'dataset',
            valid_type=DatasetData,
            serializer=DatasetData.wrap,
            help='All labels, with the base split and without folds.',
        )
        spec.input(
            'start',
            valid_type=DatasetData,
            serializer=DatasetData.wrap,
            help='Starting dataset; labels that it lacks are new and assigned to folds.',
        )
        spec.input('split', valid_type=orm.Str, serializer=orm.to_aiida_type, help='Name of the base split.')
        spec.input(
            'model',
            valid_type=ModelData,
            required=False,
            serializer=to_model,
            help='Model in use; without it, no model is compared.',
        )
        spec.input(
            'mode',
            valid_type=orm.Str,
            default=lambda: orm.Str('scratch'),
            serializer=orm.to_aiida_type,
            validator=validate_mode,
            help='`fine-tune` starts from the weights of the model in use, `scratch` from random ones.',
        )
        define_settings(spec, 'picking', 'retraining')
        define_training(spec)
        spec.inputs.validator = lambda inputs, _: (
            'mode: fine-tune needs a model'
            if 'mode' in inputs and inputs['mode'].value == 'fine-tune' and 'model' not in inputs
            else None
        )
        steps: Any = cls  # the type hints of aiida-core do not admit steps of a subclass
        spec.outline(
            steps.assign_folds,
            steps.run_training,
            steps.inspect_training,
            if_(steps.should_compare)(
                steps.compare,
            ),
        )
        cls._define_outputs(spec)

    @classmethod
    def _define_outputs(cls, spec: WorkChainSpec) -> None:
        spec.output('model', valid_type=ModelData, help='The new model.')
        spec.output(
            'comparison',
            valid_type=orm.Dict,
            required=False,
            help='Whether the new model replaces the model in use (`replace`), the `reason`, and the `comparisons`.',
        )
        spec.output(
            'left_out',
            valid_type=orm.Dict,
            required=False,
            help='Functional → number of labels that the training cannot take.',
        )
        spec.exit_code(224, 'ERROR_FOLDS_REFUSED', message='{message}')
        spec.exit_code(420, 'ERROR_TRAINING_FAILED', message='{message}')
        spec.exit_code(421, 'ERROR_COMPARISON_FAILED', message='the models cannot be compared: {message}')

    def assign_folds(self) -> ExitCode | None:
        """Assign the labels to folds, and determine settings and initial weights of each member."""
        model = self.inputs.get('model', None)
        common = {'retraining': self.inputs.retraining, 'seed': self.inputs.seed}
        given = {name: self.inputs[name] for name in ('start', 'split')}
        policy = read_settings(RetrainingPolicy, self.inputs.retraining.get_dict(), 'retraining')
        self.ctx.members = [MEMBER.format(place) for place in range(policy.folds)]
        self.ctx.initial = {}
        try:
            rows = self._trained_rows()
            self.ctx.dataset = self.call_once('assign_members', assign_members, dataset=rows, **given, **common).result
            settings = self.call_once(
                'member_settings',
                member_settings,
                settings=self.inputs.train.goectp.settings,
                dataset=self.ctx.dataset,
                model=model,
                **common,
            )
            self.ctx.settings = {name: settings[name] for name in ('committee', *self.ctx.members)}
            if self.inputs.mode.value == 'fine-tune':
                members = dict.fromkeys(self.ctx.members, model)
                if model.card.members > 1:
                    members = self.call_once(
                        'extract_members', extract_members, model=model, retraining=self.inputs.retraining
                    )
                self.ctx.initial = {name: members[name] for name in self.ctx.members}
        except ValueError as error:
            return self.exit_codes.ERROR_FOLDS_REFUSED.format(message=error)
        return None

    def _trained_rows(self) -> DatasetData:
        """Return the rows whose functional the training can take, and attach the number of the others.

        :raises ValueError: labels with different values of U for one element
        """
        dataset: DatasetData = self.inputs.dataset
        found = set(dataset.dataset.functional[dataset.dataset.trainable].tolist())
        model = self.inputs.get('model', None)
        functionals = trained_functionals(
            self.inputs.train.goectp.settings, model, self.inputs.start, self.inputs.split.value
        )
        if len(trained_as(found, functionals)) == len(found):
            return dataset
        selected = self.call_once('select_trained', select_trained, dataset=dataset, functionals=orm.List(functionals))
        self.out('left_out', selected.left_out)
        rest = ', '.join(f'{number} of {name}' for name, number in selected.left_out.get_dict().items())
        self.report(f'trained on {", ".join(functionals)}; labels left out: {rest or "none"}')
        rows: DatasetData = selected.dataset
        return rows

    def run_training(self) -> ExitCode | None:
        """Submit the training of the committee."""
        train = self.exposed_inputs(TrainWorkChain, 'train')
        train.goectp.dataset = self.ctx.dataset
        train.goectp.split = self.inputs.split
        train.goectp.settings = self.ctx.settings['committee']
        split = self.inputs.split.value
        inputs = {
            'train': train,
            'member_settings': {name: self.ctx.settings[name] for name in self.ctx.members},
            'member_splits': {name: orm.Str(fold_name(split, place)) for place, name in enumerate(self.ctx.members)},
            'member_models': self.ctx.initial,
            'max_concurrent': self.inputs.max_trainings,
        }
        if self.ctx.initial:
            inputs['calibrated_model'] = self.inputs.model
        try:
            node = self.submit_once('train_committee', TrainCommitteeWorkChain, inputs)
        except ValueError as error:
            return self.exit_codes.ERROR_TRAINING_FAILED.format(message=f'not submitted: {error}')
        self.to_context(training=node)
        return None

    def inspect_training(self) -> ExitCode | None:
        """Attach the new model."""
        node = self.ctx.training
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_TRAINING_FAILED.format(message=node.exit_message or failure_reason(node))
        self.out('model', node.outputs.model)
        return None

    def should_compare(self) -> bool:
        """Return whether there is a model in use."""
        return 'model' in self.inputs

    def compare(self) -> ExitCode | None:
        """Compare the errors of the new model with those of the model in use."""
        outputs = self.ctx.training.outputs
        try:
            compared = self.call_once(
                'compare_models',
                compare_models,
                dataset=self.ctx.dataset,
                previous=training_dataset(self.inputs.model, self.inputs.start),
                **{name: self.inputs[name] for name in ('split', 'picking', 'retraining')},
                old=self.inputs.model,
                new=outputs.model,
                **outputs.members,
            )
        except ValueError as error:
            return self.exit_codes.ERROR_COMPARISON_FAILED.format(message=error)
        self.out('comparison', compared.result)
        return None

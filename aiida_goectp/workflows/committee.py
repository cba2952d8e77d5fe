"""``goectp.train.committee``: the members of a committee trained in jobs of their own, and joined to one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.base import validate_positive
from aiida_goectp.calculations.models import merge_models
from aiida_goectp.calculations.retraining import MEMBER
from aiida_goectp.calculations.train import all_settings, labels_error, settings_error, validate_rows
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin
from aiida_goectp.workflows.submit_once import SubmitOnceMixin
from aiida_goectp.workflows.train import TrainWorkChain

__all__ = ('TrainCommitteeWorkChain',)

_BY_MEMBER = ('member_settings', 'member_splits', 'member_models')


def validate_committee(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return an error for inputs with which no committee can be trained."""
    job = inputs['train']['goectp']
    if 'split' not in job:
        return 'train.goectp.split: missing; without it each member would hold out other rows, chosen by its own seed'
    number = all_settings(job['settings'].get_dict())['members']
    if number < 2:
        return f'train.goectp.settings.members: {number}; a committee has two or more'
    return next(_member_errors(inputs, job, [MEMBER.format(place) for place in range(number)]), None)


def _member_errors(inputs: Mapping[str, Any], job: Mapping[str, Any], members: list[str]) -> Iterator[str]:
    settings, splits, models = (inputs.get(name, {}) for name in _BY_MEMBER)
    for space, values in zip(_BY_MEMBER, (settings, splits, models), strict=True):
        if unknown := sorted(set(values) - set(members)):
            yield f'{space}.{unknown[0]}: no such member; the members are {members[0]} to {members[-1]}'
    for name in members:
        values = settings[name].get_dict() if name in settings else {}
        if error := settings_error(values):
            yield f'member_settings.{name}: {error}'
        elif values.get('members', 1) != 1:
            yield f'member_settings.{name}.members: {values["members"]}; each member is one network'
        split = splits.get(name, job['split'])
        if error := validate_rows({'dataset': job['dataset'], 'split': split}, None):
            yield f'member_splits.{name}: {error}'
            continue
        model = models.get(name, job.get('model'))
        if model is not None and model.card.members > 1:
            yield f'{name}: {model.card.name} is a committee; fine-tune it by goectp.train, or give each member a model'
        if model is None and (error := labels_error(job['dataset'], settings.get(name, job['settings']), split.value)):
            yield f'{name}: {error}'


class TrainCommitteeWorkChain(ProtocolMixin, SubmitOnceMixin):
    """Train the n members of a committee, several at the same time, and join them to one model.

    The members have the settings under ``train`` with the seeds seed, seed + 1, …; the weights are then those of
    ``goectp.train`` with the same settings, which trains them one after the other. Settings, split and initial model
    of single members can be given instead. The committee is calibrated on the validation rows of ``train.goectp.split``
    and evaluated on its test rows.
    """

    _PROTOCOL_FILE = 'train.yaml'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.expose_inputs(TrainWorkChain, namespace='train', exclude=('goectp.parent_folder',))
        job: Any = spec.inputs.get_port('train.goectp')
        job.validator = validate_rows  # the models of the members are inputs of their own
        for name, kind, meaning in (
            ('member_settings', orm.Dict, 'Settings of the training in place of those under `train`.'),
            ('member_splits', orm.Str, 'Split to train on in place of that under `train`.'),
            ('member_models', ModelData, 'Model to fine-tune in place of that under `train`.'),
        ):
            spec.input_namespace(
                name, valid_type=kind, dynamic=True, required=False, help=f'By member, member_00, …: {meaning}'
            )
        spec.input(
            'calibrated_model',
            valid_type=ModelData,
            serializer=to_model,
            required=False,
            help='Model of whose members these are fine-tuned. Its calibration is kept where the validation rows are '
            'too few for one.',
        )
        spec.input(
            'max_concurrent',
            valid_type=orm.Int,
            default=lambda: orm.Int(4),
            serializer=orm.to_aiida_type,
            validator=validate_positive,
            help='Maximum number of members in training at the same time.',
        )
        spec.inputs.validator = validate_committee
        steps: Any = cls  # the type hints of aiida-core do not admit steps of a subclass
        spec.outline(
            steps.setup,
            while_(steps.should_run_members)(
                steps.run_members,
                steps.inspect_members,
            ),
            steps.merge,
        )
        spec.output('model', valid_type=ModelData, help='The committee.')
        spec.output_namespace('members', valid_type=ModelData, dynamic=True, help='Each member, by its name.')
        spec.exit_code(
            420, 'ERROR_MEMBERS_FAILED', message='{failed} of {total} members failed, first {label}: {message}'
        )
        spec.exit_code(421, 'ERROR_MERGE_REFUSED', message='The members do not make one committee: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        dataset: DatasetData | Dataset,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
        max_concurrent: int = 4,
        **nodes: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol; arguments as those of :class:`TrainWorkChain`.

        :param max_concurrent: maximum number of members in training at the same time
        :param gpus: number of GPUs to request from the scheduler for each member
        """
        inner: Any = TrainWorkChain.get_builder_from_protocol(
            code, dataset, protocol, overrides, options, gpus, **nodes
        )
        builder = cls.get_builder()
        builder.train = builder_inputs(inner)
        builder.max_concurrent = orm.Int(max_concurrent)
        return builder

    def setup(self) -> None:
        """Initialize the members that are waiting for their training."""
        self.ctx.settings = all_settings(self.inputs.train.goectp.settings.get_dict())
        self.ctx.waiting = list(range(self.ctx.settings['members']))
        self.ctx.running, self.ctx.trained, self.ctx.failures = [], [], []

    def should_run_members(self) -> bool:
        """Return whether members are waiting; after a failure none is submitted."""
        return bool(self.ctx.waiting) and not self.ctx.failures

    def run_members(self) -> None:
        """Submit as many members as may be in training at the same time."""
        count = self.inputs.max_concurrent.value
        batch, self.ctx.waiting = self.ctx.waiting[:count], self.ctx.waiting[count:]
        self.ctx.running = []
        for place in batch:
            name = MEMBER.format(place)
            try:
                node = self.submit_once(name, TrainWorkChain, self._member_inputs(name, place))
            except ValueError as error:
                self.ctx.failures.append({'label': name, 'message': f'not submitted: {error}'})
                return
            self.to_context(**{name: node})
            self.ctx.running.append(name)

    def _member_inputs(self, name: str, place: int) -> Any:
        """Return the inputs of the training of a member."""
        inputs = self.exposed_inputs(TrainWorkChain, 'train')
        job = inputs.goectp
        own = {'members': 1, 'seed': self.ctx.settings['seed'] + place}
        settings, splits, models = (self.inputs.get(space, {}) for space in _BY_MEMBER)
        job.settings = settings[name] if name in settings else orm.Dict({**job.settings.get_dict(), **own})
        job.split = splits.get(name, job.split)
        if name in models:
            job.model = models[name]
        return inputs

    def inspect_members(self) -> ExitCode | None:
        """Record the members that are trained; end if one failed."""
        for name in self.ctx.running:
            node = self.ctx[name]
            if node.is_finished_ok:
                self.ctx.trained.append(name)
            else:
                self.ctx.failures.append({'label': f'{name}<{node.pk}>', 'message': failure_reason(node)})
        total = self.ctx.settings['members']
        self.report(f'{len(self.ctx.trained)} of {total} members are trained')
        if not self.ctx.failures:
            return None
        failed = len(self.ctx.failures)
        return self.exit_codes.ERROR_MEMBERS_FAILED.format(failed=failed, total=total, **self.ctx.failures[0])

    def merge(self) -> ExitCode | None:
        """Join the members."""
        job = self.inputs.train.goectp
        given = {name: job.get(name, None) for name in ('dataset', 'split', 'settings', 'name', 'card')}
        members = {name: self.ctx[name].outputs.model for name in self.ctx.trained}
        for name, model in members.items():
            self.out(f'members.{name}', model)
        try:
            initial = self.inputs.get('calibrated_model', None)
            merged = self.call_once('merge_models', merge_models, **given, initial=initial, **members)
        except ValueError as error:
            return self.exit_codes.ERROR_MERGE_REFUSED.format(message=error)
        self.out('model', merged.result)
        return None

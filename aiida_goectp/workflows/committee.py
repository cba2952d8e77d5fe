"""``goectp.train.committee``: train the members of a committee in jobs of their own, and join them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.engine import ExitCode, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.base import validate_positive
from aiida_goectp.calculations.models import merge_models
from aiida_goectp.calculations.train import all_settings
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin
from aiida_goectp.workflows.train import TrainWorkChain

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('TrainCommitteeWorkChain',)


def validate_committee(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Refuse what members in jobs of their own cannot have in common."""
    job = inputs['train']['goectp']
    if 'split' not in job:
        return 'train.goectp.split: give one; by their own seeds, the members would hold out different rows'
    if all_settings(job['settings'].get_dict())['members'] < 2:
        return 'train.goectp.settings.members: a committee has two or more'
    if 'model' in job and job['model'].card.members > 1:
        return 'train.goectp.model: members of a committee are fine-tuned in one job, by goectp.train'
    return None


class TrainCommitteeWorkChain(ProtocolMixin, WorkChain):
    """Train n members at the same time, with the seeds seed, seed + 1, …, and join them to one model.

    The weights are those of ``goectp.train`` with the same settings, which trains them one after the other.
    """

    _PROTOCOLS = 'train.yaml'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.expose_inputs(TrainWorkChain, namespace='train', exclude=('goectp.parent_folder',))
        spec.input(
            'max_concurrent',
            valid_type=orm.Int,
            default=lambda: orm.Int(4),
            serializer=orm.to_aiida_type,
            validator=validate_positive,
            help='Members in training at the same time.',
        )
        spec.inputs.validator = validate_committee
        steps: Any = cls  # the hints of aiida-core admit no steps of a subclass
        spec.outline(
            steps.setup,
            while_(steps.has_members)(
                steps.launch_members,
                steps.inspect_members,
            ),
            steps.merge,
        )
        spec.output('model', valid_type=ModelData, help='The committee.')
        spec.exit_code(
            420, 'ERROR_MEMBERS_FAILED', message='{failed} of {total} members failed, first {label}: {message}'
        )
        spec.exit_code(421, 'ERROR_MERGE_REFUSED', message='The members do not make one committee: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        dataset: DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
        max_concurrent: int = 4,
        **nodes: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol; arguments as those of :class:`TrainWorkChain`.

        :param max_concurrent: members in training at the same time
        :param gpus: GPUs to ask the scheduler for, each member
        """
        inner: Any = TrainWorkChain.get_builder_from_protocol(
            code, dataset, protocol, overrides, options, gpus, **nodes
        )
        builder = cls.get_builder()
        builder.train = inner._inputs(prune=True)
        builder.max_concurrent = orm.Int(max_concurrent)
        return builder

    def setup(self) -> None:
        """Note which members are to be trained."""
        self.ctx.settings = all_settings(self.inputs.train.goectp.settings.get_dict())
        self.ctx.waiting = list(range(self.ctx.settings['members']))
        self.ctx.names, self.ctx.failed = [], []

    def has_members(self) -> bool:
        """Return whether members are waiting; after a failure no more are started."""
        return bool(self.ctx.waiting) and not self.ctx.failed

    def launch_members(self) -> None:
        """Start as many members as may be in training at the same time."""
        count = self.inputs.max_concurrent.value
        batch, self.ctx.waiting = self.ctx.waiting[:count], self.ctx.waiting[count:]
        self.ctx.running = []
        given = self.inputs.train.goectp.settings.get_dict()
        for member in batch:
            name = f'member_{member:02d}'
            inputs = self.exposed_inputs(TrainWorkChain, 'train')
            inputs.goectp.settings = orm.Dict({**given, 'members': 1, 'seed': self.ctx.settings['seed'] + member})
            inputs.metadata.call_link_label = name
            self.to_context(**{name: self.submit(TrainWorkChain, **inputs)})
            self.ctx.names.append(name)
            self.ctx.running.append(name)

    def inspect_members(self) -> ExitCode | None:
        """Note the members that failed."""
        self.ctx.failed += [name for name in self.ctx.running if not self.ctx[name].is_finished_ok]
        total = self.ctx.settings['members']
        self.report(f'{len(self.ctx.names) - len(self.ctx.failed)} of {total} members are trained')
        if not self.ctx.failed:
            return None
        first = self.ctx[self.ctx.failed[0]]
        return self.exit_codes.ERROR_MEMBERS_FAILED.format(
            failed=len(self.ctx.failed),
            total=total,
            label=f'{self.ctx.failed[0]}<{first.pk}>',
            message=first.exit_message or first.process_state.value,
        )

    def merge(self) -> ExitCode | None:
        """Join the members."""
        job = self.inputs.train.goectp
        known = {name: job[name] for name in ('name', 'card') if name in job}
        members = {name: self.ctx[name].outputs.model for name in self.ctx.names}
        try:
            model = merge_models(job.dataset, job.split, job.settings, **known, **members)
        except ValueError as error:
            return self.exit_codes.ERROR_MERGE_REFUSED.format(message=error)
        self.out('model', model)
        return None

"""The part of a campaign that trains: a committee, one member for each fold, and the comparison with the old model."""

from __future__ import annotations

from typing import Any

from aiida import orm

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.calculations.models import merge_models
from aiida_goectp.calculations.retraining import (
    MEMBER,
    assign_members,
    compare_models,
    extract_members,
    member_settings,
    record_retraining,
)
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.submit_once import SubmitOnceMixin
from aiida_goectp.workflows.train import TrainWorkChain

__all__ = ('RetrainingWorkChain',)


class RetrainingWorkChain(SubmitOnceMixin):
    """Steps of a campaign that deal, train, merge and compare; see :class:`.ActiveLearningWorkChain`.

    They fail in one way: ``ctx.failure`` says why, and the old model stays.
    """

    def _known(self, name: str) -> Any:
        """Return a node that the context knows by its PK."""
        return orm.load_node(self.ctx.pks[name])

    def _labelled(self, what: str) -> str:
        """Return the label of a call of this round."""
        return f'round_{self.ctx.round:02d}_{what}'

    def _policy(self) -> Any:
        from aiida_goectp.core.selection import RetrainingPolicy, read_settings

        return read_settings(RetrainingPolicy, self.inputs.retraining.get_dict(), 'retraining')

    def decide_retraining(self) -> None:
        """Decide whether the round is followed by a retraining; if not, the history says why."""
        from aiida_goectp.core.selection import decide_retraining

        due = decide_retraining(read_history(self._known('history')), self._policy())
        waits = {} if 'train' in self.inputs else {'waits': 'no inputs of a training were given'}
        self.ctx.due, self.ctx.fine_tune = due.retrain and not waits, due.mode == 'fine-tune'
        if self.ctx.due:
            self.report(f'retraining: {due.reason}')
        else:
            self._record({**waits, 'core_hours': 0.0})

    def is_due(self) -> bool:
        """Return whether the round is followed by a retraining."""
        return bool(self.ctx.due)

    def _record(self, record: dict[str, Any], **nodes: Any) -> None:
        """Write into the history what was decided on retraining."""
        done = self.call_once(
            self._labelled('record_retraining'),
            record_retraining,
            history=self._known('history'),
            retraining=self.inputs.retraining,
            record=orm.Dict(record),
            **nodes,
        )
        self.ctx.pks['history'] = done.result.pk

    def deal(self) -> None:
        """Deal the labels into folds, and say what each member begins with."""
        self.ctx.members, self.ctx.failure, self.ctx.training_hours = {}, '', 0.0
        self.ctx.waiting = [MEMBER.format(member) for member in range(self._policy().folds)]
        given, model = self.inputs.train.goectp, self.ctx.pks.get('model')
        like = {} if model is None else {'model': self._known('model')}
        begin_with = like if self.ctx.fine_tune else {}
        common = {'retraining': self.inputs.retraining, 'seed': self.inputs.seed}
        try:
            dealt = self.call_once(
                self._labelled('deal'),
                assign_members,
                dataset=self._known('dataset'),
                start=self._known('start'),
                split=orm.Str(self.ctx.split),
                **common,
            )
            made = self.call_once(
                self._labelled('settings'),
                member_settings,
                settings=given.settings,
                dataset=dealt.result,
                **common,
                **like,
            )
            self.ctx.pks['dealt'] = dealt.result.pk
            for name in (*self.ctx.waiting, 'committee'):
                self.ctx.pks[f'settings_{name}'] = made[name].pk
                self.ctx.pks[f'initial_{name}'] = self.ctx.pks['model'] if begin_with else None
            if begin_with and self._known('model').card.members > 1:
                alone = self.call_once(
                    self._labelled('extract_members'), extract_members, **begin_with, retraining=self.inputs.retraining
                )
                for name in self.ctx.waiting:
                    self.ctx.pks[f'initial_{name}'] = alone[name].pk
        except ValueError as error:
            self.ctx.waiting, self.ctx.failure = [], str(error)

    def has_members(self) -> bool:
        """Return whether members are waiting; after a failure no more are started."""
        return bool(self.ctx.waiting) and not self.ctx.failure

    def train_members(self) -> None:
        """Start as many members as may be in training at the same time."""
        from aiida_goectp.core.selection import fold_name

        for name in self.ctx.waiting[: self.inputs.max_trainings.value]:
            inputs = self.exposed_inputs(TrainWorkChain, 'train')
            inputs.goectp.dataset = self._known('dealt')
            inputs.goectp.split = orm.Str(fold_name(self.ctx.split, int(name.rpartition('_')[2])))
            inputs.goectp.settings = self._known(f'settings_{name}')
            if self.ctx.pks[f'initial_{name}'] is not None:
                inputs.goectp.model = self._known(f'initial_{name}')
            try:
                node = self.submit_once(self._labelled(f'train_{name}'), TrainWorkChain, inputs)
            except ValueError as error:
                self.ctx.failure = f'{name} was not submitted: {error}'
                return
            self.ctx.members[name] = node.pk
            self.to_context(**{f'child_{name}': node})

    def inspect_members(self) -> None:
        """Note what was trained, and why a member was not."""
        ended = [name for name in self.ctx.waiting if name in self.ctx.members]
        self.ctx.waiting = [name for name in self.ctx.waiting if name not in ended]
        for name in ended:
            node: Any = orm.load_node(self.ctx.members[name])
            self.ctx.training_hours += DfptWorkChain.core_hours(node)
            if not node.is_finished_ok and not self.ctx.failure:
                self.ctx.failure = f'{name}<{node.pk}>: {failure_reason(node)}'

    def merge(self) -> None:
        """Join the members to a committee, calibrated anew."""
        self.ctx.pks['new_model'] = None
        if self.ctx.failure:
            return
        job = self.inputs.train.goectp
        name = job.name.value if 'name' in job else 'campaign'
        members = {name: orm.load_node(pk).outputs.model for name, pk in self.ctx.members.items()}
        try:
            merged = self.call_once(
                self._labelled('merge'),
                merge_models,
                dataset=self._known('dealt'),
                split=orm.Str(self.ctx.split),
                settings=self._known('settings_committee'),
                name=orm.Str(f'{name}-round-{self.ctx.round:02d}'),
                **({'card': job.card} if 'card' in job else {}),
                **members,
            )
            self.ctx.pks['new_model'] = merged.result.pk
        except ValueError as error:
            self.ctx.failure = f'the members make no committee: {error}'

    def compare(self) -> None:
        """Let the new model replace the old one if it is not worse; write down why it did or did not."""
        verdict: dict[str, Any] = {}
        if not self.ctx.failure:
            members = {name: orm.load_node(pk).outputs.model for name, pk in self.ctx.members.items()}
            try:
                found = self.call_once(
                    self._labelled('compare'),
                    compare_models,
                    dealt=self._known('dealt'),
                    seen=self._seen(),
                    split=orm.Str(self.ctx.split),
                    picking=self.inputs.picking,
                    retraining=self.inputs.retraining,
                    old=self._known('model'),
                    new=self._known('new_model'),
                    **members,
                )
                verdict['verdict'] = found.result
            except ValueError as error:
                self.ctx.failure = f'the models cannot be compared: {error}'
        if self.ctx.pks['new_model'] is not None:
            verdict['model'] = self._known('new_model')
        self._record({'core_hours': self.ctx.training_hours, 'failure': self.ctx.failure}, **verdict)
        last = read_history(self._known('history')).rounds[-1]
        self.report(last.retraining_reason)
        if last.adopted:
            self.ctx.pks.update(model=self.ctx.pks['new_model'], predictions=None)

    def _seen(self) -> DatasetData:
        """Return what the model in use was trained on, as far as the graph knows."""
        creator = self._known('model').creator
        found = creator.inputs.dataset if creator is not None and 'dataset' in creator.inputs else None
        return found if isinstance(found, DatasetData) else self._known('start')

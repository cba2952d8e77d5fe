"""Extension of a campaign that has ended: its inputs and history, with changed stop rules or engine arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import click
from aiida import orm

from aiida_goectp.calculations.campaign import reopen_failed
from aiida_goectp.cli.campaign.config import DfptSettings
from aiida_goectp.cli.campaign.plan import engine_errors
from aiida_goectp.cli.engine_arguments import changed_arguments
from aiida_goectp.cli.jobs import validated
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.formats.yaml_input import read_yaml
from aiida_goectp.core.selection import StopRules, should_stop
from aiida_goectp.workflows.campaign.state import campaign_state, last_history
from aiida_goectp.workflows.campaign.stop import REQUESTED
from aiida_goectp.workflows.dfpt.engines import argument_nodes, load_engine
from aiida_goectp.workflows.protocols.mixin import merge

__all__ = ('Changes', 'extension_builder', 'parse_pairs')

_OPTIONS = {'codes': '--dfpt codes.{}', 'potentials': '--dfpt potentials'}
"""how codes and potentials are given"""


class Changes(NamedTuple):
    """What an extension changes."""

    rules: Mapping[str, Any] = MappingProxyType({})
    """stop rules"""
    dfpt: Mapping[str, Any] = MappingProxyType({})
    """keys of :class:`.DfptSettings`"""
    retry: Collection[str] = ()
    """ids of failed picks that may be picked again"""
    retry_all: bool = False
    """whether all failed picks may"""
    code: Any = None
    """code of predictions and trainings"""
    max_concurrent: int | None = None
    """maximum number of concurrent calculations"""

    @property
    def reopens(self) -> bool:
        """Whether failed picks may be picked again."""
        return bool(self.retry) or self.retry_all


def parse_pairs(option: str, example: str, pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of ``KEY=VALUE``, with dots in nested keys: ``stable_top.k=5``, ``threshold=null``.

    :param option: name of the command-line option, for messages
    :param example: of a pair, for messages
    :raises click.UsageError: another form, or an invalid value
    """
    values: dict[str, Any] = {}
    for text in pairs:
        key, sign, value = text.partition('=')
        if not sign or not key.strip():
            raise click.UsageError(f'{option} {text}: give KEY=VALUE, e.g. {example}')
        *path, last = key.strip().split('.')
        section = values
        for name in path:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise click.UsageError(f'{option} {text}: {name} already has a value; give either it or its keys')
        try:
            section[last] = read_yaml(value, key)[1]
        except FormatError as error:
            raise click.UsageError(f'{option} {text}: invalid value {value!r}') from error
    return values


def extension_builder(node: Any, changes: Changes) -> Any:
    """Return the builder of a campaign that continues another one.

    If failed picks are to be picked again, the history in which they can be is stored.

    :param node: campaign that has ended
    :raises click.UsageError: a campaign that runs or has no history, stop rules that apply at once, arguments that the
        engine refuses, or a pick that did not fail
    """
    if not node.is_terminated:
        raise click.UsageError(
            f'campaign {node.pk} is running; wait, or stop it with `aiida-goectp campaign stop {node.pk}`'
        )
    state = campaign_state(node)
    missing = [name for name in ('history', 'dataset', 'model') if name not in state]
    if missing:
        raise click.UsageError(
            f'campaign {node.pk} ended without {", ".join(missing)} and cannot be extended; start it '
            'again, computed responses are reused'
        )
    by_rule = node.is_finished_ok and node.outputs.stop['rule'] != REQUESTED
    if by_rule and not changes.rules and not changes.reopens:
        raise click.UsageError(
            'give a changed rule: --max-rounds, --max-calculations, --max-core-hours or --rule; or let failed picks be '
            'picked again: --retry or --retry-failed'
        )
    rules = merge(node.inputs.stop_rules.get_dict(), changes.rules)
    try:
        _check_stop(node, read_settings(StopRules, rules, 'stop_rules'), changes)
        dfpt = _arguments(node, changes.dfpt)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    builder = _builder(node, state)
    builder.stop_rules = orm.Dict(rules)
    builder.dfpt = argument_nodes(node.inputs.engine.value, dfpt)
    if changes.code is not None:
        for name in ('predict', 'train'):
            if name in node.inputs:
                builder[name].goectp.code = changes.code
    if changes.max_concurrent is not None:
        builder.max_concurrent = orm.Int(changes.max_concurrent)
    validated(builder)
    if changes.dfpt and (errors := engine_errors(builder)):
        raise click.UsageError('\n'.join(errors))
    if changes.reopens:
        history: Any = state['history']
        builder.extend.history = reopen_failed(history, orm.List(list(changes.retry)))
    return builder


def _check_stop(node: Any, rules: StopRules, changes: Changes) -> None:
    """Check that the failed picks exist, and that no stop rule applies at once.

    :raises ValueError: a pick that did not fail, or a rule that applies
    """
    history = last_history(node)
    if history is None:
        return
    if changes.reopens:
        history = history.reopened(changes.retry)
    stop = should_stop(history, rules)
    if stop is not None:
        raise ValueError(
            f'the campaign would stop at once by {stop.rule}: {stop.reason}; the rules include finished rounds and cost'
        )


def _arguments(node: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the engine, nodes where none of them has changed.

    :raises ValueError: arguments that the engine refuses
    """
    stored = node.inputs.dfpt if 'dfpt' in node.inputs else {}
    if not changes:
        return dict(stored)
    settings = read_settings(DfptSettings, changes, 'dfpt')
    name = node.inputs.engine.value
    return changed_arguments(load_engine(name), name, stored, settings.requested(), _OPTIONS)


def _builder(node: Any, state: dict[str, Any]) -> Any:
    builder = node.get_builder_restart()
    builder.model = state['model']
    builder.extend = {name: state[name] for name in ('history', 'dataset')}
    for name in ('labels', 'predictions'):  # the dataset contains the labels
        if name in builder:
            del builder[name]
    predictions = _last_predictions(node)
    if predictions is not None and predictions.model_hash == state['model'].content_hash:
        builder.predictions = predictions
    if node.label:
        builder.metadata.label = node.label
    return builder


def _last_predictions(node: Any) -> Any:
    """Return the last predictions of the whole pool, None if there are none."""
    if 'ranking' in node.outputs and node.outputs.ranking.creator is not None:
        return node.outputs.ranking.creator.inputs.predictions
    made = [
        call
        for call in node.called
        if call.process_label == 'PredictWorkChain'
        and 'predictions' in call.outputs
        and call.inputs.goectp.crystals.uuid == node.inputs.pool.uuid
    ]
    return max(made, key=lambda call: call.ctime).outputs.predictions if made else None

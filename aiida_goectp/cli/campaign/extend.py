"""Extension of a campaign that has ended: the same inputs, its history, and changed stop rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from aiida import orm

from aiida_goectp.cli.jobs import validated
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.formats.yaml_input import read_yaml
from aiida_goectp.core.selection import StopRules, should_stop
from aiida_goectp.workflows.campaign.state import campaign_state, last_history
from aiida_goectp.workflows.campaign.stop import REQUESTED
from aiida_goectp.workflows.protocols.mixin import merge

__all__ = ('extension_builder', 'parse_rules')


def parse_rules(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the stop rules of ``KEY=VALUE``, with dots in nested keys: ``stable_top.k=5``, ``threshold=null``.

    :raises click.UsageError: another form, or an invalid value
    """
    rules: dict[str, Any] = {}
    for text in pairs:
        key, sign, value = text.partition('=')
        if not sign or not key.strip():
            raise click.UsageError(f'--rule {text}: give KEY=VALUE, e.g. max_core_hours=100 or stable_top.k=5')
        *path, last = key.strip().split('.')
        section = rules
        for name in path:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise click.UsageError(f'--rule {text}: {name} already has a value; give either it or its keys')
        try:
            section[last] = read_yaml(value, key)[1]
        except FormatError as error:
            raise click.UsageError(f'--rule {text}: invalid value {value!r}') from error
    return rules


def extension_builder(node: Any, changes: dict[str, Any]) -> Any:
    """Return the builder of a campaign that continues another one.

    :param node: campaign that has ended
    :param changes: changed stop rules
    :raises click.UsageError: a campaign that runs or has no history, or stop rules that apply at once
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
    if not changes and by_rule:
        raise click.UsageError('give a changed rule: --max-rounds, --max-calculations, --max-core-hours or --rule')
    merged = merge(node.inputs.stop_rules.get_dict(), changes)
    try:
        rules = read_settings(StopRules, merged, 'stop_rules')
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    history = last_history(node)
    stop = None if history is None else should_stop(history, rules)
    if stop is not None:
        raise click.UsageError(
            f'the campaign would stop at once by {stop.rule}: {stop.reason}; the rules include finished rounds and cost'
        )
    return _builder(node, state, merged)


def _builder(node: Any, state: dict[str, Any], rules: dict[str, Any]) -> Any:
    builder = node.get_builder_restart()
    builder.stop_rules = orm.Dict(rules)
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
    return validated(builder)


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

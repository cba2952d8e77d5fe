"""To go on with a campaign that has ended: the same inputs, new rules, and all that it has found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import yaml

from aiida_goectp.cli.campaign.status import last_history
from aiida_goectp.cli.jobs import checked

__all__ = ('extended', 'parse_rules')


def parse_rules(pairs: Iterable[str]) -> dict[str, Any]:
    """Return stop rules of ``key=value``, a key of a rule within after a dot: ``stable_top.k=5``, ``threshold=null``.

    :raises click.UsageError: no such form
    """
    rules: dict[str, Any] = {}
    for text in pairs:
        key, sign, value = text.partition('=')
        if not sign or not key.strip():
            raise click.UsageError(f'--rule {text}: give KEY=VALUE, e.g. max_core_hours=100 or stable_top.k=5')
        *path, last = key.strip().split('.')
        place = rules
        for name in path:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise click.UsageError(f'--rule {text}: {name} has a value already; give either it or its parts')
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.UsageError(f'--rule {text}: {value!r} is no value') from error
    return rules


def extended(node: Any, changes: dict[str, Any]) -> Any:
    """Return the builder of a campaign that goes on where another one ended.

    :param node: of the campaign that ended
    :param changes: of its stop rules
    :raises click.UsageError: it runs, it left nothing to go on from, or the new rules would end it at once
    """
    from aiida_goectp.core.selection import StopRules, read_settings, should_stop
    from aiida_goectp.workflows.protocols.mixin import merge

    if not node.is_terminated:
        raise click.UsageError(
            f'campaign {node.pk} is running; wait, or ask it to stop with `aiida-goectp campaign stop {node.pk}`'
        )
    missing = [name for name in ('history', 'dataset', 'model') if name not in node.outputs]
    if missing:
        raise click.UsageError(
            f'campaign {node.pk} ended without {", ".join(missing)}, and cannot be extended; start it again, '
            'what was computed is taken over'
        )
    if not changes:
        raise click.UsageError('give a rule to go on by: --max-rounds, --max-calculations, --max-core-hours or --rule')
    before = node.inputs.stop_rules.get_dict()
    try:
        rules = read_settings(StopRules, merge(before, changes), 'stop_rules')
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    history = last_history(node)
    fired = None if history is None else should_stop(history, rules)
    if fired is not None:
        raise click.UsageError(
            f'nothing would be done, since {fired.reason} ({fired.rule}); rounds and budgets count from the beginning'
        )
    return _builder(node, merge(before, changes))


def _builder(node: Any, rules: dict[str, Any]) -> Any:
    from aiida import orm

    builder = node.get_builder_restart()
    builder.stop_rules = orm.Dict(rules)
    builder.model = node.outputs.model
    builder.extend = {name: node.outputs[name] for name in ('history', 'dataset')}
    for name in ('labels', 'predictions'):  # labels stand in the dataset by now
        if name in builder:
            del builder[name]
    predictions = _predictions(node)
    if predictions is not None:
        builder.predictions = predictions
    if node.label:
        builder.metadata.label = node.label
    return checked(builder)


def _predictions(node: Any) -> Any:
    """Return the predictions of the pool by the model in use at the end, if there are any."""
    if 'ranking' not in node.outputs or node.outputs.ranking.creator is None:
        return None
    found = node.outputs.ranking.creator.inputs.predictions
    return found if found.model_hash == node.outputs.model.content_hash else None

"""What a campaign came to: as tables, and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.cli.campaign.status import last_history
from aiida_goectp.cli.views.tables import make_table, show_table, text_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ('campaign_report', 'show_campaign')

_OUTPUTS = ('model', 'dataset', 'history', 'ranking', 'stop', 'core_hours')


def campaign_report(node: Any) -> dict[str, Any]:
    """Return all that the tables show, of a campaign that runs or has ended, as plain data.

    :param node: of the campaign
    """
    from aiida_goectp.core.crystals.elements import formula
    from aiida_goectp.core.selection.history import History
    from aiida_goectp.core.selection.history_summary import (
        best_verified,
        not_accepted,
        relative_error,
        summarise_rounds,
    )

    history = last_history(node) or History(
        figure_of_merit=node.inputs.picking.get_dict().get('figure_of_merit', 'total')
    )
    pool = node.inputs.pool.crystals
    rows = {str(name): row for row, name in enumerate(pool.hashes)}

    def line(round_number: int, pick: Any) -> dict[str, Any]:
        row = rows.get(pick.hash)
        name = None if row is None else formula(pool[row].atomic_numbers)
        return {'round': round_number, 'formula': name, **pick.model_dump(mode='json'), 'error': relative_error(pick)}

    rounds = list(summarise_rounds(history))
    state = node.process_state.value if node.process_state else 'unknown'
    return {
        'campaign': {
            'pk': node.pk,
            'uuid': node.uuid,
            'label': node.label,
            'state': state,
            'exit_status': node.exit_status,
            'exit_message': node.exit_message,
        },
        'figure_of_merit': history.figure_of_merit,
        'pool': len(pool),
        'rounds': rounds,
        'best': [line(*one) for one in best_verified(history)],
        'without_value': [line(*one) for one in not_accepted(history)],
        'stop': node.outputs.stop.get_dict() if 'stop' in node.outputs else None,
        'cost': {
            'calculations': history.calculations,
            'labels': history.labels,
            'trainings': sum(item['retrained'] for item in rounds),
            'core_hours': node.outputs.core_hours.value if 'core_hours' in node.outputs else history.core_hours,
        },
        'outputs': {name: node.outputs[name].pk for name in _OUTPUTS if name in node.outputs},
    }


def show_campaign(report: Mapping[str, Any], rows: int) -> None:
    """Print the tables, and why it stopped and what it cost.

    :param report: see :func:`campaign_report`
    :param rows: of a table
    """
    merit = report['figure_of_merit']
    if report['rounds']:
        show_table(_rounds_table(report['rounds'], merit))
        show_table(_models_table(report['rounds']))
    if report['best']:
        show_table(_best_table(report['best'][:rows], len(report['best']), merit))
    if report['without_value']:
        lines = [
            [item['id'], text_of(item['formula']), item['outcome'], _why(item), item['round']]
            for item in report['without_value'][:rows]
        ]
        title = f'Picked, and no value of {merit}, {len(report["without_value"])}'
        show_table(make_table(title, ['id', 'formula', 'outcome', 'why', 'round'], lines, 4))
    for sentence in _in_words(report):
        click.echo(sentence)
    click.echo(f'why it ended: {_ending(report)}')
    click.echo(f'cost: {_cost(report["cost"])}')
    if report['outputs']:
        click.echo('outputs: ' + ', '.join(f'{name} {pk}' for name, pk in report['outputs'].items()))


def _why(item: Mapping[str, Any]) -> str:
    """Return why a pick has no value."""
    if item['outcome'] == 'electronic-only' and not item['failure']:
        return 'its ionic part passed not all gates'
    return str(item['failure'])


def _in_words(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what came of it, for somebody who has not read the tables."""
    rounds = report['rounds']
    if not rounds:
        return
    picked = sum(item['picks'] for item in rounds)
    labels = report['cost']['labels']
    yield (
        f'{picked} of {rounds[0]["candidates"]} candidates were picked in {len(rounds)} '
        f'{"round" if len(rounds) == 1 else "rounds"}; {labels} gave a label to learn from.'
    )
    if report['best']:
        best = report['best'][0]
        yield (
            f'The best is {best["id"]}: {report["figure_of_merit"]} = {best["value"]:.4g}, where {best["mean"]:.4g} '
            'was predicted.'
        )
    errors = [(item['round'], item['error']) for item in rounds if item['error'] is not None]
    if errors:
        said = ', '.join(f'{error:.0%} in round {number}' for number, error in errors)
        yield f'The predictions of the picks were wrong by {said}, on average.'


def _ending(report: Mapping[str, Any]) -> str:
    campaign = report['campaign']
    if report['stop'] is not None:
        return f'{report["stop"]["reason"]} ({report["stop"]["rule"]})'
    if campaign['exit_status']:
        return f'it failed: [{campaign["exit_status"]}] {campaign["exit_message"]}'
    if campaign['state'] in ('excepted', 'killed'):
        return f'it was {campaign["state"]}; `verdi process report {campaign["pk"]}` tells more'
    return 'it has not ended'


def _cost(cost: Mapping[str, Any]) -> str:
    return (
        f'{cost["calculations"]} calculations, which gave {cost["labels"]} labels; {cost["trainings"]} retrainings; '
        f'{cost["core_hours"]:.2f} core-hours'
    )


def _percent(value: float | None) -> str:
    return '' if value is None else f'{value:.0%}'


def _rounds_table(rounds: Sequence[Mapping[str, Any]], merit: str) -> Table:
    lines = [
        [
            str(item['round']),
            item['candidates'],
            item['picks'],
            item['accepted'] + item['electronic-only'],
            item['refused'] + item['failed'],
            item['best'],
            _percent(item['error']),
            _percent(item['coverage']),
            'adopted' if item['adopted'] else 'kept the old' if item['retrained'] else 'not retrained',
            f'{item["core_hours"]:.2f}',
        ]
        for item in rounds
    ]
    columns = [
        'round',
        'candidates',
        'picks',
        'accepted',
        'failed',
        f'best {merit}',
        'error',
        'in 90 %',
        'model',
        'core-hours',
    ]
    title = (
        f'Rounds, {len(lines)}; error: of the predictions on the picks; in 90 %: labels within their stated interval'
    )
    return make_table(title, columns, lines)


def _models_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    lines = [[str(item['round']), item['model'][:10], item['why']] for item in rounds]
    return make_table('Models', ['round', 'picked by', 'and after the round'], lines, 3)


def _best_table(best: Sequence[Mapping[str, Any]], total: int, merit: str) -> Table:
    from aiida_goectp.core.formats.numbers import with_deviation

    lines = [
        [
            str(place),
            item['id'],
            text_of(item['formula']),
            item['round'],
            with_deviation(item['mean'], item['std']),
            item['value'],
            '' if item['error'] is None else f'{item["error"]:+.0%}',
            item['electronic'],
            item['ionic'],
        ]
        for place, item in enumerate(best, start=1)
    ]
    columns = ['', 'id', 'formula', 'round', 'predicted', 'verified', 'error', 'ε∞', 'ε ionic']
    shown = f'{total}' if len(lines) >= total else f'{len(lines)} of {total}'
    return make_table(f'Best verified by {merit}, {shown}', columns, lines, 3)

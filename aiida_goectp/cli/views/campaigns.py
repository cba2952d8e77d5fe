"""Tables and summary of a campaign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from aiida_goectp.cli import echo
from aiida_goectp.core.dielectric.tensors import PART_SYMBOLS
from aiida_goectp.core.formats.numbers import with_deviation
from aiida_goectp.core.formats.text_tables import make_table, show_table, table_title, text_of
from aiida_goectp.core.selection.history import FAILED
from aiida_goectp.report.words import OUTCOME_REASONS, STABILITY, counted, percent, probability

__all__ = ('show_campaign',)


def show_campaign(report: Mapping[str, Any], rows: int) -> None:
    """Print rounds, models, best values, picks without value, and a summary.

    :param report: see :func:`aiida_goectp.report.campaigns.campaign_report`
    :param rows: maximum number of rows per table
    """
    merit = report['figure_of_merit']
    if report['rounds']:
        show_table(_rounds_table(report['rounds'], merit))
        show_table(_models_table(report['rounds']))
    if report['best']:
        show_table(_best_table(report['best'][:rows], len(report['best']), merit))
    if report['without_value']:
        show_table(_without_value_table(report['without_value'][:rows], len(report['without_value']), merit))
    for sentence in _summary(report):
        echo.echo(sentence)
    if report['outputs']:
        echo.echo('outputs: ' + ', '.join(f'{name} {pk}' for name, pk in report['outputs'].items()))


def _rounds_table(rounds: Sequence[Mapping[str, Any]], merit: str) -> Table:
    lines = [
        [
            str(item['round']),
            item['candidates'],
            item['picks'],
            item['accepted'] + item['electronic-only'],
            item['refused'] + item['failed'],
            probability(item['stability']),
            item['best'],
            percent(item['error']),
            percent(item['coverage']),
            'adopted' if item['adopted'] else 'rejected' if item['retrained'] else 'not retrained',
            f'{item["core_hours"]:.2f}',
        ]
        for item in rounds
    ]
    counts = ['round', 'candidates', 'picks', 'accepted', 'failed', STABILITY]
    columns = [*counts, f'best {merit}', 'error', 'in 90 %', 'new model', 'core-hours']
    title = f'Rounds, {len(lines)}; error: mean relative error of the picks; in 90 %: labels in their 90 % interval'
    return make_table(title, columns, lines, optional=(STABILITY,))


def _models_table(rounds: Sequence[Mapping[str, Any]]) -> Table:
    lines = [[str(item['round']), item['model'][:10], item['why']] for item in rounds]
    return make_table('Models', ['round', 'picked by', 'retraining'], lines, 3)


def _best_table(best: Sequence[Mapping[str, Any]], total: int, merit: str) -> Table:
    lines = [
        [
            str(place),
            item['id'],
            text_of(item['formula']),
            item['round'],
            probability(item['stability']),
            with_deviation(item['expected'], item['std']),
            item['value'],
            percent(item['error'], '+'),
            item['electronic'],
            item['ionic'],
        ]
        for place, item in enumerate(best, start=1)
    ]
    parts = [PART_SYMBOLS['electronic'], PART_SYMBOLS['ionic']]
    columns = ['', 'id', 'formula', 'round', STABILITY, 'predicted', 'verified', 'error', *parts]
    title = table_title(f'Best verified by {merit}', len(lines), total)
    return make_table(title, columns, lines, 3, optional=(STABILITY,))


def _without_value_table(picks: Sequence[Mapping[str, Any]], total: int, merit: str) -> Table:
    lines = [
        [
            item['id'],
            text_of(item['formula']),
            item['outcome'],
            item['failure'] or OUTCOME_REASONS.get(item['outcome'], ''),
            item['round'],
            probability(item['stability']),
        ]
        for item in picks
    ]
    title = table_title(f'Picks without a value of {merit}', len(lines), total)
    columns = ['id', 'formula', 'outcome', 'reason', 'round', STABILITY]
    return make_table(title, columns, lines, 4, optional=(STABILITY,))


def _summary(report: Mapping[str, Any]) -> Iterator[str]:
    rounds, cost = report['rounds'], report['cost']
    if rounds:
        picks = sum(item['picks'] for item in rounds)
        yield (
            f'picks: {picks} of {rounds[0]["candidates"]} candidates in {counted(len(rounds), "round")}, '
            f'{cost["labels"]} with a label'
        )
    if report['best']:
        best = report['best'][0]
        yield f'best: {best["id"]}, {report["figure_of_merit"]} {best["value"]:.4g} (predicted {best["expected"]:.4g})'
    errors = [(item['round'], item['error']) for item in rounds if item['error'] is not None]
    if errors:
        listed = ', '.join(f'{percent(error)} in round {number}' for number, error in errors)
        yield f'mean relative error of the predictions: {listed}'
    weighed = [item for item in rounds if item['stability'] is not None]
    if weighed:
        mean = sum(item['stability'] * item['picks'] for item in weighed) / sum(item['picks'] for item in weighed)
        counts = ', '.join(f'{sum(item[name] for item in weighed)} {name}' for name in ('accepted', 'electronic-only'))
        yield f'mean predicted probability of stability of the picks: {mean:.2f}; {counts}'
    if report['warning']:
        yield f'warning: {report["warning"]}'
    yield f'end: {_end(report)}'
    yield (
        f'cost: {cost["calculations"]} calculations, {cost["labels"]} labels, {cost["trainings"]} retrainings, '
        f'{cost["core_hours"]:.2f} core-hours'
    )
    failed = sum(item['outcome'] == FAILED for item in report['without_value'])
    if failed and report['campaign']['state'] in ('finished', 'excepted', 'killed'):
        pk = report['campaign']['pk']
        yield (
            f'{counted(failed, "failed pick")} can be picked again, with other arguments of the engine if need be: '
            f'aiida-goectp campaign extend {pk} --retry-failed --dfpt wall_time=…'
        )


def _end(report: Mapping[str, Any]) -> str:
    campaign = report['campaign']
    if report['stop'] is not None:
        return f'{report["stop"]["rule"]}: {report["stop"]["reason"]}'
    if campaign['exit_status']:
        return f'failed [{campaign["exit_status"]}]: {campaign["exit_message"]}'
    if campaign['state'] in ('excepted', 'killed'):
        return f'{campaign["state"]}; print the log with `verdi process report {campaign["pk"]}`'
    return 'not finished'

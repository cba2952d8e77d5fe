"""Tables and summary of a report page."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from aiida import __version__ as aiida_version
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp import __version__
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.formats.numbers import with_deviation
from aiida_goectp.core.formats.terminal import printable
from aiida_goectp.core.selection.history import LABELLED
from aiida_goectp.core.selection.reasons import ReasonCode, count_reasons, parse_reasons
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.report.candidates import Candidates
from aiida_goectp.report.results import Result
from aiida_goectp.report.words import percent

__all__ = ('PageTable', 'failure_tables', 'rounds_table', 'setting_tables', 'summary')

_MAX_ROWS = 200
"""rows of a table"""
_MAX_VALUE = 400
"""characters of a setting"""
_FAILED = (ReasonCode.IMPORT_FAILED, ReasonCode.PREDICTION_FAILED, ReasonCode.FAILED_PERMANENTLY)


class PageTable(NamedTuple):
    """A table of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> PageTable:
    found = [[printable('' if cell is None else cell) for cell in row] for row in rows]
    if len(found) > _MAX_ROWS:
        title = f'{title}, the first {_MAX_ROWS} of {len(found)}'
    return PageTable(title, columns, found[:_MAX_ROWS])


def summary(result: Result) -> list[tuple[str, str]]:
    """Return names and values of the most important numbers."""
    candidates = result.candidates
    numbers: list[tuple[str, object]] = []
    if result.campaign is not None:
        report = result.campaign
        rounds, cost = report['rounds'], report['cost']
        numbers += [
            ('crystals', f'{report["pool"]:,}'),
            ('rounds', len(rounds)),
            ('picks', sum(item['picks'] for item in rounds)),
            ('labels', cost['labels']),
            ('core-hours', f'{cost["core_hours"]:.2f}'),
        ]
        if report['best']:
            best = report['best'][0]
            numbers.append((f'best {report["figure_of_merit"]}', f'{best["value"]:.4g}, {best["id"]}'))
        stop = report['stop']
        numbers.append(('end', f'{stop["rule"]}: {stop["reason"]}' if stop else 'not finished'))
        return [(name, printable(value)) for name, value in numbers]
    if result.ranking is not None:
        total, ranked = len(result.ranking), int(result.ranking.base.attributes.get('ranked'))
        crystals = len(result.process.inputs.crystals)
        numbers += [('crystals', f'{crystals:,}'), ('ranked', f'{ranked:,}'), ('excluded', f'{crystals - ranked:,}')]
        if total > crystals:
            numbers.append(('could not be read', f'{total - crystals:,}'))
        numbers.append(('selected', result.selected))
        if ranked:
            numbers.append((f'best {candidates.figure_of_merit}', _best(candidates)))
    numbers += _verified(result)
    return [(name, printable(value)) for name, value in numbers]


def _best(candidates: Candidates) -> str:
    row = int(np.argmax(candidates.rank == 1))
    value = with_deviation(float(candidates.score[row]), float(candidates.score_std[row]))
    return f'{value}, {candidates.ids[row]} ({formula(candidates.crystals[row].atomic_numbers)})'


def _verified(result: Result) -> Iterator[tuple[str, object]]:
    summaries = result.summaries
    if not summaries:
        return
    computed = result.candidates.computed
    yield 'computed by DFPT', len(computed)
    for label in sorted({item.verdict for item in computed.values()}):
        yield label, sum(item.verdict == label for item in computed.values())
    errors = [
        abs(result.candidates.averages['total'][row] / item.averages['total'] - 1)
        for row, item in computed.items()
        if item.averages.get('total') and item.accepts('total')
    ]
    known = [error for error in errors if np.isfinite(error)]
    if known:
        yield f'mean relative error of ε total, {len(known)} accepted', percent(float(np.mean(known)))
    yield 'core-hours', f'{sum(item["core_hours"] for item in summaries):.2f}'


def rounds_table(report: Mapping[str, Any]) -> PageTable:
    """Return the rounds of a campaign with accuracy, decisions and cost."""
    columns = ['round', 'candidates', 'picks', 'accepted', 'failed or refused', f'best {report["figure_of_merit"]}']
    columns += ['mean error', 'in 90 % interval', 'model', 'new model', 'retraining', 'core-hours']
    rows = [
        [
            item['round'],
            item['candidates'],
            item['picks'],
            item['accepted'] + item['electronic-only'],
            item['refused'] + item['failed'],
            '' if item['best'] is None else f'{item["best"]:.4g} ({item["best_id"]})',
            percent(item['error']),
            percent(item['coverage']),
            item['model'][:10],
            'adopted' if item['adopted'] else 'rejected' if item['retrained'] else 'not retrained',
            item['why'],
            f'{item["core_hours"]:.2f}',
        ]
        for item in report['rounds']
    ]
    return _table('Rounds', columns, rows)


def failure_tables(result: Result) -> list[PageTable]:
    """Return what was excluded or failed, with the reasons."""
    candidates = result.candidates
    counts, failed = _excluded(result.ranking)
    refused = [
        (candidates.ids[row], item.verdict, item.reason, item.process or '')
        for row, item in sorted(candidates.computed.items())
        if item.verdict not in LABELLED
    ]
    tables = [
        _table('Excluded from the ranking', ['reason', 'crystals'], list(counts.items())),
        _table('Crystals that could not be read or predicted', ['id', 'what failed', 'reason'], failed),
        _table('DFPT results that are missing or not accepted', ['id', 'verdict', 'reason', 'process'], refused),
        _table('Processes that failed', ['process', 'PK', 'exit status', 'message'], _failed_processes(result.process)),
    ]
    return [item for item in tables if item.rows]


def _excluded(ranking: RankingData | None) -> tuple[dict[str, int], list[tuple[str, str, str]]]:
    """Return the number of excluded rows by reason, and of those that could not be read or predicted id and reason."""
    if ranking is None:
        return {}, []
    with ranking.open_rows() as file:
        failed = [
            (name, reason.kind, reason.detail)
            for block in file.some_columns(('ids', 'reason'))
            for name, text in zip(block['ids'].tolist(), block['reason'].tolist(), strict=True)
            for reason in parse_reasons(text)
            if reason.code in _FAILED
        ]
        return count_reasons(file.column('reason')), failed


def _failed_processes(process: Any) -> Iterator[tuple[object, ...]]:
    for node in sorted([process, *process.called_descendants], key=lambda item: item.ctime):
        if node.is_terminated and not node.is_finished_ok:
            message = node.exit_message or node.exception or (node.process_state and node.process_state.value)
            yield node.process_label, node.pk, node.exit_status, message


def setting_tables(result: Result) -> list[PageTable]:
    """Return inputs, models and versions."""
    process = result.process
    incoming = process.base.links.get_incoming(link_type=(LinkType.INPUT_WORK, LinkType.INPUT_CALC)).all()
    links = sorted(((link.link_label.replace('__', '.'), link.node) for link in incoming), key=lambda item: item[0])
    inputs = [(name, _value(node)) for name, node in links if not name.startswith('structures.')]
    return [
        _table('Inputs', ['input', 'value'], inputs),
        _table('Models', ['model', 'PK', 'content hash', 'members', 'functional', 'licence'], _models(result)),
        _table('Versions', ['software', 'version'], _versions(process, [node for _, node in links])),
    ]


def _value(node: Any) -> str:
    if isinstance(node, orm.Int | orm.Float | orm.Str | orm.Bool):
        text = str(node.value)
    elif isinstance(node, orm.Dict):
        text = json.dumps(node.get_dict(), ensure_ascii=False, sort_keys=True)
    elif isinstance(node, orm.Code):
        text = f'{node.full_label} (PK {node.pk})'
    else:
        label = f' "{node.label}"' if node.label else ''
        text = f'{type(node).__name__}{label} (PK {node.pk})'
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + '…'


def _models(result: Result) -> list[tuple[object, ...]]:
    return [
        (node.card.name, node.pk, node.content_hash, node.card.members, node.card.functional, node.card.licence)
        for node in result.models
    ]


def _versions(process: Any, inputs: Iterable[Any]) -> Iterator[tuple[str, object]]:
    ran = process.base.attributes.get('version', {})
    if 'plugin' in ran:
        yield 'aiida-goectp that ran', ran['plugin']
    if 'core' in ran:
        yield 'aiida-core that ran', ran['core']
    yield 'aiida-goectp that wrote this page', __version__
    yield 'aiida-core that wrote this page', aiida_version
    yield 'Python that wrote this page', platform.python_version()
    for node in inputs:
        if isinstance(node, orm.Code):
            computer = 'no computer' if node.computer is None else node.computer.label
            yield f'code {node.full_label}', f'plugin {node.default_calc_job_plugin}, on {computer}'

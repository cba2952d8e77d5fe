"""Report of a result as one self-contained HTML page, which needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from aiida import orm
from aiida.common import timezone

from aiida_goectp import __version__
from aiida_goectp.core.formats.terminal import printable
from aiida_goectp.report.asked import asked
from aiida_goectp.report.campaigns import campaign_picks
from aiida_goectp.report.citations import citations
from aiida_goectp.report.payload import MAX_ATOMS, payload
from aiida_goectp.report.provenance import provenance_svg
from aiida_goectp.report.results import Result, load_result
from aiida_goectp.report.tables import PageTable, failure_tables, rounds_table, setting_tables, summary
from aiida_goectp.report.words import duration

__all__ = ('MAX_CANDIDATES', 'report_html')

MAX_CANDIDATES = 20_000
"""rows of the table; the best crystals come first"""
_TITLES = {'screen': 'Screen', 'verification': 'Verification', 'campaign': 'Campaign'}


class _Page(NamedTuple):
    """Content of the page besides the candidates."""

    title: str
    subtitle: str
    asked: list[str]
    summary: list[tuple[str, str]]
    omitted: int
    shown: int
    plot_label: str
    has_parity: bool
    rounds: PageTable | None
    rounds_figure: str
    failures: list[PageTable]
    provenance: Any
    settings: list[PageTable]
    citations: list[str]


def report_html(node: orm.Node, max_candidates: int = MAX_CANDIDATES) -> str:
    """Return the page of a screen, a verification or a campaign.

    The page holds its data, its scripts and plotly.js, and loads nothing; a content security policy in it admits only
    these scripts. Ids, labels and messages are escaped.

    :param node: a screen, verification or campaign, or one of its outputs
    :param max_candidates: rows of the table of candidates of a screen or campaign, besides those with a DFPT result
    :raises ValueError: another node, or a process without a result
    :raises ImportError: jinja2 or plotly is missing; ``pip install 'aiida-goectp[report]'`` installs them
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    result = load_result(node, max_candidates)
    shown = result.candidates
    content = payload(shown)
    scripts = {'plotly': _plotly(), 'script': _template('report.js')}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_template('report.html')).render(
        page=_page(result),
        data=Markup(_embedded_json(content)),  # escaped by _embedded_json
        undrawn=sum(crystal is None and row in shown.crystals for row, crystal in enumerate(content['crystals'])),
        max_atoms=MAX_ATOMS,
        style=Markup(_template('report.css')),
        script_sources=Markup(' '.join(_source_hash(text) for text in scripts.values())),
        version=__version__,
        **{name: Markup(text) for name, text in scripts.items()},
    )


def _page(result: Result) -> _Page:
    from markupsafe import Markup

    name = printable(result.process.label) if result.process.label else ''
    title = f'{_TITLES[result.kind]} {result.process.pk}'
    return _Page(
        title=f'{title}: {name}' if name else title,
        subtitle=_subtitle(result.process),
        asked=[printable(sentence) for sentence in asked(result)],
        summary=summary(result),
        omitted=result.candidates.omitted,
        shown=len(result.candidates),
        plot_label='Permittivity against band gap of the candidates',
        has_parity=any(item.averages for item in result.candidates.computed.values()),
        rounds=None if result.campaign is None or not result.campaign['rounds'] else rounds_table(result.campaign),
        rounds_figure=_rounds_figure(result),
        failures=failure_tables(result),
        provenance=Markup(provenance_svg(result.process)),  # its texts are escaped there
        settings=setting_tables(result),
        citations=citations(node.card.citation for node in result.models),
    )


def _subtitle(process: Any) -> str:
    end = process.mtime if process.is_terminated else timezone.now()
    state = 'finished' if process.is_finished_ok else 'running'
    if process.is_terminated and not process.is_finished_ok:
        state = f'ended with exit status {process.exit_status}'
    start = process.ctime.strftime('%Y-%m-%d %H:%M %Z')
    time = duration((end - process.ctime).total_seconds())
    return f'{process.process_label}, PK {process.pk}, {state}, started {start}, took {time}'


def _rounds_figure(result: Result) -> str:
    """Return the figure of the rounds as a data URL, empty without rounds."""
    from aiida_goectp.core.figures.rounds import rounds_figure
    from aiida_goectp.core.figures.style import figure_bytes

    if result.campaign is None:
        return ''
    rounds, predicted, verified = campaign_picks(result.campaign)
    if not np.isfinite(verified).any():
        return ''
    figure = rounds_figure(rounds, predicted, verified, result.campaign['figure_of_merit'])
    return 'data:image/svg+xml;base64,' + base64.b64encode(figure_bytes(figure, 'svg')).decode()


def _template(name: str) -> str:
    return (resources.files('aiida_goectp.report') / 'templates' / name).read_text(encoding='utf-8')


@cache
def _plotly() -> str:
    """Return the source of plotly.js, without what would end a script element."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace('</script', r'<\/script').replace('<!--', r'<\!--')


def _source_hash(script: str) -> str:
    """Return the source expression of an inline script for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _embedded_json(content: Any) -> str:
    """Return JSON that contains no markup: a script element ends with the first ``</script`` in it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(',', ':'))
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')

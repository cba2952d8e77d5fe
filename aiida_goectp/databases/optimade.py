"""Download of structures from a database of OPTIMADE, by the client of optimade-python-tools (extra ``optimade``)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any
from urllib.parse import quote

from aiida_goectp.core.crystals.programs.optimade_entries import HEADER, REQUIRED
from aiida_goectp.core.formats.names import GAP_COLUMN, HULL_COLUMN
from aiida_goectp.databases.download import Download, DownloadError, Page, compressed, iterate_pages
from aiida_goectp.databases.requests_session import USER_AGENT, check_url, session_class

__all__ = ('KNOWN_COLUMNS', 'Optimade', 'check_filter', 'file_content')

KNOWN_COLUMNS = {
    '_oqmd_band_gap': GAP_COLUMN,
    '_oqmd_stability': HULL_COLUMN,
    '_alexandria_band_gap': GAP_COLUMN,
    '_alexandria_hull_distance': HULL_COLUMN,
}
"""properties of databases that become the columns of filters and figures of merit: eV, eV/atom"""


def check_filter(text: str) -> None:
    """Check the grammar of a filter.

    :raises DownloadError: not a filter of OPTIMADE
    """
    from optimade.exceptions import BadRequest
    from optimade.filterparser import LarkParser, ParserError

    try:
        LarkParser().parse(text)
    except (BadRequest, ParserError) as error:
        reason = ' '.join(str(error.detail if isinstance(error, BadRequest) else error).split())
        raise DownloadError(
            f'not a filter of OPTIMADE: {text!r:.200} ({reason:.200}); example: elements HAS ALL "Ti","O" AND nsites<20'
        ) from error


class Optimade:
    """One database, asked politely: a pause between pages, longer ones if it is busy.

    :param url: base URL, without the version, such as ``https://optimade.materialsproject.org``
    :param delay: pause between requests in seconds; the ``request_delay`` of the database if that is longer
    :raises DownloadError: not an HTTP URL, or the extra is not installed
    """

    def __init__(self, url: str, delay: float = 0.5) -> None:
        try:
            from optimade.client import OptimadeClient
        except ImportError as error:
            raise DownloadError("the client is not installed: pip install 'aiida-goectp[optimade]'") from error
        self.url, self._delay = check_url(url, 'https://optimade.odbx.science'), delay
        self._client = OptimadeClient(
            self.url,
            max_results_per_provider=-1,
            use_async=False,
            silent=True,
            http_client=session_class(),
            headers={'User-Agent': USER_AGENT},
        )
        # rich sets this attribute, which hides the method of the client that would be silent
        self._client._progress.print = lambda *_, **__: None

    def columns(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Return the properties to download, and the names of their columns.

        :param chosen: property → column, in addition to :data:`KNOWN_COLUMNS` that the database has
        :raises DownloadError: the database has no such property, or does not answer
        """
        # the list is empty if the database does not describe its properties
        listed = self._ask('info/structures', paginate=False).data
        properties = listed.get('properties', {}) if isinstance(listed, dict) else {}
        for name in chosen:
            if properties and name not in properties:
                near = difflib.get_close_matches(name, properties, 1)
                own = ', '.join(sorted(key for key in properties if key.startswith('_'))[:30]) or 'none'
                hint = f' (did you mean {near[0]}?)' if near else ''
                raise DownloadError(f'{self.url} has no property {name!r}{hint}; its own properties are: {own}')
        taken = set(chosen.values())
        known = {name: column for name, column in KNOWN_COLUMNS.items() if name in properties and column not in taken}
        return known | dict(chosen)

    def pages(self, filter: str, fields: Sequence[str], page_limit: int | None, start: str | None) -> Iterator[Page]:
        """Return the pages of a query, one after another.

        :param filter: in the language of OPTIMADE; empty for all structures
        :param fields: properties, besides those that define a crystal
        :param page_limit: entries a page; the database refuses more than its limit, and decides without
        :param start: URL of the first page, if it is not that of the query
        :raises DownloadError: the database does not answer, or refuses the query
        """

        def ask(url: str | None) -> Page:
            found = self._ask(
                'structures',
                filter=quote(filter),
                response_fields=[*REQUIRED, *fields],
                page_limit=page_limit,
                override_url=url,
                paginate=False,
            )
            link = found.links.get('next') if isinstance(found.links, dict) else None
            following = link.get('href') if isinstance(link, dict) else link
            following = following if isinstance(following, str) and following else None
            entries = [entry for entry in found.data if isinstance(entry, dict)] if isinstance(found.data, list) else []
            meta = found.meta if isinstance(found.meta, dict) else {}
            total, pause = meta.get('data_returned'), meta.get('request_delay')
            return Page(
                entries,
                following if entries else None,
                total if isinstance(total, int) else None,
                pause if isinstance(pause, int | float) else 0.0,
            )

        return iterate_pages(ask, start, self._delay)

    def _ask(self, endpoint: str, filter: str = '', **options: Any) -> Any:
        """Return the answer to one request.

        :raises DownloadError: an error of the network or of the database
        """
        answer = next(iter(self._client.get_one(endpoint, filter, self.url, **options).values()))
        if answer.errors:
            texts = (
                error.get('detail') or str(error) if isinstance(error, dict) else str(error) for error in answer.errors
            )
            raise DownloadError(f'{self.url}: {"; ".join(" ".join(str(text).split()) for text in texts):.400}')
        return answer


def file_content(part: Download, columns: Mapping[str, str]) -> bytes:
    """Return the content of ``*.optimade.jsonl.gz``.

    :param columns: property → column
    """
    header = json.dumps({HEADER: {'meta': {'api_version': '1.2.0'}}, 'columns': dict(columns)}, sort_keys=True)
    return compressed(chain([header.encode()], part.lines()))

"""Download of structures from a database of OPTIMADE, by the client of optimade-python-tools (extra ``optimade``)."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any
from urllib.parse import quote, urlsplit

from aiida_goectp import __version__
from aiida_goectp.core.crystals.programs.optimade_entries import HEADER, REQUIRED
from aiida_goectp.core.formats.names import GAP_COLUMN, HULL_COLUMN
from aiida_goectp.databases.download import Download, DownloadError, Page, compressed

__all__ = ('KNOWN_COLUMNS', 'Optimade', 'check_filter', 'file_content')

KNOWN_COLUMNS = {
    '_oqmd_band_gap': GAP_COLUMN,
    '_oqmd_stability': HULL_COLUMN,
    '_alexandria_band_gap': GAP_COLUMN,
    '_alexandria_hull_distance': HULL_COLUMN,
}
"""properties of databases that become the columns of filters and figures of merit: eV, eV/atom"""

_MAX_ANSWER = 64 * 2**20
"""bytes of one answer"""
_MAX_WAIT = 60.0
"""seconds before a request, whatever the database asks for"""
_ATTEMPTS = 5
"""of a request, with growing pauses"""
_BUSY = (429, 502, 503, 504)
"""HTTP status of a database that is to be asked later"""


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
        if urlsplit(url).scheme not in ('http', 'https') or not urlsplit(url).hostname:
            raise DownloadError(f'{url!r:.200} is not a URL; give the base URL, such as https://optimade.odbx.science')
        if urlsplit(url).username is not None:
            raise DownloadError('the URL contains a user name; it would be stored with the crystals')
        self.url, self._delay = url.rstrip('/'), delay
        self._client = OptimadeClient(
            self.url,
            max_results_per_provider=-1,
            use_async=False,
            silent=True,
            http_client=_session(),
            headers={'User-Agent': f'aiida-goectp/{__version__}'},
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
        """Yield the pages of a query.

        :param filter: in the language of OPTIMADE; empty for all structures
        :param fields: properties, besides those that define a crystal
        :param page_limit: entries a page; the database refuses more than its limit, and decides without
        :param start: URL of the first page, if it is not that of the query
        :raises DownloadError: the database does not answer, or refuses the query
        """
        url = start
        asked: set[str | None] = set()
        while True:
            if url in asked:
                raise DownloadError(f'{self.url}: the pages are a circle: {url} leads to itself')
            asked.add(url)
            found = self._ask(
                'structures',
                filter=quote(filter),
                response_fields=[*REQUIRED, *fields],
                page_limit=page_limit,
                override_url=url,
                paginate=False,
            )
            link = found.links.get('next') if isinstance(found.links, dict) else None
            url = link.get('href') if isinstance(link, dict) else link
            url = url if isinstance(url, str) and url else None
            entries = [entry for entry in found.data if isinstance(entry, dict)] if isinstance(found.data, list) else []
            meta = found.meta if isinstance(found.meta, dict) else {}
            total = meta.get('data_returned')
            yield Page(entries, url if entries else None, total if isinstance(total, int) else None)
            if url is None or not entries:
                return
            wished = meta.get('request_delay')
            time.sleep(min(max(self._delay, wished if isinstance(wished, int | float) else 0), _MAX_WAIT))

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


def _session() -> type[Any]:
    """Return the class of sessions of the client: it waits while a database is busy, and bounds an answer."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Patient(Retry):
        def get_retry_after(self, response: Any) -> float | None:
            asked = super().get_retry_after(response)
            return None if asked is None else min(asked, _MAX_WAIT)

    class Session(requests.Session):
        def __init__(self) -> None:
            super().__init__()
            retries = Patient(_ATTEMPTS, connect=2, backoff_factor=1, status_forcelist=_BUSY, allowed_methods=['GET'])
            for scheme in ('http://', 'https://'):
                self.mount(scheme, HTTPAdapter(max_retries=retries))
            self.stream = True  # the content is read by the hook
            self.hooks['response'].append(_read_bounded)

    return Session


def _read_bounded(response: Any, *_: Any, **__: Any) -> None:
    """Read the content of an answer.

    :raises ValueError: it is too large
    """
    pieces, size = [], 0
    for piece in response.iter_content(2**20):
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_ANSWER:
            raise ValueError(f'the answer is larger than {_MAX_ANSWER >> 20} MiB; ask for smaller pages')
    response._content = b''.join(pieces)

"""Downloads in pages, kept in a partial file, so that an interrupted one continues after its last complete page."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiida_goectp.core.executable.progress import DownloadProgress
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('MAX_WAIT', 'Download', 'DownloadError', 'Page', 'compressed', 'download', 'iterate_pages')

MAX_WAIT = 60.0
"""seconds before a request, whatever the database asks for"""

_MARK = b'#'
"""begins the line after a complete page; entries are JSON objects"""
_FORMAT = {'format': 'aiida-goectp/download', 'version': 1}


class DownloadError(FormatError):
    """The database did not answer, refused the query, or has no entry for it."""


class Page(NamedTuple):
    """Answer to one request."""

    entries: list[dict[str, Any]]
    """JSON objects"""
    next: Any
    """what the next request needs; None after the last page"""
    total: int | None
    """number of entries of the whole query, if known"""
    pause: float = 0.0
    """seconds that the database asks for before the next request"""


class Download:
    """Entries of a query that were downloaded so far, in ``SOURCE-HASH.partial``.

    :param folder: of the partial file
    :param query: what was asked: ``source``, and what defines the answer. No key and no password
    """

    def __init__(self, folder: Path, query: Mapping[str, Any]) -> None:
        text = json.dumps(query, sort_keys=True)
        self.path = folder / f'{query["source"]}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}.partial'
        self.number = 0
        """entries so far"""
        self.next: Any = None
        """what the next request needs, None at the start"""
        self.total: int | None = None
        self.complete = False
        self._header = json.dumps(_FORMAT | {'query': query}, sort_keys=True).encode() + b'\n'
        end = self._read()
        if not end:
            self.path.write_bytes(self._header)
        else:
            with self.path.open('r+b') as stream:  # the lines of an incomplete page
                stream.truncate(end)

    def _read(self) -> int:
        """Take the complete pages of the file, and return where they end; 0 without a valid file."""
        if not self.path.is_file():
            return 0
        with self.path.open('rb') as stream:
            if stream.readline() != self._header:
                return 0
            end, number = stream.tell(), 0
            for line in stream:
                if line.startswith(_MARK) and line.endswith(b'\n'):
                    try:
                        page = json.loads(line[1:])
                        self.next, self.total, self.complete = page['next'], page['total'], page['next'] is None
                    except (ValueError, KeyError, TypeError):
                        return end
                    self.number, end = number, stream.tell()
                else:
                    number += 1
        return end

    def append(self, page: Page) -> None:
        """Add a page; it is on the disk when this returns."""
        lines = [json.dumps(entry, sort_keys=True) for entry in page.entries]
        marker = _MARK.decode() + json.dumps({'next': page.next, 'total': page.total})
        with self.path.open('ab') as stream:
            stream.write(''.join(f'{line}\n' for line in [*lines, marker]).encode())
        self.number, self.next, self.total = self.number + len(lines), page.next, page.total
        self.complete = page.next is None

    def lines(self) -> Iterator[bytes]:
        """Yield the JSON text of each entry."""
        with self.path.open('rb') as stream:
            stream.readline()
            for line in stream:
                if not line.startswith(_MARK):
                    yield line.rstrip(b'\n')

    def remove(self) -> None:
        """Remove the partial file."""
        self.path.unlink(missing_ok=True)


def iterate_pages(ask: Callable[[Any], Page], start: Any, delay: float) -> Iterator[Page]:
    """Yield pages until the last one, with a pause before each further request.

    :param ask: returns a page; takes what the page before has as ``next``
    :param start: argument of the first request
    :param delay: pause in seconds; longer if the database asks for it, but at most :data:`MAX_WAIT`
    :raises DownloadError: a page leads back to an earlier one
    """
    asked: set[Any] = set()
    while True:
        if start in asked:
            raise DownloadError(f'the pages are a circle: {start} leads to itself')
        asked.add(start)
        page = ask(start)
        yield page
        if page.next is None:
            return
        time.sleep(min(max(delay, page.pause), MAX_WAIT))
        start = page.next


def download(part: Download, pages: Iterator[Page], limit: int | None, quiet: bool = False) -> None:
    """Append pages until the last one, or until there are as many entries as wanted, with a progress bar.

    :param pages: pages after those that were downloaded
    :param limit: largest number of entries; all without
    :raises DownloadError: the database fails, what was downloaded is kept; another number of entries fits the query
        than in an earlier run; or there is no entry
    """
    before = part.total
    with DownloadProgress(part.number, quiet) as progress:
        while not part.complete and (limit is None or part.number < limit):
            try:
                page = next(pages, None)
            except DownloadError:
                if not part.number:
                    part.remove()
                raise
            if page is None:
                break
            if before is not None and page.total not in (None, before):  # pages count entries of another list
                raise DownloadError(
                    f'the database has changed: {page.total} entries fit the query, {before} did before; remove '
                    f'{part.path} to begin again'
                )
            known = page.entries if limit is None else page.entries[: limit - part.number]
            part.append(page._replace(entries=known))
            progress.update(part.number, part.total if limit is None or part.total is None else min(limit, part.total))
    if not part.number:
        part.remove()
        raise DownloadError('no entry fits the query')


def compressed(lines: Iterator[bytes]) -> bytes:
    """Return lines as a gzip file; equal lines give equal bytes."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode='wb', mtime=0, filename='') as file:
        for line in lines:
            file.write(line + b'\n')
    return stream.getvalue()

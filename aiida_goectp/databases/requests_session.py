"""HTTP sessions that wait while a database is busy, and bound the size of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiida_goectp import __version__
from aiida_goectp.databases.download import MAX_WAIT, DownloadError

if TYPE_CHECKING:
    import requests

__all__ = ('USER_AGENT', 'check_url', 'session_class')

USER_AGENT = f'aiida-goectp/{__version__}'

_MAX_ANSWER = 64 * 2**20
"""bytes of one answer"""
_ATTEMPTS = 5
"""of a request, with growing pauses"""
_BUSY = (429, 502, 503, 504)
"""HTTP status of a database that is to be asked later"""


def check_url(url: str, example: str) -> str:
    """Return a base URL without the slash at its end.

    :param url: of the database
    :param example: a URL for the message
    :raises DownloadError: not an HTTP URL, or one with a user name, a query or a fragment
    """
    parts = urlsplit(url)
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise DownloadError(f'{url!r:.200} is not a URL; give the base URL, such as {example}')
    if parts.username is not None:
        raise DownloadError('the URL contains a user name; it would be stored with the crystals')
    if parts.query or parts.fragment:
        raise DownloadError(f'the URL contains ? or #; give the base URL without what follows, such as {example}')
    return url.rstrip('/')


def session_class() -> type[requests.Session]:
    """Return a class of sessions: a busy database is asked again up to five times, and an answer is bounded."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class BoundedRetry(Retry):
        def get_retry_after(self, response: Any) -> float | None:
            seconds = super().get_retry_after(response)
            return None if seconds is None else min(seconds, MAX_WAIT)

    class Session(requests.Session):
        def __init__(self) -> None:
            super().__init__()
            retries = BoundedRetry(
                _ATTEMPTS, connect=2, backoff_factor=1, status_forcelist=_BUSY, allowed_methods=['GET']
            )
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

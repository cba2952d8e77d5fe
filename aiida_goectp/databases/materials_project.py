"""Download of structures from the Materials Project, by the endpoint ``materials/summary`` of its REST interface.

Names of filters and properties are those of the documentation, https://api.materialsproject.org/docs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, create_model, field_validator, model_validator

from aiida_goectp.core.crystals.elements import SYMBOLS
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.names import GAP_COLUMN, HULL_COLUMN
from aiida_goectp.core.formats.settings import Settings, read_settings, unknown_value
from aiida_goectp.databases.download import Download, DownloadError, Page, compressed, iterate_pages
from aiida_goectp.databases.requests_session import USER_AGENT, check_url, session_class

__all__ = (
    'KNOWN_COLUMNS',
    'MAX_PAGE',
    'URL',
    'MaterialsProject',
    'SummaryFilter',
    'check_key',
    'file_content',
    'named_columns',
    'read_filter',
)

URL = 'https://api.materialsproject.org'

MAX_PAGE = 1000
"""largest number of materials that the service returns at once"""

KNOWN_COLUMNS = {'band_gap': GAP_COLUMN, 'energy_above_hull': HULL_COLUMN, 'formula_pretty': 'formula_pretty'}
"""properties that always become columns: eV, eV/atom, text"""

_RANGES = {
    **dict.fromkeys(('band_gap', 'energy_above_hull', 'formation_energy_per_atom', 'density', 'volume'), float),
    **dict.fromkeys(('e_electronic', 'e_ionic', 'e_total', 'n', 'total_magnetization'), float),
    **dict.fromkeys(('nsites', 'nelements'), int),
}
"""property with filters ``NAME_min`` and ``NAME_max`` → type"""

_FLAGS = ('is_stable', 'is_metal', 'is_gap_direct', 'theoretical', 'deprecated')

_PROPERTIES = (
    *(*KNOWN_COLUMNS, *(name for name in _RANGES if name not in KNOWN_COLUMNS), *_FLAGS),
    *('chemsys', 'efermi', 'energy_per_atom', 'ordering', 'homogeneous_poisson', 'universal_anisotropy', 'e_ij_max'),
)
"""numbers, booleans and texts of a summary that can be columns"""

_OWN = ('material_id', 'structure')
"""properties that define a crystal"""

_ID = re.compile(r'[a-z]+-[A-Za-z0-9]+', re.ASCII)
_FORMULA = re.compile(r'[A-Za-z0-9*().]+', re.ASCII)
_KEY = re.compile(r'[\x21-\x7e]{1,200}', re.ASCII)
_TIMEOUT = (10.0, 120.0)
"""seconds to connect and to wait for the next bytes"""


class _Names(Settings):
    """Filters by composition, symmetry and flags; lists are separated by commas."""

    material_ids: str | None = Field(default=None, description='ids, such as mp-149,mp-1265')
    formula: str | None = Field(default=None, description='formulas, such as TiO2,ABO3')
    chemsys: str | None = Field(default=None, description='chemical systems, such as Ba-Ti-O,Si-*')
    elements: str | None = Field(default=None, description='elements that the crystals contain')
    exclude_elements: str | None = Field(default=None, description='elements that the crystals do not contain')
    crystal_system: (
        Literal['Triclinic', 'Monoclinic', 'Orthorhombic', 'Tetragonal', 'Trigonal', 'Hexagonal', 'Cubic'] | None
    ) = None
    spacegroup_number: int | None = Field(default=None, ge=1, le=230)
    is_stable: bool | None = Field(default=None, description='on the convex hull')
    is_metal: bool | None = None
    is_gap_direct: bool | None = None
    theoretical: bool | None = Field(default=None, description='in no database of experimental structures')
    deprecated: bool = Field(default=False, description='withdrawn by the Materials Project')

    @field_validator('material_ids', 'formula', 'chemsys', 'elements', 'exclude_elements')
    @classmethod
    def _check_list(cls, text: str | None, info: Any) -> str | None:
        if text is None:
            return None
        items = [item.strip() for item in text.split(',')]
        for item in items:
            if info.field_name == 'material_ids' and not _ID.fullmatch(item):
                raise ValueError(f'{item!r:.40} is not an id of the Materials Project, such as mp-149')
            if info.field_name == 'formula' and not _FORMULA.fullmatch(item):
                raise ValueError(f'{item!r:.40} is not a formula, such as TiO2, ABO3 or Si*')
            symbols = item.split('-') if info.field_name == 'chemsys' else [item]
            allowed = (*SYMBOLS[1:], '*') if info.field_name == 'chemsys' else SYMBOLS[1:]
            wrong = [symbol for symbol in symbols if symbol not in allowed]
            if info.field_name in ('chemsys', 'elements', 'exclude_elements') and wrong:
                raise ValueError(f'{wrong[0]!r:.40} is not a chemical element')
        return ','.join(items)

    @model_validator(mode='after')
    def _check_ranges(self) -> _Names:
        for name in _RANGES:
            low, high = getattr(self, f'{name}_min', None), getattr(self, f'{name}_max', None)
            if low is not None and high is not None and low > high:
                raise ValueError(f'{name}_min={low:g} is larger than {name}_max={high:g}')
        return self


_LIMITS: dict[str, Any] = {
    f'{name}_{end}': (kind | None, None) for name, kind in _RANGES.items() for end in ('min', 'max')
}

SummaryFilter: type[_Names] = create_model('SummaryFilter', __base__=_Names, __module__=__name__, **_LIMITS)
"""Filters of the summary endpoint, with ``NAME_min`` and ``NAME_max`` for numbers."""


def read_filter(values: Mapping[str, str]) -> dict[str, Any]:
    """Return checked filters: what was given, and ``deprecated``.

    :param values: name → value, lists separated by commas
    :raises DownloadError: an unknown name, or a value that is not allowed
    """
    try:
        checked = read_settings(SummaryFilter, dict(values), 'filter')
    except FormatError as error:
        raise DownloadError(f'{error}') from error
    return checked.model_dump(exclude_none=True)


def named_columns(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the properties to download, and the names of their columns.

    :param chosen: property → column, in addition to :data:`KNOWN_COLUMNS`
    :raises DownloadError: a property that the summary does not have, or a column named like id or structure
    """
    for name, column in chosen.items():
        if name not in _PROPERTIES:
            raise DownloadError(unknown_value(f'column {column}', name, _PROPERTIES))
        if column in _OWN or column == 'id':
            raise DownloadError(f'column {column!r} is reserved; choose another name')
    taken = set(chosen.values())
    return {name: column for name, column in KNOWN_COLUMNS.items() if column not in taken} | dict(chosen)


def check_key(text: str | None, source: str) -> str:
    """Return an API key without surrounding white space. No message contains it.

    :param text: what the source contains
    :param source: file or environment variable, for messages
    :raises DownloadError: no key, or characters that no key has
    """
    key = (text or '').strip()
    if not key:
        raise DownloadError(
            f'no API key in {source}; put the key of your account at https://materialsproject.org/api into a file for '
            '--api-key-file, or set MP_API_KEY'
        )
    if not _KEY.fullmatch(key):
        raise DownloadError(f'{source} does not contain one API key: white space or unexpected characters in it')
    return key


class MaterialsProject:
    """The service, asked politely: a pause between pages, longer ones if it is busy.

    The key is sent in a header to the given host only: redirects are refused.

    :param key: API key
    :param url: base URL; HTTPS, except on this machine
    :param delay: pause between requests in seconds
    :raises DownloadError: not such a URL
    """

    def __init__(self, key: str, url: str = URL, delay: float = 0.5) -> None:
        self.url, self._delay, self._key = check_url(url, URL), delay, key
        if urlsplit(self.url).scheme != 'https' and not _is_local(urlsplit(self.url).hostname or ''):
            raise DownloadError(f'{self.url}: the API key would be sent unencrypted; give a URL that begins with https')
        self._session = session_class()()
        self._session.headers.update({'X-API-KEY': key, 'User-Agent': USER_AGENT, 'Accept': 'application/json'})

    def version(self) -> str | None:
        """Return the version of the database, such as ``2025.09.25``; None if the service does not state it.

        :raises DownloadError: the service does not answer
        """
        version = self._ask('heartbeat', {}).get('db_version')
        return version if isinstance(version, str) else None

    def pages(
        self, filter: Mapping[str, Any], properties: Sequence[str], page_limit: int, limit: int, start: int | None
    ) -> Iterator[Page]:
        """Return the pages of a query, one after another.

        :param filter: checked by :func:`read_filter`
        :param properties: besides structure and id
        :param page_limit: materials a page, at most :data:`MAX_PAGE`
        :param limit: largest number of materials
        :param start: materials to skip, if not 0
        :raises DownloadError: the service does not answer, or refuses the query
        """
        fields = ','.join([*_OWN, *properties])

        def ask(skip: int) -> Page:
            number = max(1, min(page_limit, limit - skip))
            own = {'_fields': fields, '_all_fields': False, '_skip': skip, '_limit': number}
            answer = self._ask('materials/summary/', dict(filter) | own)
            data, meta = answer.get('data'), answer.get('meta')
            if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
                raise DownloadError(f'{self.url}: the answer has no list of documents under "data"')
            total = meta.get('total_doc') if isinstance(meta, dict) else None
            total = total if isinstance(total, int) else None
            end = skip + len(data)
            if not data and total is not None and skip < total:
                raise DownloadError(f'{self.url}: no documents after {skip} of {total}; run the command again later')
            last = len(data) < number if total is None else end >= total
            return Page(data, None if last else end, total)

        return iterate_pages(ask, start or 0, self._delay)

    def _ask(self, endpoint: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one request.

        :raises DownloadError: an error of the network or of the service
        """
        import requests

        texts = {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in parameters.items()
        }
        try:
            answer = self._session.get(f'{self.url}/{endpoint}', params=texts, timeout=_TIMEOUT, allow_redirects=False)
        except (requests.RequestException, ValueError) as error:
            raise self._error(f'{error}') from error
        status = answer.status_code
        if status in (401, 403):
            raise self._error(
                f'HTTP {status}, the service refuses the request ({_reason(answer.content)}); check the API key, whose '
                'current value is on https://materialsproject.org/api'
            )
        if status != 200:
            raise self._error(f'HTTP {status} ({_reason(answer.content)})')
        try:
            value = parse_json(answer.content, 'the answer')
        except FormatError as error:
            raise self._error(f'{error}') from error
        if not isinstance(value, dict):
            raise self._error('the answer is not a JSON object')
        return value

    def _error(self, text: str) -> DownloadError:
        """Return an error without the key, which an answer may repeat."""
        plain = ' '.join(text.replace(self._key, '***').split())
        return DownloadError(f'{self.url}: {plain:.400}')


def _is_local(host: str) -> bool:
    try:
        return host == 'localhost' or ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(content: bytes) -> str:
    """Return what an answer states about an error: ``detail``, ``message`` or ``error``, or its text."""
    try:
        value = parse_json(content)
    except FormatError:
        return content[:200].decode('utf-8', 'replace') or 'no reason given'
    if isinstance(value, dict):
        value = next((value[name] for name in ('detail', 'message', 'error') if value.get(name)), value)
    if isinstance(value, list):  # of FastAPI: one object for each parameter that is wrong
        value = '; '.join(
            f'{".".join(map(str, item["loc"]))}: {item.get("msg")}'
            if isinstance(item, dict) and isinstance(item.get('loc'), list)
            else str(item)
            for item in value
        )
    return f'{value!s:.300}'


def file_content(part: Download, columns: Mapping[str, str]) -> bytes:
    """Return the content of ``*.pymatgen.jsonl.gz``: documents with id, structure, and properties named by columns.

    :param columns: property → column
    """
    return compressed(_renamed(line, columns) for line in part.lines())


def _renamed(line: bytes, columns: Mapping[str, str]) -> bytes:
    document = json.loads(line)
    own = {name: document.get(name) for name in _OWN}
    return json.dumps(own | {column: document.get(name) for name, column in columns.items()}, sort_keys=True).encode()

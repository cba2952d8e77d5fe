"""Collection of finished calculations: a response or a refusal of each, with names and hashes of the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.readers import unpack
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.espresso_files import response_from_espresso
from aiida_goectp.core.dfpt.folders import Calculation, Program, SourceFile
from aiida_goectp.core.dfpt.phonopy_set import response_from_phonopy
from aiida_goectp.core.dfpt.vasp_files import response_from_vasp
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('Collected', 'collect_calculations')

_READERS = {
    Program.VASP: response_from_vasp,
    Program.QUANTUMESPRESSO: response_from_espresso,
    Program.PHONOPY: response_from_phonopy,
}
_MAX_MESSAGE = 400
"""characters"""


class Collected(NamedTuple):
    """What a calculation gives."""

    result: DielectricResponse | Failure
    folder: str
    program: str
    files: dict[str, str]
    """name of each file, relative to the folder → SHA-256 of its content as it is, in hexadecimal digits"""


def collect_calculations(calculations: Iterable[Calculation]) -> Iterator[Collected]:
    """Yield the response of each calculation, or the reason why it has none; files are read one calculation at a time.

    A calculation whose files are all equal to those of one that was collected before is refused. No damage of files
    raises an error.
    """
    seen: dict[frozenset[str], str] = {}
    for calculation in calculations:
        hashes: dict[str, str] = {}
        result: DielectricResponse | Failure
        try:
            contents = {part: _content(part, found, hashes) for part, found in calculation.files.items()}
            key = frozenset(hashes.values())
            if key in seen:
                raise CollectError(Refusal.DUPLICATE, f'the files are equal to those of {seen[key]}')
            result = _READERS[calculation.program](calculation.name, contents)
            seen[key] = calculation.folder
        except (CollectError, CrystalError) as error:
            result = _failure(calculation, str(error.code), str(error))
        except (FormatError, ArithmeticError, ValueError, MemoryError) as error:
            result = _failure(calculation, Refusal.UNREADABLE_FILE, f'{error}' or type(error).__name__)
        yield Collected(result, calculation.folder, str(calculation.program), hashes)


def _failure(calculation: Calculation, code: str, message: str) -> Failure:
    line = ' '.join(f'{calculation.folder}: {message}'.split())
    return Failure(calculation.name, str(code), line if len(line) <= _MAX_MESSAGE else f'{line[: _MAX_MESSAGE - 1]}…')


def _content(part: str, files: tuple[SourceFile, ...], hashes: dict[str, str]) -> bytes:
    """Return the content of a part, uncompressed, and record names and hashes of its files.

    :raises CollectError: files that cannot be read, or several with different content
    """
    contents: dict[str, bytes] = {}
    for file in files:
        try:
            raw = file.read()
        except OSError as error:
            raise CollectError(Refusal.UNREADABLE_FILE, f'{file.name}: {error.strerror or error}') from error
        hashes[file.name] = hashlib.sha256(raw).hexdigest()
        try:
            contents[file.name] = unpack(raw) if raw.startswith(b'\x1f\x8b') else raw
        except ValueError as error:
            raise CollectError(Refusal.UNREADABLE_FILE, f'{file.name}: {error}') from error
    if len(set(contents.values())) > 1:
        raise CollectError(
            Refusal.AMBIGUOUS_FILES,
            f'several files for {part}: {", ".join(sorted(contents))}; leave one of them in the folder',
        )
    return next(iter(contents.values()))

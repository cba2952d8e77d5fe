"""What determines results besides their inputs: the sources of this package, and versions of others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

__all__ = ('changes', 'software', 'source_files', 'source_hash')

_CORE = Path(__file__).resolve().parents[2]
_PROGRAMS = ('moyopy', 'numba', 'numpy', 'torch')


def source_files(*folders: str) -> list[Path]:
    """Return the modules in folders of the library.

    :param folders: names in ``aiida_goectp/core``
    """
    return [path for name in folders for path in sorted((_CORE / name).rglob('*.py')) if path.is_file()]


def source_hash(files: Iterable[Path]) -> str:
    """Return a hash of the content of files, 16 digits."""
    digests = b''.join(hashlib.sha256(path.read_bytes()).digest() for path in files)
    return hashlib.sha256(digests).hexdigest()[:16]


def software(*folders: str) -> dict[str, str]:
    """Return a hash of sources, and the versions of the packages that compute with them.

    The hash also differs between two states of a working copy, which have the same version number.

    :param folders: names in ``aiida_goectp/core``
    """
    return {'sources': source_hash(source_files(*folders)), **{name: version(name) for name in _PROGRAMS}}


def changes(found: Mapping[str, object], own: Mapping[str, object]) -> str:
    """Return which values of a mapping that was stored are others now, in words; empty if none is."""
    return ', '.join(f'{name} {found.get(name)} (now {own[name]})' for name in own if found.get(name) != own[name])

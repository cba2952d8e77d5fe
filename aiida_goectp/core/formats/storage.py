"""Writing of files: completely or not at all, with the reason if the disk or the folder does not admit it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ('RUN_ENDINGS', 'StorageError', 'is_storage_error', 'replacing', 'writing')

RUN_ENDINGS = ('.partial', '.state', '.status.json', '.log.jsonl', '.lock')
"""endings, after the name of the output, of the further files that a run of goectp writes"""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class StorageError(OSError):
    """A file cannot be written, as on a full disk, beyond a quota, or in a read-only folder.

    :param path: of the file
    :param error: of the system
    """

    def __init__(self, path: str | Path, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error), str(path))

    def __str__(self) -> str:
        remedy = ''
        if self.errno in _FULL:
            remedy = '; free space or quota, then run the same command again: it resumes'
        elif self.errno in _READ_ONLY:
            remedy = '; name an output in a folder that is writable'
        return f'{self.filename}: cannot be written ({self.strerror}){remedy}'


def is_storage_error(error: OSError) -> bool:
    """Return whether an error is that of a full disk or of a read-only file system, wherever it was raised."""
    return isinstance(error, StorageError) or error.errno in (*_FULL, errno.EROFS)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Convert the errors of the system within the context to :class:`StorageError`.

    :param path: file that is written there
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(path, error) from error


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """Give a stream whose content replaces the file at the end; the file is the old one or the complete new one.

    After an error the old file is left, and nothing else: an incomplete new one would fill the disk further.

    :param path: of the file
    :param sync: wait until the content is on the disk
    :raises StorageError: the file cannot be written
    """
    temporary = path.with_name(path.name + '.writing')
    try:
        with writing(path):
            with temporary.open('wb') as stream:
                yield stream
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise

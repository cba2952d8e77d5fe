"""Compiled code on disk: used again, made anew where it is damaged, done without where nothing can be written."""

from __future__ import annotations

import os
import pty
import runpy
from collections.abc import Callable
from pathlib import Path

import numba
import pytest

from aiida_goectp.core.crystals.compiled import cache

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason='nothing is compiled')

_SOURCE = """
from aiida_goectp.core.crystals.compiled.cache import compiled

@compiled()
def double(number):
    return 2 * number
"""


@pytest.fixture(autouse=True)
def _first_messages():
    """Forget what earlier tests were told."""
    cache._announce.cache_clear()
    cache._warn.cache_clear()


@pytest.fixture
def load(tmp_path) -> Callable[[], Callable]:
    """Load the function as a new process does."""
    path = tmp_path / 'loops.py'
    path.write_text(_SOURCE)
    return lambda: runpy.run_path(str(path))['double']


def _from_disk(function: Callable) -> bool:
    assert function(3) == 6
    return bool(sum(function.stats.cache_hits.values()))


def test_compiled_code_is_used_again(load, caplog):
    assert [_from_disk(load()) for _ in range(3)] == [False, True, True]
    assert not caplog.records


@pytest.mark.parametrize('suffix', ['nbi', 'nbc'])
@pytest.mark.parametrize('content', [b'', b'\0' * 64, b'garbage'])
def test_a_damaged_file_is_replaced(load, tmp_path, suffix, content):
    """A power failure leaves empty files, since nothing is synchronised with the disk."""
    _from_disk(load())
    (file,) = (tmp_path / '__pycache__').glob(f'*double*.{suffix}')
    file.write_bytes(content)
    assert [_from_disk(load()) for _ in range(2)] == [False, True]


@pytest.fixture
def no_folder(tmp_path, monkeypatch) -> Path:
    """Let the folder beside the module and that of the user be no folders."""
    (tmp_path / '__pycache__').write_bytes(b'')
    for name in ('HOME', 'XDG_CACHE_HOME'):
        monkeypatch.setenv(name, str(tmp_path / 'loops.py'))
    return tmp_path


def test_without_a_folder_each_process_compiles(load, no_folder, caplog):
    assert [_from_disk(load()) for _ in range(2)] == [False, False]
    assert ['NUMBA_CACHE_DIR' in record.getMessage() for record in caplog.records] == [True]


def test_a_full_disk_does_not_end_the_program(load, no_folder, caplog):
    (no_folder / '__pycache__').unlink()
    function = load()
    (no_folder / '__pycache__').rmdir()
    (no_folder / '__pycache__').write_bytes(b'')  # no file can be made in it, as on a full disk
    assert not _from_disk(function)
    assert ['NUMBA_CACHE_DIR' in record.getMessage() for record in caplog.records] == [True]


def test_a_person_at_a_terminal_is_told(load, monkeypatch):
    reader, writer = pty.openpty()
    with os.fdopen(writer, 'w', encoding='utf-8') as terminal:
        monkeypatch.setattr('sys.stderr', terminal)
        assert not _from_disk(load())
        assert _from_disk(load())
        terminal.flush()
        assert os.read(reader, 1000).decode().count('compiling') == 1
    os.close(reader)

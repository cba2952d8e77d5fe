"""Compiled code on disk: used again, made anew where it is damaged, done without where nothing can be written."""

from __future__ import annotations

import ast
import os
import pty
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest

from aiida_goectp.core.crystals.compiled import cache

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason='nothing is compiled')

_SOURCE = """
from aiida_goectp.core.crystals.compiled.cache import compiled

@compiled()
def double(number):
    return 2 * number

@compiled()
def total(numbers):
    result = 0.0
    for i in range(len(numbers)):
        result += numbers[i]
    return result
"""


@pytest.fixture(autouse=True)
def _first_messages():
    """Forget what earlier tests were told."""
    cache._announce.cache_clear()
    cache._warn.cache_clear()


@pytest.fixture
def load(tmp_path) -> Callable[..., Callable]:
    """Load a function as a new process does."""
    path = tmp_path / 'loops.py'
    path.write_text(_SOURCE)
    return lambda name='double': runpy.run_path(str(path))[name]


def _from_disk(function: Callable) -> bool:
    assert function(3) == 6
    return bool(sum(function.stats.cache_hits.values()))


def test_compiled_code_is_used_again(load, caplog):
    assert [_from_disk(load()) for _ in range(3)] == [False, True, True]
    assert not caplog.records


@pytest.mark.parametrize('damage', [b'', b'garbage', slice(500, 900), slice(-900, -800), slice(-10, None)])
def test_a_damaged_file_is_replaced(load, tmp_path, damage):
    """A power failure leaves files that are empty or have zeros somewhere: nothing is synchronised with the disk."""
    _from_disk(load())
    (file,) = (tmp_path / '__pycache__').glob('*double*')
    content = bytearray(file.read_bytes())
    if isinstance(damage, slice):
        content[damage] = bytes(len(content[damage]))
    file.write_bytes(content if isinstance(damage, slice) else damage)
    assert [_from_disk(load()) for _ in range(2)] == [False, True]


def test_processes_that_save_at_once_keep_their_own_code(load, monkeypatch):
    """The index of numba would name the loop over contiguous numbers for those with gaps."""
    first, second, numbers = load('total'), load('total'), np.arange(12.0)
    files, save = first._cache._cache_file, first._cache._cache_file._save_data

    def meanwhile(name, data):
        assert second(numbers[::2]) == 30
        save(name, data)

    monkeypatch.setattr(second._cache._cache_file, '_load_index', dict)  # it has read before the other one wrote
    monkeypatch.setattr(files, '_save_data', meanwhile)
    assert first(numbers) == 66
    third = load('total')
    assert (third(numbers), third(numbers[::2]), sum(third.stats.cache_hits.values())) == (66, 30, 2)


def test_code_of_another_version_is_not_used(load, tmp_path, monkeypatch):
    _from_disk(load())
    (tmp_path / '__pycache__' / f'loops.double-4.py3{sys.version_info[1]}.nbi').touch()  # of numba
    monkeypatch.setattr(cache, '_VERSION', 'other')
    assert [_from_disk(load()) for _ in range(2)] == [False, True]
    (file,) = (tmp_path / '__pycache__').glob('*double*')
    assert '.other-' in file.name


def test_flushed_code_is_compiled_anew(load):
    function = load()
    _from_disk(function)
    function._cache.flush()
    assert not _from_disk(load())


_CHECK = """
import numpy as np
from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.compiled import quick_check
crystal = Crystal('x', 8 * np.eye(3), np.array([8, 8]), np.array([[0, 0, 0], [0, 0, 0.25]]))
print(quick_check.is_surely_valid(crystal), sum(quick_check._passes.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_an_upgrade_of_another_module_is_followed(tmp_path):
    """The smallest distance is a constant of a module without loops."""
    root = Path(cache.__file__).parents[4]
    ignored = shutil.ignore_patterns('__pycache__', '*.safetensors')
    shutil.copytree(root / 'aiida_goectp', tmp_path / 'aiida_goectp', ignore=ignored)

    def check():
        command, environment = [sys.executable, '-c', _CHECK], {**os.environ, 'PYTHONPATH': str(tmp_path)}
        environment.pop('NUMBA_CACHE_DIR', None)
        found = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return found.stdout.split()

    assert [check(), check()] == [['True', '0'], ['True', '1']]
    path = tmp_path / 'aiida_goectp/core/crystals/validation.py'
    changed = path.read_text().replace('\nMIN_DISTANCE = 0', '\nMIN_DISTANCE = 3')
    assert changed != path.read_text()
    path.write_text(changed)
    assert check() == ['False', '0']


def test_the_version_covers_what_loops_use():
    """Names that a compiled function has from modules of this package, outside of the folders that are read."""
    core = Path(cache.__file__).parents[2]
    files = [path for path in core.rglob('*.py') if '.cache import compiled\n' in path.read_text(encoding='utf-8')]
    assert len(files) > 10
    for path in files:
        assert path in cache._SOURCES
        tree = ast.parse(path.read_text(encoding='utf-8'))
        others = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith('aiida_goectp.')
            if node.module.split('.')[2] not in ('crystals', 'network')
            for alias in node.names
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and any('compiled(' in ast.unparse(d) for d in node.decorator_list):
                used = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                assert not used & others, f'{path}:{node.lineno}'


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


def test_closed_standard_error(load, monkeypatch):
    monkeypatch.setattr('sys.stderr', None)
    assert not _from_disk(load())

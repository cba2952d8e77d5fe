"""Damaged and hostile structure files: each is one failure, in bounded memory, and never an exception."""

from __future__ import annotations

import gzip
import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals import CrystalSet, read_bytes
from tests.core.crystals.test_cif import QUARTZ
from tests.core.crystals.test_structurefiles import FRAME, POSCAR

ROW = json.dumps(
    {'id': 'a', 'lattice': (np.eye(3) * 4).tolist(), 'species': ['Po'], 'frac_coords': [[0, 0, 0]], 'x': 1}
)
SAMPLES = {'some.cif': QUARTZ, 'POSCAR': POSCAR, 'some.extxyz': FRAME + FRAME, 'some.jsonl': f'{ROW}\n{ROW}\n'}

_MEASURE = """
import re, sys
from pathlib import Path
from aiida_goectp.core.crystals import read_bytes
import gemmi, ase.io.vasp, ase.io.extxyz, ase.geometry, scipy.spatial, spglib
def peak():  # of this process only, unlike ru_maxrss, which begins with that of the parent
    return int(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])
content = open(sys.argv[2], 'rb').read()
read_bytes('POSCAR', b'')
before = peak()
read_bytes(sys.argv[1], content)
print(peak() - before)
"""


def is_a_result(crystals) -> bool:
    return isinstance(crystals, CrystalSet) and all(failure.code and failure.message for failure in crystals.failures)


@pytest.mark.parametrize('name', SAMPLES)
@given(data=st.data())
@settings(max_examples=80)
def test_changed_bytes_are_a_crystal_or_a_failure(name, data):
    content = bytearray(SAMPLES[name].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        length = data.draw(st.integers(0, 12))
        content[place : place + length] = data.draw(st.binary(max_size=12))
        if not content:
            break
    assert is_a_result(read_bytes(name, bytes(content)))


@pytest.mark.parametrize('name', [*SAMPLES, 'some.npz', 'some.jsonl.gz', 'some.unknown'])
@given(content=st.binary(max_size=300))
@settings(max_examples=60)
def test_any_bytes_are_a_failure(name, content):
    assert is_a_result(read_bytes(name, content))


_WORDS = st.sampled_from(
    [
        *('data_x', 'loop_', '_cell_length_a', '_atom_site_label', '_symmetry_Int_Tables_number', '225', "'x,y,z'"),
        *('Lattice="4 0 0 0 4 0 0 0 4"', 'Properties=species:S:1:pos:R:3', 'nan', '-1', '1e999', '0.5', ';', '?', '.'),
        *('{', '}', '[', ']', ':', '"id"', ',', 'Direct', 'Si', '4', '\n', '\n', '\n'),
    ]
)


@pytest.mark.parametrize('name', SAMPLES)
@given(words=st.lists(_WORDS, max_size=40))
@settings(max_examples=100)
def test_words_of_the_formats_in_any_order(name, words):
    assert is_a_result(read_bytes(name, ' '.join(words).encode()))


def _operations() -> bytes:
    operations = '\n'.join(f"'x+{k % 24}/24,y+{k // 24 % 24}/24,z+{k // 576 % 24}/24'" for k in range(10_000))
    cubic = QUARTZ[: QUARTZ.index('loop_')] + 'loop_\n_symmetry_equiv_pos_as_xyz\n' + operations
    return (cubic + '\n' + QUARTZ[QUARTZ.index('loop_\n_atom_site') :]).encode()


def _archive(n: int, **more: np.ndarray) -> bytes:
    arrays = {
        'format': np.array('aiida-goectp/crystals'),
        'version': np.array(1),
        'lattices': np.tile(np.eye(3) * 4, (n, 1, 1)),
        'atom_offsets': np.arange(n + 1),
        'atomic_numbers': np.full(n, 84, np.int16),
        'fractional_positions': np.zeros((n, 3)),
        'ids': np.arange(n).astype('U'),
        'failures': np.zeros((0, 3), 'U1'),
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, **{**arrays, **more})
    return stream.getvalue()


HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    'operations': ('a.cif', _operations),
    'columns': ('a.extxyz', lambda: FRAME.replace('pos:R:3', 'pos:R:3:foo:R:100000000').encode()),
    'blanks': ('a.jsonl.gz', lambda: gzip.compress(b'\n' * 2**30, 1)),
    'brackets': ('a.jsonl', lambda: b'[' * 2**22),
    'properties': ('a.jsonl', lambda: '\n'.join(ROW.replace('"x"', f'"x{k}"') for k in range(20_000)).encode()),
    'newlines': ('POSCAR', lambda: b'\n' * 2**24),
    'frames': ('a.xyz', lambda: b'0\n\n' * 2**20),
    'structures': ('a.json', lambda: b'[' + b'{"sites":[],"lattice":{}},' * 2**18 + b'0]'),
    'rows of an npz': (
        'a.npz',
        lambda: _archive(20_000, **{f'property:{k}': np.zeros(20_000, bool) for k in range(190)}),
    ),
    'columns of an npz': ('a.npz', lambda: _archive(100, **{f'property:{k}': np.zeros(100) for k in range(10_000)})),
    'text of an npz': ('a.npz', lambda: _archive(100, ids=np.array([f'{k}'.ljust(150_000, 'x') for k in range(100)]))),
}
"""Names of hostile files and what makes their content, which takes seconds for some."""


@pytest.mark.slow
@pytest.mark.parametrize('kind', HOSTILE)
def test_memory_is_bounded_by_a_multiple_of_the_file(kind, tmp_path):
    """40 times the file (100 times if compressed, 400 for npz) plus a constant, as docs/explanation/robustness.md."""
    name, make = HOSTILE[kind]
    content = make()
    path = tmp_path / 'file'
    path.write_bytes(content)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))

    command = [sys.executable, '-c', _MEASURE, name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=limit, check=True)
    used = int(done.stdout) * 1024
    factor, constant = {'gz': (100, 200e6), 'npz': (400, 600e6)}.get(name.rpartition('.')[2], (40, 200e6))
    assert used < factor * len(content) + constant

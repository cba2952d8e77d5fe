"""Compression in blocks: any reader reads it, and the bytes depend on the input alone."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from aiida_goectp.core.formats.deflate import _BLOCK, BlockCompressor, available_cores
from aiida_goectp.core.formats.npz import read_npz, write_npz


def compressed(pieces, threads: int = 2) -> bytes:
    with ThreadPoolExecutor(threads) as pool:
        compressor = BlockCompressor(1, pool)
        return b''.join([*map(compressor.compress, pieces), compressor.flush()])


@pytest.mark.parametrize('size', [0, 1, _BLOCK - 1, _BLOCK, _BLOCK + 1, 20 * _BLOCK + 5])
def test_the_blocks_are_one_stream(size):
    data = np.random.default_rng(size).integers(0, 50, size, dtype=np.uint8).tobytes()
    packed = compressed([data])
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    assert unpacker.decompress(packed) == data
    assert unpacker.eof
    assert not unpacker.unused_data
    whole = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    assert len(packed) <= 1.01 * len(whole.compress(data) + whole.flush()) + 16


def test_bytes_depend_neither_on_threads_nor_on_pieces():
    data = np.random.default_rng(0).normal(size=5 * _BLOCK // 8 + 3).tobytes()
    cuts = [0, 10, 11, _BLOCK + 7, 3 * _BLOCK, len(data)]
    pieces = [memoryview(data)[first:stop] for first, stop in pairwise(cuts)]
    assert compressed(pieces, 1) == compressed([data], 4)


def test_large_arrays_are_read_back(tmp_path):
    arrays = {'a': np.random.default_rng(0).normal(size=(90_000, 3)), 'b': np.array(['x', 'ε'] * 50_000)}
    write_npz(tmp_path / 'thing.npz', 'thing', 1, arrays)
    found = read_npz(tmp_path / 'thing.npz', 'thing', 1)
    assert all((found[name] == array).all() for name, array in arrays.items())


def test_a_stream_that_cannot_be_written_ends_with_its_error(tmp_path):
    with open('/dev/full', 'wb', buffering=0) as full, pytest.raises(OSError, match='No space') as caught:  # noqa: PTH123
        write_npz(full, 'thing', 1, {'a': np.random.default_rng(0).normal(size=300_000)})
    assert caught.value.errno == 28


def test_available_cores():
    assert 1 <= available_cores() <= os.cpu_count()

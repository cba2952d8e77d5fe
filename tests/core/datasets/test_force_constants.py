"""Force constants in datasets."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.errors import FormatError
from tests import tiny


@pytest.fixture
def data():
    """Nine rows with random force constants; those of row 2 are missing."""
    data = tiny.some_dataset(9)
    blocks = np.random.default_rng(0).normal(size=(data.block_offsets[-1], 3, 3)).astype(np.float32)
    blocks[data.block_offsets[2] : data.block_offsets[3]] = np.nan
    return replace(data, force_constants=blocks)


def test_rows_without_force_constants(data):
    assert data.has_force_constants.tolist() == [True, True, False] + [True] * 6
    assert not tiny.some_dataset(9).has_force_constants.any()


def test_files_keep_force_constants(data, tmp_path):
    data.save(tmp_path / 'data.npz')
    found = Dataset.load(tmp_path / 'data.npz')
    np.testing.assert_array_equal(found.force_constants, data.force_constants)
    assert found.content_hash == data.content_hash != tiny.some_dataset(9).content_hash


def test_taken_and_joined_rows_keep_their_blocks(data):
    plain = tiny.some_dataset(9)
    joined = concatenate([plain, data.take([3, 1])])
    assert joined.has_force_constants.tolist() == [False] * 9 + [True, True]
    for place, row in ((9, 3), (10, 1)):
        np.testing.assert_array_equal(
            joined.force_constants[slice(*joined.block_offsets[place : place + 2])],
            data.force_constants[slice(*data.block_offsets[row : row + 2])],
        )
    assert concatenate([plain, plain]).force_constants is None


def test_another_number_of_blocks_is_refused(data):
    with pytest.raises(FormatError, match='force_constants'):
        replace(data, force_constants=data.force_constants[1:])


def test_a_row_with_force_constants_alone_is_trainable(data):
    unknown = np.full((9, 3, 3), np.nan)
    alone = replace(data, electronic=unknown, ionic=unknown)
    assert not alone.has_tensor.any()
    assert alone.trainable.sum() == 8

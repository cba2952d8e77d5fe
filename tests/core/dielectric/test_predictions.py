"""The table of predictions and its file."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.dielectric.predictions import DEVIATIONS, TENSORS, Predictions, flag_names
from aiida_goectp.core.formats.npz import FormatError, read_npz, write_npz
from tests import tiny


@pytest.fixture
def table(crystal_set, predict_by_hand):
    return replace(predict_by_hand(crystal_set, failed=[2]), settings={'device': 'cpu', 'precision': 'float32'})


def test_a_file_keeps_everything(table, tmp_path):
    table.save(tmp_path / 'out.npz')
    back = Predictions.load(tmp_path / 'out.npz')
    tiny.same(back, table, tolerance=0)
    assert (back.model_hash, back.settings) == (table.model_hash, table.settings)
    assert back.failed.tolist() == [False, False, True, False, False, False]


def test_equal_tables_give_equal_bytes(table):
    one, other = io.BytesIO(), io.BytesIO()
    table.save(one)
    Predictions.join([table.take(slice(0, 3)), table.take([3, 4, 5])]).save(other)
    assert one.getvalue() == other.getvalue()


def test_take_keeps_rows_together(table):
    turned = table.take([5, 2, 0])
    assert turned.ids.tolist() == [table.ids[5], table.ids[2], table.ids[0]]
    assert turned.failed.tolist() == [False, True, False]
    np.testing.assert_array_equal(turned.total, table.total[[5, 2, 0]])


def test_a_row_that_is_not_finite_must_say_why(table):
    broken = table.total.copy()
    broken[4] = np.nan
    with pytest.raises(FormatError, match=r'total of row 4 \(TiO2\) is not finite, yet carries no error'):
        replace(table, total=broken)
    # a column that the model does not predict is no error
    assert np.isnan(replace(table, electronic=np.full_like(table.electronic, np.nan)).electronic).all()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'total': np.zeros((5, 3, 3))}, "'total' has shape"),
        ({'ionic': np.zeros((6, 9))}, "'ionic' has shape"),
        ({'flags': np.zeros(6)}, "'flags' has shape"),
        ({'errors': np.zeros(6)}, "'errors' has shape"),
        ({'hashes': None}, "'hashes' is missing|needed array is missing"),
        ({'surprise': np.zeros(1)}, 'an unknown one is there'),
        ({'settings': np.array('{')}, 'unknown one is there'),
    ],
)
def test_a_bad_file_is_refused(table, tmp_path, change, words):
    path = tmp_path / 'out.npz'
    table.save(path)
    arrays = {**read_npz(path, 'predictions', 2), **change}
    write_npz(path, 'predictions', 2, {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(FormatError, match=words) as caught:
        Predictions.load(path)
    assert str(path) in str(caught.value)


def test_another_version_is_refused(table, tmp_path):
    write_npz(tmp_path / 'out.npz', 'predictions', 9, {})
    with pytest.raises(FormatError, match='version 9 of the predictions format; this package reads version 2'):
        Predictions.load(tmp_path / 'out.npz')


def test_flags_have_names():
    assert flag_names(0) == ()
    assert flag_names(np.uint32(1)) == ('unseen_element',)
    assert flag_names(np.uint32(3)) == ('unseen_element', 'symmetry_unknown')
    assert TENSORS[:3] == ('electronic', 'ionic', 'total')


def test_version_1_is_still_read(table, tmp_path):
    """It lacks the deviations of average, anisotropy and principal values; the first had the mean of the others."""
    path = tmp_path / 'out.npz'
    certain = replace(
        table, total_std=np.broadcast_to(np.diag([1.0, 2.0, 3.0]), table.total.shape).copy(), average_std=None
    )
    certain.save(path)
    old = {name: array for name, array in read_npz(path, 'predictions', 2).items() if name not in DEVIATIONS}
    write_npz(path, 'predictions', 1, old)
    found = Predictions.load(path)
    assert (found.average_std[:, 2] == 2).all()
    assert np.isnan(found.eigenvalues_std).all()

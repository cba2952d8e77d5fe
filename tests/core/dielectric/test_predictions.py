"""The table of predictions and its file."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons
from aiida_goectp.core.dielectric.predictions import DEVIATIONS, FLAG_NAMES, Predictions, flag_names, flag_words
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import read_npz, write_npz
from tests import tiny


@pytest.fixture
def table(crystal_set, predict_by_hand):
    return replace(predict_by_hand(crystal_set, failed=[2]), settings={'device': 'cpu', 'precision': 'float32'})


def test_round_trip(table, tmp_path):
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
    taken = table.take([5, 2, 0])
    assert taken.ids.tolist() == [table.ids[5], table.ids[2], table.ids[0]]
    assert taken.failed.tolist() == [False, True, False]
    np.testing.assert_array_equal(taken.total, table.total[[5, 2, 0]])


def test_a_row_that_is_not_finite_needs_an_error(table):
    broken = table.total.copy()
    broken[4] = np.nan
    with pytest.raises(FormatError, match=r'total of row 4 \(TiO2\)'):
        replace(table, total=broken)
    # a column that the model does not predict is all NaN
    assert np.isnan(replace(table, electronic=np.full_like(table.electronic, np.nan)).electronic).all()


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'total': np.zeros((5, 3, 3))}, 'total'),
        ({'ionic': np.zeros((6, 9))}, 'ionic'),
        ({'flags': np.zeros(6)}, 'flags'),
        ({'errors': np.zeros(6)}, 'errors'),
        ({'hashes': None}, 'hashes'),
        ({'settings': np.array('{')}, 'settings'),
    ],
)
def test_invalid_files_are_refused(table, tmp_path, change, name):
    path = tmp_path / 'out.npz'
    table.save(path)
    arrays = {**read_npz(path, 'predictions', 3), **change}
    for version in (1, 2, 3):
        write_npz(path, 'predictions', version, {key: array for key, array in arrays.items() if array is not None})
        with pytest.raises(FormatError, match=rf'out\.npz: .*{name}'):
            Predictions.load(path)


def test_flags_have_names():
    assert flag_names(0) == ()
    assert flag_names(np.uint32(1)) == ('unseen_element',)
    assert flag_names(np.uint32(3)) == ('unseen_element', 'symmetry_unknown')


def test_version_1_is_read(table, tmp_path):
    """The standard deviation of the average is then the mean of those of the principal values; the others are NaN."""
    path = tmp_path / 'out.npz'
    certain = replace(
        table, total_std=np.broadcast_to(np.diag([1.0, 2.0, 3.0]), table.total.shape).copy(), average_std=None
    )
    certain.save(path)
    newer = (*DEVIATIONS, 'stability')
    old = {name: array for name, array in read_npz(path, 'predictions', 3).items() if name not in newer}
    write_npz(path, 'predictions', 1, old)
    found = Predictions.load(path)
    assert (found.average_std[:, 2] == 2).all()
    assert np.isnan(found.eigenvalues_std).all()
    assert np.isnan(found.stability).all()
    assert found.phonons is None


def test_version_2_is_read(table, tmp_path):
    path = tmp_path / 'out.npz'
    table.save(path)
    old = {name: array for name, array in read_npz(path, 'predictions', 3).items() if name != 'stability'}
    write_npz(path, 'predictions', 2, old)
    tiny.same(Predictions.load(path), table, tolerance=0)


def test_phonons_belong_to_all_rows(table, tmp_path):
    assert table.phonon_cell(0) is None
    with pytest.raises(FormatError, match='phonons of 5 rows'):
        replace(table, phonons=GammaPhonons.empty(5))
    path = tmp_path / 'out.npz'
    replace(table, phonons=GammaPhonons.empty(6)).save(path)
    assert len(Predictions.load(path).take([1, 2]).phonons) == 2
    assert len(Predictions.join([table, Predictions.load(path)]).phonons) == 12


def test_every_flag_has_a_text():
    texts = [flag_words([name]) for name in FLAG_NAMES]
    assert len(set(texts)) == len(FLAG_NAMES)
    assert not set(texts) & set(FLAG_NAMES)
    assert flag_words(FLAG_NAMES[:2]) == ', '.join(texts[:2])
    assert flag_words(['later_version']) == 'later_version'

"""Picks and their file."""

from __future__ import annotations

import io

import numpy as np
import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import write_npz
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.picking import PickSettings, pick
from aiida_goectp.core.selection.picks import Picks

from .builders import FAILURE, crystal_set, predictions_for

COLUMNS = ('ids', 'hashes', 'reason', 'mean', 'std', 'score', 'place', 'pick')


@pytest.fixture
def picks():
    crystals = crystal_set(4, failures=[FAILURE])
    return pick(
        crystals, predictions_for(crystals, ionic=[1, 4, 2, 3]), KnownCrystals.empty(), PickSettings(batch_size=2)
    )


def test_round_trip(picks, tmp_path):
    picks.save(tmp_path / 'picks.npz')
    again = Picks.load(tmp_path / 'picks.npz')
    for name in COLUMNS:
        assert np.array_equal(getattr(again, name), getattr(picks, name), equal_nan=name in ('mean', 'std', 'score'))
    assert (again.figure_of_merit, again.settings) == ('total', picks.settings)
    assert again.rows.tolist() == [1, 3]
    streams = [io.BytesIO(), io.BytesIO()]
    for table, stream in zip((picks, again), streams, strict=True):
        table.save(stream)
    assert streams[0].getvalue() == streams[1].getvalue()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'pick': np.array([1, 1, 0, 0, 0])}, 'pick must be 1 to 2'),
        ({'place': np.array([1, 3, 0, 0, 0])}, 'place must be 1 to 2'),
        ({'pick': np.array([-1, 0, 0, 0, 0])}, 'pick must be 1 to 1'),
        ({'pick': np.array([0, 0, 0, 0, 1])}, r'row 4 \(broken\)'),
        ({'reason': np.array(['a', '', 'c', 'd', 'e'])}, 'row 1'),
        ({'score': np.zeros(3)}, "'score'"),
        ({'settings': np.array('{')}, 'settings'),
        ({'mean': None}, "'mean'"),
        ({'extra': np.zeros(2)}, 'extra'),
    ],
)
def test_invalid_files_are_refused(picks, change, message, tmp_path):
    path = tmp_path / 'picks.npz'
    picks.save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name not in ('format', 'version')}
    changed = {name: array for name, array in (arrays | change).items() if array is not None}
    write_npz(path, 'picks', 1, changed)
    with pytest.raises(FormatError, match=message) as caught:
        Picks.load(path)
    assert str(path) in str(caught.value)


def test_version_1_is_read(picks, tmp_path):
    arrays = {name: getattr(picks, name) for name in COLUMNS}
    arrays.update(figure_of_merit=np.array('total'), settings=np.array('{}'))
    write_npz(tmp_path / 'old.npz', 'picks', 1, arrays)
    old = Picks.load(tmp_path / 'old.npz')
    assert old.rows.tolist() == [1, 3]
    assert np.isnan(old.stability).all()

"""Files that older versions of the package wrote, as fixtures: read with the defaults of later columns, or refused.

``tests/data/make_old_versions.py`` wrote them with those versions.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.executable.partial import PREDICTION, PartialFile, identity
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.ranking import Ranking
from aiida_goectp.core.selection.reasons import ReasonCode, parse_reasons

FILES = Path(__file__).parents[2] / 'data' / 'old_versions'
TENSORS = np.arange(2, 4)[:, None, None] * np.eye(3)


def names(pattern):
    return sorted(path.name for path in FILES.glob(pattern))


@pytest.fixture
def crystals() -> CrystalSet:
    return Dataset.load(FILES / 'v1.dataset.npz').crystals


def test_there_are_files_of_each_older_version():
    assert names('*.dataset.npz') == [f'v{version}.dataset.npz' for version in range(1, Dataset.VERSION)]
    assert names('*.ranking.npz') == [f'v{version}.ranking.npz' for version in range(1, Ranking.VERSION)]
    assert names('*.picks.npz') == [f'v{version}.picks.npz' for version in range(1, Picks.VERSION)]
    responses = range(1, DielectricResponse.VERSION)
    assert names('*.dielectric.npz') == [f'v{version}.dielectric.npz' for version in responses]
    assert names('*.predictions.npz') == [f'v{version}.predictions.npz' for version in range(1, Predictions.VERSION)]


@pytest.mark.parametrize('name', names('*.predictions.npz'))
def test_predictions(name):
    table = Predictions.load(FILES / name)
    assert table.ids.tolist() == ['a', 'b']
    np.testing.assert_array_equal(table.electronic, TENSORS)
    np.testing.assert_array_equal(table.total, 1.5 * TENSORS)
    assert np.isnan(table.average_std).all()
    assert np.isnan(table.stability).all()
    assert table.phonons is None
    assert not table.failed.any()


@pytest.mark.parametrize('name', names('*.ranking.npz'))
def test_ranking(name, crystals):
    table = Ranking.load(FILES / name)
    assert dict(zip(table.ids.tolist(), table.rank.tolist(), strict=True)) == {'a': 2, 'b': 1}
    np.testing.assert_allclose(table.score, [3, 4.5])
    np.testing.assert_array_equal(table.joined_to, -1)
    assert np.isnan(table.stability).all()
    assert table.hashes.tolist() == crystals.hashes.tolist()


@pytest.mark.parametrize('name', names('*.dataset.npz'))
def test_dataset(name, crystals):
    table = Dataset.load(FILES / name)
    np.testing.assert_array_equal(table.electronic, TENSORS)
    np.testing.assert_array_equal(table.ionic, TENSORS / 2)
    assert table.force_constants is None
    assert table.functional.tolist() == ['unknown'] * 2
    assert np.isnan(table.born_charges).all()
    assert table.crystals.hashes.tolist() == crystals.hashes.tolist()


@pytest.mark.parametrize('name', names('*.picks.npz'))
def test_picks(name, crystals):
    table = Picks.load(FILES / name)
    assert table.hashes.tolist() == crystals.hashes.tolist()
    assert (table.rows.tolist(), table.candidates, table.best(1.0)) == ([1], 2, 4.5)
    assert parse_reasons(table.reason[1])[0].code is ReasonCode.PICKED
    assert np.isnan(table.stability).all()


@pytest.mark.parametrize('name', names('*.dielectric.npz'))
def test_response(name, crystals):
    response = DielectricResponse.load(FILES / name)
    np.testing.assert_array_equal(response.total, 3 * np.eye(3))
    np.testing.assert_array_equal(response.born_charges, [2 * np.eye(3), -2 * np.eye(3)])
    assert response.frequencies.tolist() == [0, 0, 0, 9, 9, 9]
    assert (response.functional, response.force_constants) == ('PBE', None)
    assert CrystalSet.from_crystals([response.crystal]).hashes[0] == crystals.hashes[0]


@pytest.mark.parametrize('name', names('*.partial'))
def test_a_partial_file_is_set_aside(name, crystals, tmp_path):
    """No row of an older partial file is taken over, even if it belongs to the same run."""
    path = tmp_path / 'predictions.npz.partial'
    shutil.copy(FILES / name, path)
    content = path.read_bytes()
    header = json.loads(content.splitlines()[0])
    partial = PartialFile(path, PREDICTION, identity(crystals, header['model'], header['precision'], phonons=False))
    partial.close()
    assert partial.batches == []
    assert f'version {header["version"]}' in partial.why_moved
    assert partial.moved_aside.read_bytes() == content

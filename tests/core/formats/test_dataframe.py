"""Data frames: columns, order and values of each table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.names import renamed_properties
from aiida_goectp.core.selection import Filters, rank
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.picking import PickSettings, pick


def test_crystals(crystal_set):
    frame = crystal_set.to_dataframe()
    assert list(frame.columns) == ['formula', 'atoms', 'volume', 'band_gap', 'e_above_hull']
    assert (frame.index.name, frame.index.tolist()) == ('id', crystal_set.ids.tolist())
    assert frame.loc['SrTiO3', ['formula', 'atoms', 'band_gap']].tolist() == ['O3SrTi', 5, 3.25]
    assert frame.loc['MgO', 'volume'] == pytest.approx(4.212**3 / 4)
    assert CrystalSet.from_crystals([]).to_dataframe().shape == (0, 3)


def test_property_with_the_name_of_a_column(crystal_set):
    frame = replace(crystal_set, properties={'volume': np.arange(6), 'id': np.arange(6)}).to_dataframe()
    assert frame['property_volume'].tolist() == frame['property_id'].tolist() == list(range(6))
    assert frame['volume'].iloc[0] > 6


def test_renamed_properties_keep_order_and_stay_distinct():
    properties = {'id': 1, 'gap': 2, 'property_id': 3, 'property_property_id': 4}
    renamed = {'property_property_property_id': 1, 'gap': 2, 'property_id': 3, 'property_property_id': 4}
    assert list(renamed_properties(properties, {'id', 'hash'}).items()) == list(renamed.items())


def test_predictions(crystal_set, predict_by_hand):
    table = replace(predict_by_hand(crystal_set, failed=[1]), flags=np.array([0, 0, 17, 0, 0, 0], np.uint32))
    frame = table.to_dataframe(crystal_set)
    assert frame.loc['Si', ['formula', 'electronic', 'ionic', 'total', 'band_gap']].tolist() == ['Si2', 2, 1, 3, 1.12]
    assert frame.loc['GaAs', 'flags'] == 'unseen_element unstable'
    assert frame.loc['MgO', 'error'] == 'made to fail'
    assert np.isnan(frame.loc['MgO', 'total'])
    assert {'total_std', 'anisotropy', 'anisotropy_std', 'stability'} <= {*frame.columns}
    assert 'formula' not in table.to_dataframe().columns
    with pytest.raises(FormatError, match='6 crystals'):
        table.to_dataframe(crystal_set.take([1, 0, 2, 3, 4, 5]))


def test_components_are_those_of_the_tensor(crystal_set, predict_by_hand):
    tensor = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    table = replace(predict_by_hand(crystal_set), electronic=np.tile(tensor, (6, 1, 1)))
    row = table.to_dataframe(components=True).loc['AlN']
    assert [row[f'electronic_{axes}'] for axes in ('xx', 'yy', 'zz', 'yz', 'xz', 'xy')] == [1, 2, 3, 4, 5, 6]


def test_ranking_is_ordered_by_rank(crystal_set, predict_by_hand):
    ranking = rank(crystal_set, predict_by_hand(crystal_set), 'gap_total', Filters(min_gap=1.2))
    frame = ranking.to_dataframe(crystal_set)
    assert frame['rank'].iloc[:5].tolist() == [1, 2, 3, 4, 5]
    assert frame['score'].iloc[:5].is_monotonic_decreasing
    assert frame['rank'].iloc[5:].isna().all()
    assert frame.loc['Si', 'reason'] == 'band_gap < 1.2'
    assert frame.index[-1] == 'broken.cif'
    assert frame['formula'].isna().tolist() == [False] * 6 + [True]
    assert len(ranking.to_dataframe()) == 7


def test_picks_come_first(crystal_set, predict_by_hand):
    predictions = predict_by_hand(crystal_set)
    picks = pick(crystal_set, predictions, KnownCrystals.empty(), PickSettings(batch_size=2))
    frame = picks.to_dataframe(crystal_set)
    assert frame['pick'].iloc[:2].tolist() == [1, 2]
    assert frame.index[:2].tolist() == picks.ids[picks.rows].tolist()
    assert frame['pick'].iloc[2:].isna().all()
    assert frame['place'].iloc[:6].tolist() == [1, 2, 3, 4, 5, 6]


def test_dataset(crystal_set):
    labels = np.full((6, 3, 3), np.nan)
    labels[:5] = np.eye(3) * 4
    data = Dataset(crystal_set, labels, labels * 2).with_split('first', 'random', 0)
    frame = data.to_dataframe(components=True)
    assert frame.loc['Si', ['electronic', 'ionic', 'total', 'total_zz']].tolist() == [4, 8, 12, 12]
    assert frame['trainable'].tolist() == [True] * 5 + [False]
    assert frame['split_first'].tolist() == data.splits['first'].tolist()
    assert np.isnan(frame.loc['AlN', 'total'])

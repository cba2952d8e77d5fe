"""The node of picks."""

import pytest
from aiida.orm import load_node
from aiida.plugins import DataFactory

from aiida_goectp.core.selection import KnownCrystals, PickSettings, pick
from aiida_goectp.data.picks import PicksData


@pytest.mark.usefixtures('aiida_profile')
def test_round_trip(crystal_set, predict_by_hand):
    settings = PickSettings.model_validate({'batch_size': 2, 'filters': {'min_gap': 1.2}})
    picks = pick(crystal_set, predict_by_hand(crystal_set), KnownCrystals.empty(), settings, round_number=3)
    node = load_node(PicksData(picks).store().pk)
    assert isinstance(node, DataFactory('goectp.picks'))
    assert list(node.picks.reason) == list(picks.reason)
    assert list(node.picks.rows) == list(picks.rows)
    attributes = node.base.attributes.all
    assert (len(node), attributes['picked'], attributes['candidates']) == (7, 2, 5)
    assert attributes['settings']['round'] == 3
    assert attributes['settings']['model'] == 'a' * 40

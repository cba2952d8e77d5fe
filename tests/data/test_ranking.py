"""The ranking node."""

import pytest
from aiida.orm import load_node

from aiida_goectp.core.selection import Filters, rank
from aiida_goectp.data.ranking import RankingData


@pytest.mark.usefixtures('aiida_profile')
def test_round_trip(crystal_set, predict_by_hand):
    ranking = rank(crystal_set, predict_by_hand(crystal_set), 'gap_total', Filters(min_gap=1.2))
    node = load_node(RankingData(ranking).store().pk)
    assert list(node.ranking.rank) == list(ranking.rank)
    assert list(node.ranking.reason) == list(ranking.reason)
    assert node.base.attributes.get('figure_of_merit') == 'gap_total'
    assert node.base.attributes.get('ranked') == 5
    assert len(node) == 7

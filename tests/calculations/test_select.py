"""Selection of the best crystals and their structures."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.calculations.rank import rank_crystals
from aiida_goectp.calculations.select import select_top, take_first
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def ranking(crystals, predict_by_hand):
    return rank_crystals(crystals, PredictionsData(predict_by_hand(crystals.crystals, failed=[4])), orm.Str('total'))


def test_best_crystals_in_the_order_of_their_ranks(ranking, crystals):
    results = select_top(ranking, crystals, orm.Int(3))
    selection = results['selection'].get_list()
    assert [item['id'] for item in selection] == ['AlN', 'SrTiO3', 'GaAs']
    assert [item['rank'] for item in selection] == [1, 2, 3]
    assert [item['row'] for item in selection] == [5, 3, 2]
    names = sorted(results['structures'])
    assert names == [item['structure'] for item in selection] == ['rank_00001', 'rank_00002', 'rank_00003']
    assert [results['structures'][name].get_formula() for name in names] == ['Al2N2', 'O3SrTi', 'AsGa']
    assert all(results['structures'][name].creator == results['selection'].creator for name in names)


def test_standard_deviations_and_flags_are_part_of_the_selection(crystals, predict_by_hand):
    table = predict_by_hand(crystals.crystals)
    stated = np.arange(18.0).reshape(6, 3)
    table = replace(table, average_std=stated, flags=np.array([4, 0, 0, 0, 0, 6], np.uint32))
    ranking = rank_crystals(crystals, PredictionsData(table), orm.Str('total'))
    first, second = select_top(ranking, crystals, orm.Int(2))['selection'].get_list()
    assert [first[f'{name}_std'] for name in ('electronic', 'ionic', 'total')] == stated[5].tolist()
    assert first['flags'] == ['symmetry_unknown', 'unlike_training']
    assert second['flags'] == []


def test_fewer_ranked_crystals_than_requested(ranking, crystals):
    assert len(select_top(ranking, crystals, orm.Int(50))['selection'].get_list()) == 5


def test_invalid_numbers_and_rankings_are_refused(ranking, crystals, crystal_set):
    with pytest.raises(ValueError, match='0'):
        select_top(ranking, crystals, orm.Int(0))
    with pytest.raises(ValueError, match='ranking'):
        select_top(ranking, CrystalsData(crystal_set.take([1, 0, 2, 3, 4, 5])), orm.Int(1))


def test_first_items_of_a_selection(ranking, crystals):
    selection = select_top(ranking, crystals, orm.Int(3))['selection']
    assert take_first(selection, orm.Int(2)).get_list() == selection.get_list()[:2]
    with pytest.raises(ValueError, match='0'):
        take_first(selection, orm.Int(0))

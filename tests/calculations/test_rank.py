"""Calcfunctions that filter crystals, merge their predictions and rank them."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.calculations.rank import filter_crystals, merge_predictions, rank_crystals
from aiida_goectp.calculations.select import select_top
from aiida_goectp.cli.views.rankings import ranking_table
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.equivalent import make_supercell
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData

pytestmark = pytest.mark.usefixtures('aiida_profile')


def test_filters_keep_the_order_and_drop_failures(crystals):
    node = filter_crystals(crystals, orm.Dict({'min_gap': 2, 'elements_none': ['N']}))
    assert list(node.crystals.ids) == ['MgO', 'SrTiO3', 'TiO2']
    assert node.crystals.failures == ()
    assert node.creator.inputs.crystals.uuid == crystals.uuid


def test_each_row_has_a_rank_or_a_reason(crystals, predict_by_hand):
    predictions = PredictionsData(predict_by_hand(crystals.crystals, failed=[3]))
    node = rank_crystals(crystals, predictions, orm.Str('gap_total'), orm.Dict({'min_gap': 1.2}))
    ranking = node.ranking
    assert list(ranking.ids) == [*crystals.crystals.ids, 'broken.cif']
    # tensors 1.5 · (i + 2), gaps 1.12 7.8 1.42 3.25 3 6: AlN 63, MgO 35.1, TiO2 27, GaAs 8.52
    assert list(ranking.rank) == [0, 2, 4, 0, 3, 1, 0]
    assert ranking.reason[0] == 'band_gap < 1.2'
    assert ranking.reason[3] == 'prediction failed: made to fail'
    assert 'unreadable_file' in ranking.reason[6]
    assert ranking.score[5] == pytest.approx(6.0 * 7 * 1.5)
    assert node.base.attributes.get('ranked') == 4
    assert node.base.attributes.get('settings')['filters'] == {'min_gap': 1.2}


def test_excluded_crystals_need_no_prediction(crystals, predict_by_hand):
    filters = orm.Dict({'min_gap': 2})
    few = filter_crystals(crystals, filters)
    predictions = PredictionsData(predict_by_hand(few.crystals))
    ranking = rank_crystals(crystals, predictions, orm.Str('total'), filters).ranking
    assert list(ranking.rank) == [0, 4, 0, 3, 2, 1, 0]
    assert list(ranking.reason[[0, 2]]) == ['band_gap < 2', 'band_gap < 2']
    assert np.isnan(ranking.total[0])
    with pytest.raises(ValueError, match=r'2 crystals .* first Si'):
        rank_crystals(crystals, predictions, orm.Str('total'))


def test_deviations_stay_with_their_rows_when_fewer_crystals_were_predicted(crystals, predict_by_hand):
    few = filter_crystals(crystals, orm.Dict({'min_gap': 2}))
    predicted = replace(predict_by_hand(few.crystals), average_std=np.full((4, 3), 1.0))
    ranking = rank_crystals(
        crystals, PredictionsData(predicted), orm.Str('cautious_gap_total'), orm.Dict({'min_gap': 2})
    ).ranking
    assert ranking.score[1] == pytest.approx(7.8 * (1.5 * 2 - 1.0))


def test_predictions_of_other_crystals_are_refused(crystals, crystal_set, predict_by_hand):
    other = PredictionsData(predict_by_hand(crystal_set.take([1, 0, 2, 3, 4, 5])))
    with pytest.raises(ValueError, match=r'row 0: .* Si'):
        rank_crystals(crystals, other)
    fewer = CrystalsData(crystal_set.take([0, 1, 2]))
    with pytest.raises(ValueError, match='row 3: SrTiO3'):
        rank_crystals(fewer, PredictionsData(predict_by_hand(crystal_set.take([0, 1, 2, 3]))))


def test_invalid_settings_are_refused(crystals, predict_by_hand):
    predictions = PredictionsData(predict_by_hand(crystals.crystals))
    with pytest.raises(ValueError, match='beauty'):
        rank_crystals(crystals, predictions, orm.Str('beauty'))
    with pytest.raises(ValueError, match='min_gpa'):
        rank_crystals(crystals, predictions, orm.Str('total'), orm.Dict({'min_gpa': 1}))
    with pytest.raises(ValueError, match='band_gap, e_above_hull'):
        filter_crystals(crystals, orm.Dict({'ranges': {'price': [0, 1]}}))


def test_equal_crystals_are_ranked_once(crystal_set, predict_by_hand):
    rng = np.random.default_rng(0)
    again = [make_supercell(crystal_set[row], rng)._replace(id=f'{crystal_set.ids[row]}-2') for row in (0, 1)]
    table = CrystalSet.from_crystals([*crystal_set, *again])
    crystals, predictions = CrystalsData(table), PredictionsData(predict_by_hand(table))
    node = rank_crystals(crystals, predictions)
    assert node.base.attributes.get('ranked') == 6
    assert list(node.ranking.reason[:2]) == ['equal crystal: ranked as Si-2', 'equal crystal: ranked as MgO-2']
    first, second = select_top(node, crystals, orm.Int(2))['selection'].get_list()
    assert (first['id'], first['joined'], second['joined']) == ('MgO-2', ['MgO'], ['Si'])
    with node.open_rows() as file:
        table = ranking_table(file, 5)
    assert [str(cell) for cell in table.columns[2].cells][:3] == ['equals MgO', 'equals Si', '']
    kept = rank_crystals(crystals, predictions, keep_duplicates=orm.Bool(True))
    assert kept.base.attributes.get('ranked') == 8


def test_threshold_of_stability_with_filters(crystals, crystal_set, predict_by_hand):
    """Rows that were left out before the prediction have no probability, and need none."""
    passing = crystal_set.take([1, 3, 5], keep_failures=False)
    predictions = PredictionsData(replace(predict_by_hand(passing), stability=np.array([0.9, 0.2, 0.6])))
    filters = orm.Dict({'min_gap': 3.2})
    node = rank_crystals(
        crystals, predictions, orm.Str('total'), filters, orm.Bool(False), min_stability=orm.Float(0.5)
    )
    assert [str(node.ranking.ids[row]) for row in node.ranking.top()] == ['AlN', 'MgO']
    assert node.ranking.reason[3] == 'probability of stability < 0.5: 0.2'
    assert node.base.attributes.get('settings')['min_stability'] == 0.5
    (first, *_) = select_top(node, crystals, orm.Int(2))['selection'].get_list()
    assert first['stability'] == 0.6
    with pytest.raises(ValueError, match=r'min_stability: .*force_constants'):
        rank_crystals(crystals, PredictionsData(predict_by_hand(crystal_set)), min_stability=orm.Float(0.5))


def test_all_predictions_failed(crystals, predict_by_hand):
    node = rank_crystals(crystals, PredictionsData(predict_by_hand(crystals.crystals, failed=range(6))))
    assert node.base.attributes.get('ranked') == 0
    assert set(node.ranking.reason[:6]) == {'prediction failed: made to fail'}


@pytest.fixture
def shard(crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set, failed=[4])

    def cut(start, stop, model_hash='a' * 40):
        return PredictionsData(replace(whole.take(slice(start, stop)), model_hash=model_hash))

    return cut


def test_shards_are_merged_in_any_order(crystals, shard):
    parts = {'b': shard(0, 2), 'a': shard(2, 5), 'c': shard(5, 6)}
    merged = merge_predictions(crystals, **parts)
    assert list(merged.predictions.ids) == list(crystals.crystals.ids)
    np.testing.assert_array_equal(merged.predictions.electronic, shard(0, 6).predictions.electronic)
    assert list(merged.predictions.failed) == [False] * 4 + [True, False]
    incoming = merged.creator.base.links.get_incoming().all_link_labels()
    assert sorted(incoming) == ['a', 'b', 'c', 'crystals']


@pytest.mark.parametrize(
    ('cuts', 'message'),
    [
        ([(0, 2), (3, 6)], '1 of 6 .* GaAs'),
        ([(0, 4), (3, 6)], 'SrTiO3'),
        ([(0, 3), (3, 6, 'b' * 40)], 'different models'),
        ([], 'no predictions'),
    ],
)
def test_incomplete_shards_are_refused(crystals, shard, cuts, message):
    with pytest.raises(ValueError, match=message):
        merge_predictions(crystals, **{f'part_{index}': shard(*cut) for index, cut in enumerate(cuts)})

"""Picks of a round, their selection and structures, and the record of the round."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.calculations.campaign import (
    begin_history,
    collect_labels,
    rank_verified,
    read_history,
    record_round,
    write_history,
)
from aiida_goectp.calculations.picks import pick_batch
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData

PICKING = {'batch_size': 2, 'figure_of_merit': 'gap_total'}


@pytest.fixture
def pick(crystals, crystal_set, predict_by_hand):
    """Return a function that picks from the textbook crystals; GaAs is known."""
    known = DatasetData(Dataset(crystal_set.take([2]), 10 * np.eye(3)[None], np.zeros((1, 3, 3))))

    def run(history=None, stability=None, **rules):
        history = begin_history(orm.Dict(PICKING)) if history is None else history
        table = predict_by_hand(crystal_set)
        predictions = PredictionsData(table if stability is None else replace(table, stability=np.array(stability)))
        return pick_batch(
            crystals, predictions, known, history, orm.Dict(PICKING), orm.Dict(rules), orm.Int(0)
        ), known  # fmt: skip

    return run


def test_picks_selection_and_structures(pick, crystal_set):
    found, _ = pick()
    picks, selection = found['picks'].picks, found['selection'].get_list()
    assert [item['id'] for item in selection] == picks.ids[picks.rows].tolist() == ['AlN', 'MgO']
    assert picks.reason[2] == 'verified'
    assert [item['structure'] for item in selection] == sorted(found['structures'])
    for item in selection:
        assert crystal_set.hashes[item['row']] == item['hash']
        crystal = crystal_from_structure('x', found['structures'][item['structure']])
        np.testing.assert_allclose(crystal.lattice, crystal_set[item['row']].lattice, atol=1e-12)
    assert selection[0]['total'] == pytest.approx(10.5)
    assert selection[0]['total_std'] is None


def test_probability_of_stability_is_stored_with_the_picks(pick):
    found, _ = pick(stability=[1.0, 1.0, 1.0, 0.9, np.nan, 0.1])  # AlN had the highest score
    picks, selection = found['picks'].picks, found['selection'].get_list()
    assert [item['id'] for item in selection] == ['MgO', 'TiO2']
    assert [item.get('stability') for item in selection] == [1.0, None]
    assert picks.stability[5] == 0.1
    assert found['picks'].base.attributes.get('settings')['acquisition']['weigh_stability'] is True


def test_budget_limits_the_batch(pick):
    assert len(pick(max_calculations=1)[0]['selection'].get_list()) == 1
    assert sorted(pick(max_calculations=0)[0]) == ['picks']


def test_responses_become_labels_and_a_round_of_the_history(pick, crystals, crystal_set):
    found, known = pick()
    first, _ = found['selection'].get_list()
    response = DielectricResponse(
        crystal_set[first['row']], electronic=4 * np.eye(3), ionic=6 * np.eye(3), band_gap=1.0, functional='PBE'
    )
    quality = orm.Dict({'label': 'accepted', 'reason': '', 'gates': []})
    responses = {'pick_00001': DielectricData(response)}
    labels = collect_labels(crystals, found['selection'], responses=responses, qualities={'pick_00001': quality})
    assert labels.dataset.crystals.ids.tolist() == ['AlN']
    assert labels.dataset.crystals.properties['band_gap'].tolist() == [6.0]  # that of the pool
    assert labels.dataset.origin.tolist() == [f'dielectric {responses["pick_00001"].content_hash}']
    links = labels.creator.base.links.get_incoming().all_link_labels()
    assert sorted(links) == ['pool', 'qualities__pick_00001', 'responses__pick_00001', 'selection']
    with pytest.raises(ValueError, match='pick_00001'):
        collect_labels(crystals, found['selection'], responses=responses)
    with pytest.raises(ValueError, match='pick_00009'):
        collect_labels(
            crystals,
            found['selection'],
            responses={'pick_00009': responses['pick_00001']},
            qualities={'pick_00009': quality},
        )

    rows = [
        {'structure': 'pick_00001', 'label': 'accepted', 'reason': '', 'core_hours': 2.0, 'pk': 7, 'state': 'computed'},
        {'structure': 'pick_00002', 'label': 'not run', 'reason': 'the budget is spent', 'core_hours': 0.0, 'pk': None},
    ]

    def recorded(rows):
        history = record_round(
            begin_history(orm.Dict(PICKING)),
            found['picks'],
            found['selection'],
            orm.Dict({'rows': rows}),
            crystals,
            known,
            orm.Dict({}),
            orm.Dict({'core_hours': 0.5}),
            labels,
        )
        return read_history(history)

    def calculations(change):
        return recorded([rows[0] | {'core_hours': 0.0} | change, rows[1]]).calculations

    done = recorded(rows)
    (one,) = done.rounds
    assert [(item.id, item.outcome, item.value) for item in one.picks] == [
        ('AlN', 'accepted', 60.0),
        ('MgO', 'unfinished', None),
    ]
    assert (done.calculations, done.core_hours) == (1, 2.5)
    assert calculations({'pk': 7, 'state': 'reused'}) == 0
    assert calculations({'pk': 7, 'state': 'duplicate'}) == 0
    assert calculations({'pk': 7, 'state': 'failed', 'label': 'failed'}) == 1
    assert calculations({'pk': None, 'state': 'failed', 'label': 'failed', 'reason': 'not submitted'}) == 0
    # an unfinished pick may be picked again, a verified one not
    again, _ = pick(write_history(done))
    assert [item['id'] for item in again['selection'].get_list()] == ['MgO', 'TiO2']
    assert again['picks'].picks.settings['round'] == 2


def test_label_of_the_functional_that_the_model_predicts(crystals, crystal_set, predict_by_hand, write_model):
    """GaAs has labels of two functionals."""
    both = CrystalSet.from_crystals([crystal_set[2]._replace(id=name) for name in ('first', 'second')])
    tensors = np.array([10.0, 20.0])[:, None, None] * np.eye(3)
    known = DatasetData(Dataset(both, tensors, tensors, functional=np.array(['PBE', 'PBEsol'])))
    predictions, history = PredictionsData(predict_by_hand(crystal_set)), begin_history(orm.Dict({}))
    scores = []
    for names in ([], ['PBE', 'PBEsol'], ['PBEsol', 'PBE']):
        model = ModelData(write_model('x', architecture={'functionals': names})) if names else None
        ranked = rank_verified(crystals, predictions, known, history, orm.Dict({}), model=model)
        scores.append(ranked.ranking.score[2])
        arguments = (crystals, predictions, known, history, orm.Dict({}), orm.Dict({}), orm.Int(0))
        assert pick_batch(*arguments, model=model)['picks'].picks.reason[2] == 'verified'
    assert scores == [20.0, 20.0, 40.0]

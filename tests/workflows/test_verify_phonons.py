"""Predicted and computed frequencies at Γ in a verification: which model predicts them, and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.calculations.inprocess import predict_crystals
from aiida_goectp.calculations.rank import merge_predictions, rank_crystals
from aiida_goectp.calculations.select import select_top
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.frequencies import OTHER_CELL
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.gamma_phonons import model_of
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests import tiny
from tests.conftest import textbook
from tests.core.dielectric.springs import spring_phonons
from tests.workflows.campaign.campaign import DIAGONALS, answer
from tests.workflows.dfpt.table_engine import NAME


@pytest.fixture(scope='module')
def force_constants(tmp_path_factory):
    """Return a calibrated model with force constants and random weights."""
    tiny.one_thread()
    path = tmp_path_factory.mktemp('models') / 'lattice.safetensors'
    return tiny.write_model(path, preset='force_constants', uncertainty={'lowest_eigenvalue': [1.0, 2.0]})


@pytest.fixture(scope='module')
def two(empty_profile):
    """Return MgO and TiO2 as a stored node."""
    return CrystalsData(textbook().take([1, 4])).store()


@pytest.fixture(scope='module')
def predictions(two, force_constants):
    """Return the predictions of the model for both crystals, without phonons."""
    return predict_crystals(two, ModelData.get_or_create(force_constants), orm.Str('cpu'))


@pytest.fixture(scope='module')
def with_phonons(two, force_constants):
    """Return the predictions of the model for both crystals, with phonons."""
    return predict_crystals(two, ModelData.get_or_create(force_constants), orm.Str('cpu'), orm.Bool(True))


@pytest.fixture
def verify(aiida_profile):
    """Return a function that verifies crystals by their predictions, with frequencies from 5 THz on."""

    def run(crystals, predictions, **changes):
        ranking = rank_crystals(crystals, predictions, filters=orm.Dict({'unseen_elements': True}))
        chosen = select_top(ranking, crystals, orm.Int(6))
        table = {}
        for row, crystal in enumerate(crystals.crystals):
            n = len(crystal.atomic_numbers)
            modes = {'frequencies': [0.0] * 3 + [5.0 + mode for mode in range(3 * n - 3)]}
            table[str(crystals.crystals.hashes[row])] = answer(DIAGONALS[crystal.id], n) | modes | changes
        inputs = {'selection': chosen['selection'], 'structures': chosen['structures'], 'predictions': predictions}
        return run_get_node(
            VerifyWorkChain, **inputs, engine=NAME, dfpt={'table': orm.Dict(table)}, reuse=orm.Bool(False)
        )

    return run


def calls(node, process):
    return [child for child in node.called if child.process_label == process]


def rows_of(results):
    return {row['id']: row for row in results['comparison']['rows']}


def test_phonons_are_predicted_in_this_process(verify, two, force_constants, predictions, with_phonons):
    model = ModelData.get_or_create(force_constants)
    # as a screen in shards has them
    merged = merge_predictions(crystals=two, shard_00000=predictions)
    results, node = verify(two, merged)
    assert node.is_finished_ok, node.exit_message
    (call,) = calls(node, 'predict_nodes')
    assert call.inputs.model.uuid == model.uuid
    assert call.inputs.phonons.value is True
    assert call.caller.uuid == node.uuid
    comparing = results['comparison'].creator
    assert comparing.inputs.phonons.creator.uuid == call.uuid

    again = with_phonons.predictions
    rows = rows_of(results)
    assert sorted(rows) == ['MgO', 'TiO2']
    for place, name in enumerate(again.ids.tolist()):
        row, modes = rows[name], again.phonons.frequencies[again.phonons.row_modes(place)]
        n = len(modes) // 3 + 1
        np.testing.assert_allclose(row['phonons']['predicted'], modes, atol=1e-3)
        assert row['phonons']['dfpt'] == [5.0 + mode for mode in range(3 * n - 3)]
        expected = np.abs(np.array(row['phonons']['predicted']) - row['phonons']['dfpt']).mean()
        assert row['phonons']['mean_absolute_error'] == pytest.approx(expected)
        assert row['phonons']['atoms'] == {'predicted': n, 'dfpt': n}
        assert row['stability'] == pytest.approx(again.stability[place])
        assert 0 < row['stability'] < 1


def test_phonons_of_the_predictions_are_used(verify, two, with_phonons):
    results, node = verify(two, with_phonons)
    assert node.is_finished_ok, node.exit_message
    assert calls(node, 'predict_nodes') == []
    assert all(len(row['phonons']['predicted']) == len(row['phonons']['dfpt']) for row in rows_of(results).values())
    assert len(rows_of(results)) == 2


def test_responses_without_frequencies_need_no_prediction(verify, two, predictions):
    results, node = verify(two, predictions, frequencies=None)
    assert node.is_finished_ok, node.exit_message
    assert calls(node, 'predict_nodes') == []
    for row in rows_of(results).values():
        assert 'phonons' not in row
        assert 'stability' in row


@pytest.mark.slow
def test_tables_without_a_model(verify, crystal_set, predict_by_hand):
    """Predictions without provenance: their phonons are compared, in cells of another size without an error."""
    three = crystal_set.take([1, 2, 5])  # MgO, GaAs, AlN
    crystals = CrystalsData(three).store()
    wurtzite = three[2]  # pretend that a smaller cell exists
    smaller = wurtzite._replace(
        atomic_numbers=wurtzite.atomic_numbers[[0, 2]], fractional_positions=wurtzite.fractional_positions[[0, 2]]
    )
    phonons = spring_phonons(CrystalSet.from_crystals([three[0], three[1], smaller]), [None, -1.0, 3.0])
    phonons = replace(
        phonons, given_counts=np.array([0, 2, 4], np.int32), primitive_atom=np.array([0, 1, 0, 0, 1, 1], np.int32)
    )
    table = replace(predict_by_hand(three), phonons=phonons, stability=np.array([np.nan, 0.1, 0.9]))
    predictions = PredictionsData(table).store()
    assert model_of(predictions) is None
    results, node = verify(crystals, predictions)
    assert node.is_finished_ok, node.exit_message
    rows = rows_of(results)
    assert {'phonons', 'stability'} & set(rows['MgO']) == set()
    assert rows['GaAs']['stability'] == 0.1
    assert max(rows['GaAs']['phonons']['predicted']) < 0
    error = 6.0 - np.mean(rows['GaAs']['phonons']['predicted'])  # computed are 5, 6 and 7 THz
    assert rows['GaAs']['phonons']['mean_absolute_error'] == pytest.approx(error)
    assert rows['AlN']['phonons']['problem'] == OTHER_CELL
    assert rows['AlN']['phonons']['atoms'] == {'predicted': 2, 'dfpt': 4}
    assert rows['AlN']['phonons']['mean_absolute_error'] is None


@pytest.mark.slow
def test_a_model_that_cannot_be_read_leaves_the_phonons_out(verify, two, predictions, monkeypatch):
    def refuse(*arguments, **options):
        raise ValueError('no memory')

    monkeypatch.setattr('aiida_goectp.core.learning.predict.predict_crystals', refuse)
    results, node = verify(two, predictions)
    assert node.is_finished_ok, node.exit_message
    assert len(results['accepted']) == 2
    assert not any('phonons' in row for row in rows_of(results).values())


def test_model_of_predictions(two, predictions, force_constants, tmp_path):
    model = ModelData.get_or_create(force_constants)
    assert model_of(predictions).uuid == model.uuid
    assert model_of(merge_predictions(crystals=two, one=predictions)).uuid == model.uuid
    other = ModelData.get_or_create(tiny.write_model(tmp_path / 'other.safetensors', seed=3))
    of_other = predict_crystals(two, other, orm.Str('cpu'))
    assert model_of(of_other).uuid == other.uuid

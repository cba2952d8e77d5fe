"""From networks to a model file with calibrated uncertainty and metrics."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.predictions import flag_names
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import model_hash, read_card
from aiida_goectp.core.learning.calibrate import calibrate_committee, dataset_output
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.train import train_committee
from aiida_goectp.core.learning.uncertainty import deviations
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model, save_model
from tests import tiny
from tests.core.learning.lattice.builders import binary, labelled

SETTINGS = TrainSettings(
    epochs=6, members=2, options={'width': 16, 'layers': 2, 'bins': 32}, batch_size=8, learning_rate=5e-3
)


@pytest.fixture(scope='module')
def parts():
    return {
        'train': tiny.some_dataset(40),
        'validation': tiny.some_dataset(40, seed=1),
        'test': tiny.some_dataset(16, seed=2),
    }


@pytest.fixture(scope='module')
def model(parts, tmp_path_factory):
    networks = train_committee(parts['train'], None, SETTINGS)
    card = {'name': 'm', 'data': 'tiny', 'functional': 'PBEsol', 'parent': 'abc'}
    path = tmp_path_factory.mktemp('model') / 'm.safetensors'
    save_model(path, *calibrate_committee(networks, parts, SETTINGS, **card))
    return path


def test_the_card_records_training_metrics_and_uncertainty(model, parts):
    card = read_card(model)
    assert card.members == 2
    assert card.training['rows'] == {'train': 40, 'validation': 40, 'test': 16}
    assert card.training['parent'] == 'abc'
    assert TrainSettings.model_validate(card.training['settings']) == SETTINGS
    assert card.metrics['test']['electronic']['rows'] == 16
    # nine of ten of the calibration rows, up to one row
    assert card.metrics['validation']['coverage_90']['electronic']['average'] == pytest.approx(92.5, abs=2.6)
    assert set(card.uncertainty) == {'electronic', 'ionic', 'total', 'unlike_above'}


def test_predictions_have_the_calibrated_deviations(model, parts):
    found = predict_crystals(parts['test'].crystals, model, device='cpu')
    loaded = load_model(model)
    output = dataset_output(loaded, parts['test'], SETTINGS)
    assert np.isfinite(output.leverage).all()
    expected = deviations(output, loaded.card.uncertainty)
    np.testing.assert_allclose(found.average_std, expected.average, rtol=1e-4)
    np.testing.assert_allclose(found.eigenvalues_std, expected.eigenvalues, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.total_std, expected.tensors[:, 2], rtol=1e-3, atol=1e-5)


def test_crystals_unlike_the_training_set_are_flagged(model, parts):
    """At ten times their volume."""
    unlike = [crystal._replace(lattice=crystal.lattice * 2.2) for crystal in parts['train'].crystals.take(range(6))]
    found = predict_crystals(CrystalSet.from_crystals(unlike), model, device='cpu')
    assert all('unlike_training' in flag_names(flags) for flags in found.flags)
    like = predict_crystals(parts['train'].crystals, model, device='cpu')
    assert sum('unlike_training' in flag_names(flags) for flags in like.flags) <= 2


def test_the_hash_depends_on_the_uncertainty(model, tmp_path):
    loaded = load_model(model)
    again = tmp_path / 'again.safetensors'
    save_model(again, loaded.members, loaded.card.model_copy(update={'notes': 'other prose'}))
    assert model_hash(again) == model_hash(model)
    changed = loaded.card.model_copy(update={'uncertainty': {}})
    save_model(again, loaded.members, changed)
    assert model_hash(again) != model_hash(model)


def test_a_whitening_of_the_wrong_size_is_refused(model, tmp_path):
    loaded = load_model(model)
    loaded.members[0].whitening = loaded.members[0].whitening[:3]
    save_model(tmp_path / 'bad.safetensors', loaded.members, loaded.card)
    with pytest.raises(FormatError, match='whitening'):
        load_model(tmp_path / 'bad.safetensors')


def test_few_validation_rows_give_no_uncertainty(parts):
    networks = train_committee(parts['train'], None, SETTINGS.model_copy(update={'epochs': 1, 'members': 1}))
    few = {**parts, 'validation': parts['validation'].take(range(12))}
    _, card = calibrate_committee(networks, few, SETTINGS, name='m', data='tiny', functional='PBEsol')
    assert card.uncertainty == {}
    assert 'coverage_90' not in card.metrics['test']


def test_a_final_training_on_all_rows_inherits_the_calibration(model, parts):
    parent = load_model(model)
    arguments = {'name': 'last', 'data': 'tiny', 'functional': 'PBEsol', 'parent': parent.hash}
    _, card = calibrate_committee(
        list(parent.members), {'train': parts['train']}, SETTINGS, **arguments, inherited=parent
    )
    assert card.uncertainty == parent.card.uncertainty
    assert card.metrics == {f'{part} of the parent': parent.card.metrics[part] for part in ('validation', 'test')}
    # so does one with too few validation rows to calibrate on; they are evaluated
    few = {'train': parts['train'], 'validation': parts['validation'].take(range(8))}
    _, card = calibrate_committee(list(parent.members), few, SETTINGS, **arguments, inherited=parent)
    assert card.uncertainty == parent.card.uncertainty
    assert card.training['calibration_of_parent'] == ['electronic', 'ionic', 'total', 'unlike_above']
    assert set(card.metrics) == {'validation'}
    # also with more members than the parent has
    networks = [parent.members[0], parent.members[1], deepcopy(parent.members[0])]
    _, card = calibrate_committee(networks, few, SETTINGS, **arguments, inherited=parent)
    assert card.uncertainty == parent.card.uncertainty
    # a model without calibration has none to inherit
    parent.card.uncertainty = {}
    _, card = calibrate_committee(list(parent.members), few, SETTINGS, **arguments, inherited=parent)
    assert card.uncertainty == {}
    assert 'calibration_of_parent' not in card.training


@pytest.mark.parametrize('known', [True, False])
def test_the_stability_is_calibrated_where_rows_have_force_constants(known, tmp_path):
    networks = [load_model(tiny.write_lattice_model(tmp_path / f'{k}.safetensors', seed=k)).members[0] for k in (0, 1)]
    settings = TrainSettings(preset='force_constants', members=2, layer_augmentation_copies=0)
    sizes = np.linspace(4, 5, 64)
    data = labelled([binary(size) for size in sizes], 3 + sizes, sizes / 4)
    parts = {'train': data.take(range(32)), 'validation': data.take(range(32, 64))}
    if not known:
        parts['validation'] = replace(parts['validation'], force_constants=None)
    card = read_card(tmp_path / '0.safetensors')
    card.uncertainty = {'lowest_eigenvalue': [1.5, 0.5]}
    parent = LoadedModel(card, torch.nn.ModuleList(networks), '')
    arguments = {'name': 'm', 'data': '', 'functional': 'PBEsol', 'parent': 'abc'}
    for inherited in (None, parent):
        _, card = calibrate_committee(networks, parts, settings, **arguments, inherited=inherited)
        own = len(card.uncertainty['lowest_eigenvalue']) == 2 and card.uncertainty['lowest_eigenvalue'] != [1.5, 0.5]
        assert own == known
        if not known:
            assert card.uncertainty['lowest_eigenvalue'] == ([] if inherited is None else [1.5, 0.5])
        assert ('calibration_of_parent' in card.training) == (not known and inherited is not None)
        assert 'ionic' in card.uncertainty  # calibrated on these rows


@pytest.mark.parametrize('rows', [4, 9])
def test_the_training_rows_of_the_parent_count_for_the_whitening(model, parts, rows):
    """Over a few rows alone, nearly every crystal would have a large leverage."""
    parent = load_model(model)
    before = dataset_output(parent, parts['test'], SETTINGS)
    std = deviations(before, parent.card.uncertainty)
    few = {'train': parts['train'].take(range(rows))}
    networks, card = calibrate_committee(
        deepcopy(list(parent.members)), few, SETTINGS, name='m', data='', functional='PBEsol', inherited=parent
    )
    after = dataset_output(LoadedModel(card, torch.nn.ModuleList(networks), ''), parts['test'], SETTINGS)
    np.testing.assert_allclose(after.leverage, before.leverage, rtol=0.4)
    np.testing.assert_allclose(deviations(after, card.uncertainty).average, std.average, rtol=0.4)


def test_elements_of_the_initial_model_are_kept(parts):
    """Otherwise crystals with elements missing in a few new labels would be flagged as unseen."""
    few = parts['train'].take(range(2))
    networks = train_committee(few, None, SETTINGS.model_copy(update={'epochs': 1, 'members': 1}))
    arguments = {'name': 'm', 'data': 'tiny', 'functional': 'PBEsol'}
    own = calibrate_committee(networks, {'train': few}, SETTINGS, **arguments)[1].elements
    assert own == sorted(set(few.crystals.atomic_numbers.tolist()))
    _, card = calibrate_committee(networks, {'train': few}, SETTINGS, **arguments, known=[92, 94])
    assert card.elements == [*own, 92, 94]

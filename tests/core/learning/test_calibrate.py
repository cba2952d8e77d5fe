"""From networks to a model file: it knows how sure it is, and says so again after it was written and read."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from aiida_goectp.core.dielectric.predictions import flag_names
from aiida_goectp.core.formats.model_card import model_hash, read_card
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.learning.calibrate import calibrate_committee, raw_of
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.train import train_committee
from aiida_goectp.core.learning.uncertainty import deviations
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model, save_model
from tests import tiny

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
    described = {'name': 'm', 'data': 'tiny', 'functional': 'PBEsol', 'parent': 'abc'}
    path = tmp_path_factory.mktemp('model') / 'm.safetensors'
    save_model(path, *calibrate_committee(networks, parts, SETTINGS, **described))
    return path


def test_the_card_says_what_was_done(model, parts):
    card = read_card(model)
    assert card.members == 2
    assert card.training['rows'] == {'train': 40, 'validation': 40, 'test': 16}
    assert card.training['parent'] == 'abc'
    assert TrainSettings.model_validate(card.training['settings']) == SETTINGS
    assert card.metrics['test']['electronic']['rows'] == 16
    # of the rows that it was calibrated on, nine of ten lie within, but for the one that rounding gives
    assert card.metrics['validation']['coverage_90']['electronic']['average'] == pytest.approx(92.5, abs=2.6)
    assert set(card.uncertainty) == {'electronic', 'ionic', 'total', 'unlike_above'}


def test_predictions_state_what_was_calibrated(model, parts):
    found = predict_crystals(parts['test'].crystals, model, device='cpu')
    loaded = load_model(model)
    raw = raw_of(loaded, parts['test'], SETTINGS)
    assert np.isfinite(raw.leverage).all()
    expected = deviations(raw, loaded.card.uncertainty)
    np.testing.assert_allclose(found.average_std, expected.average, rtol=1e-4)
    np.testing.assert_allclose(found.eigenvalues_std, expected.eigenvalues, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.total_std, expected.tensors[:, 2], rtol=1e-3, atol=1e-5)


def test_strange_crystals_are_flagged(model, parts):
    """Solid argon at ten times its volume is like nothing in the training set."""
    from aiida_goectp.core.crystals import CrystalSet

    strange = [crystal._replace(lattice=crystal.lattice * 2.2) for crystal in parts['train'].crystals.take(range(6))]
    found = predict_crystals(CrystalSet.from_crystals(strange), model, device='cpu')
    assert all('unlike_training' in flag_names(flags) for flags in found.flags)
    usual = predict_crystals(parts['train'].crystals, model, device='cpu')
    assert sum('unlike_training' in flag_names(flags) for flags in usual.flags) <= 2


def test_the_hash_knows_the_uncertainty(model, tmp_path):
    loaded = load_model(model)
    again = tmp_path / 'again.safetensors'
    save_model(again, loaded.members, loaded.card.model_copy(update={'notes': 'other prose'}))
    assert model_hash(again) == model_hash(model)
    changed = loaded.card.model_copy(update={'uncertainty': {}})
    save_model(again, loaded.members, changed)
    assert model_hash(again) != model_hash(model)


def test_a_whitening_of_another_size_is_refused(model, tmp_path):
    loaded = load_model(model)
    loaded.members[0].whitening = loaded.members[0].whitening[:3]
    save_model(tmp_path / 'bad.safetensors', loaded.members, loaded.card)
    with pytest.raises(FormatError, match='whitening of shape'):
        load_model(tmp_path / 'bad.safetensors')


def test_few_validation_rows_state_nothing(parts):
    networks = train_committee(parts['train'], None, SETTINGS.model_copy(update={'epochs': 1, 'members': 1}))
    held = {**parts, 'validation': parts['validation'].take(range(12))}
    _, card = calibrate_committee(networks, held, SETTINGS, name='m', data='tiny', functional='PBEsol')
    assert card.uncertainty == {}
    assert 'coverage_90' not in card.metrics['test']


def test_the_last_training_on_all_rows_inherits_what_was_calibrated(model, parts):
    parent = load_model(model)
    described = {'name': 'last', 'data': 'tiny', 'functional': 'PBEsol', 'parent': parent.hash}
    _, card = calibrate_committee(
        list(parent.members), {'train': parts['train']}, SETTINGS, **described, inherited=parent
    )
    assert card.uncertainty == parent.card.uncertainty
    assert card.metrics == {f'{part} of the parent': parent.card.metrics[part] for part in ('validation', 'test')}
    # rows are held out, though too few to calibrate on: the figures of another training say nothing of this one
    few = {'train': parts['train'], 'validation': parts['validation'].take(range(8))}
    _, card = calibrate_committee(list(parent.members), few, SETTINGS, **described, inherited=parent)
    assert card.uncertainty == {}
    assert set(card.metrics) == {'validation'}


@pytest.mark.parametrize('rows', [4, 9])
def test_a_few_rows_more_do_not_make_the_rest_strange(model, parts, rows):
    """The calibration of the parent was made for its whitening; by a few rows alone nearly all is far from known."""
    parent = load_model(model)
    wanted = raw_of(parent, parts['test'], SETTINGS)
    sure = deviations(wanted, parent.card.uncertainty)
    few = {'train': parts['train'].take(range(rows))}
    networks, card = calibrate_committee(
        deepcopy(list(parent.members)), few, SETTINGS, name='m', data='', functional='PBEsol', inherited=parent
    )
    raw = raw_of(LoadedModel(card, torch.nn.ModuleList(networks), ''), parts['test'], SETTINGS)
    np.testing.assert_allclose(raw.leverage, wanted.leverage, rtol=0.4)
    np.testing.assert_allclose(deviations(raw, card.uncertainty).average, sure.average, rtol=0.4)


def test_a_tuned_model_does_not_forget_elements(parts):
    """A few new labels hold few elements; all others would be flagged as unseen, and drop out of every ranking."""
    few = parts['train'].take(range(2))
    networks = train_committee(few, None, SETTINGS.model_copy(update={'epochs': 1, 'members': 1}))
    described = {'name': 'm', 'data': 'tiny', 'functional': 'PBEsol'}
    own = calibrate_committee(networks, {'train': few}, SETTINGS, **described)[1].elements
    assert own == sorted(set(few.crystals.atomic_numbers.tolist()))
    assert calibrate_committee(networks, {'train': few}, SETTINGS, **described, known=[92, 94])[1].elements == [
        *own,
        92,
        94,
    ]

"""Settings of a backtest."""

from __future__ import annotations

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.backtest import BacktestSettings, read_acquisition


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'figure_of_merit': 'best'}, 'best'),
        ({'figure_of_merit': 'cautious_gap_total'}, 'cautious_gap_total'),
        ({'top_k': 0}, 'top_k'),
        ({'acquisitions': ()}, 'acquisitions'),
        ({'acquisitions': ('greedy', 'greedy')}, 'acquisitions.*greedy, greedy'),
        ({'acquisitions': ('greedi',)}, "'greedi'"),
        ({'policy': {'fold': 3}}, "policy.fold: .*'folds'"),
        ({'labels': 3}, 'backtest.labels'),
    ],
)
def test_invalid_settings_are_refused(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(BacktestSettings, values, 'backtest')


def test_acquisition_with_parameters():
    found = read_acquisition('upper_confidence_bound:kappa=0.5,seed=3')
    assert (found.name, found.kappa, found.seed) == ('upper_confidence_bound', 0.5, 3)


@pytest.mark.parametrize(
    ('text', 'message'),
    [('greedy:kappa', 'kappa=0.5'), ('greedy:kappa=x', "kappa is 'x'"), ('greedy:kapa=1', "kapa: .*'kappa'")],
)
def test_invalid_parameters_are_refused(text, message):
    with pytest.raises(FormatError, match=message):
        read_acquisition(text)


def test_budget_is_a_stop_rule():
    assert BacktestSettings(budget=7).rules.max_calculations == 7


def test_elements_outside_the_training_set_are_candidates():
    assert BacktestSettings().picking('greedy').filters.unseen_elements
    strict = BacktestSettings.model_validate({'filters': {'unseen_elements': False}})
    assert not strict.picking('greedy').filters.unseen_elements

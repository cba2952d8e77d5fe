"""Settings that say what is wrong with them."""

from __future__ import annotations

import pytest

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.backtest import BacktestSettings, read_acquisition


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'figure_of_merit': 'best'}, 'no figure of merit is named'),
        ({'figure_of_merit': 'cautious_gap_total'}, 'a label has not'),
        ({'top_k': 0}, 'top_k'),
        ({'acquisitions': ()}, 'name one at least'),
        ({'acquisitions': ('greedy', 'greedy')}, 'named twice'),
        ({'acquisitions': ('greedi',)}, 'is not there; there are: greedy'),
        ({'policy': {'fold': 3}}, "did you mean 'folds'"),
        ({'labels': 3}, 'unknown setting'),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(BacktestSettings, values, 'backtest')


def test_an_acquisition_with_its_numbers():
    found = read_acquisition('upper_confidence_bound:kappa=0.5,seed=3')
    assert (found.name, found.kappa, found.seed) == ('upper_confidence_bound', 0.5, 3)


@pytest.mark.parametrize(
    ('text', 'message'),
    [('greedy:kappa', 'kappa=0.5'), ('greedy:kappa=x', 'no number'), ('greedy:kapa=1', "did you mean 'kappa'")],
)
def test_a_wrong_number_of_an_acquisition_is_named(text, message):
    with pytest.raises(FormatError, match=message):
        read_acquisition(text)


def test_the_budget_ends_a_campaign():
    assert BacktestSettings(budget=7).rules.max_calculations == 7


def test_elements_that_no_label_has_shown_may_be_picked():
    assert BacktestSettings().picking('greedy').filters.unseen_elements
    strict = BacktestSettings.model_validate({'filters': {'unseen_elements': False}})
    assert not strict.picking('greedy').filters.unseen_elements

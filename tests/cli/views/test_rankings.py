"""Tables of predictions, rankings and selections: standard deviations and flags where known."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.cli.views.rankings import ranking_table, selection_table
from aiida_goectp.core.executable.prediction_table import predictions_table
from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.formats.text_tables import show_table
from aiida_goectp.core.selection.ranking import Ranking, rank
from tests.cli.runner import line_with


@pytest.fixture
def printed(capsys):
    def show(table):
        show_table(table)
        return capsys.readouterr().out

    return show


@pytest.fixture
def on_disk(tmp_path):
    def write(ranking):
        ranking.save(tmp_path / 'ranking.npz')
        return TableFile(Ranking, tmp_path / 'ranking.npz')

    return write


@pytest.fixture
def predictions(crystal_set, predict_by_hand):
    """Predictions with standard deviations, except for the first row, and a flag of the last row."""
    average = np.array([[0.1, 0.25, 0.31]] * 6)
    average[0] = np.nan
    values = np.full((6, 3, 3), 0.42)
    values[0] = np.nan
    flags = np.array([0, 0, 0, 0, 0, 4], np.uint32)
    return replace(predict_by_hand(crystal_set), average_std=average, eigenvalues_std=values, flags=flags)


def test_predictions(predictions, printed):
    output = printed(predictions_table(predictions, 6))
    assert '±' not in line_with(output, 'Si')
    line = line_with(output, 'AlN')
    for text in ('unlike the training set', '7.00 ± 0.10', '3.50 ± 0.25', '10.50 ± 0.31', '10.50±0.42 ×3'):
        assert text in line


def test_ranking(crystal_set, predictions, predict_by_hand, on_disk, printed):
    line = line_with(printed(ranking_table(on_disk(rank(crystal_set, predictions)), 6)), 'AlN')
    for text in ('unlike the training set', '7.00 ± 0.10', '3.50 ± 0.25', '10.50 ± 0.31'):
        assert text in line
    without_flags = rank(crystal_set, predict_by_hand(crystal_set))
    assert 'remarks' not in printed(ranking_table(on_disk(without_flags), 6))


def test_probability_of_stability(crystal_set, predict_by_hand, on_disk, printed):
    predictions = replace(predict_by_hand(crystal_set), stability=np.array([0.987, np.nan, 0.5, 0.4, 0.3, 0.2]))
    output = printed(ranking_table(on_disk(rank(crystal_set, predictions)), 6))
    assert line_with(output, 'Si').endswith(' 0.99')
    assert 'stable' in output
    assert line_with(output, 'MgO').endswith(' 4.5')
    assert 'stable' not in printed(ranking_table(on_disk(rank(crystal_set, predict_by_hand(crystal_set))), 6))


def test_selection(printed):
    numbers = {'score': 10.5, 'electronic': 7.0, 'ionic': None, 'total': 10.5}
    plain = {'rank': 1, 'id': 'plain', 'formula': 'AlN', 'structure': 'rank_00001', **numbers}
    uncertain = plain | {
        'id': 'uncertain',
        'electronic_std': 0.1,
        'total_std': 0.31,
        'flags': ['unlike_training'],
    }
    output = printed(selection_table([plain, uncertain], {'rank_00001': 77}))
    assert '±' not in line_with(output, 'plain')
    for text in ('unlike the training set', '7.00 ± 0.10', '10.50 ± 0.31', ' 77'):
        assert text in line_with(output, 'uncertain')
    assert 'remarks' not in printed(selection_table([plain]))
    assert 'stable' not in output
    assert line_with(printed(selection_table([plain | {'stability': 0.25}])), 'plain').endswith(' 10.5 0.25 rank_00001')

"""Tables print what is known of the deviation, and name the flags."""

from dataclasses import replace

import numpy as np

from aiida_goectp.cli.views.tables import predictions_table, ranking_table, selection_table, show_table
from aiida_goectp.core.selection.ranking import rank


def printed(table, capsys):
    show_table(table)
    return capsys.readouterr().out


def line_of(text, name):
    return next(line for line in text.splitlines() if name in line)


def known(crystals, predict_by_hand):
    table = predict_by_hand(crystals)
    average = np.array([[0.1, 0.25, 0.31]] * 6)
    average[0] = np.nan
    values = np.full((6, 3, 3), 0.42)
    values[0] = np.nan
    return replace(table, average_std=average, eigenvalues_std=values, flags=np.array([0, 0, 0, 0, 0, 4], np.uint32))


def test_predictions(crystal_set, predict_by_hand, capsys):
    text = printed(predictions_table(known(crystal_set, predict_by_hand), 6), capsys)
    assert '±' not in line_of(text, 'Si')
    assert '2 ' in line_of(text, 'Si')
    line = line_of(text, 'AlN')
    for part in ('unlike_training', '7.00 ± 0.10', '3.50 ± 0.25', '10.50 ± 0.31', '10.50 ± 0.42'):
        assert part in line


def test_ranking_and_selection(crystal_set, predict_by_hand, capsys):
    ranking = rank(crystal_set, known(crystal_set, predict_by_hand))
    line = line_of(printed(ranking_table(ranking, 6), capsys), 'AlN')
    for part in ('unlike_training', '7.00 ± 0.10', '3.50 ± 0.25', '10.50 ± 0.31'):
        assert part in line
    numbers = {'score': 10.5, 'electronic': 7.0, 'ionic': None, 'total': 10.5}
    assert 'remarks' not in printed(ranking_table(rank(crystal_set, predict_by_hand(crystal_set)), 6), capsys)
    item = {'rank': 1, 'id': 'older', 'formula': 'AlN', 'structure': 'rank_00001', **numbers}
    sure = item | {'id': 'sure', 'electronic_std': 0.1, 'total_std': 0.31, 'flags': ['unlike_training']}
    text = printed(selection_table([item, sure], {'rank_00001': 77}), capsys)
    assert '±' not in line_of(text, 'older')
    for part in ('unlike_training', '7.00 ± 0.10', '10.50 ± 0.31', ' 77'):
        assert part in line_of(text, 'sure')
    assert 'remarks' not in printed(selection_table([item]), capsys)

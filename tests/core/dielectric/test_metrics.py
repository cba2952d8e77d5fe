"""Error metrics, compared with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.dielectric.metrics import compare, evaluate, table

UNKNOWN = np.full((1, 3, 3), np.nan)


def test_compare():
    labels = np.stack([2 * np.eye(3), 10 * np.eye(3)])
    found = labels + np.array([0.3, -0.3])[:, None, None] * np.eye(3)
    metrics = compare(found, labels)
    assert metrics['rows'] == 2
    assert metrics['mae'] == pytest.approx(0.1)  # three of nine components
    assert metrics['rmse'] == pytest.approx(0.3 / np.sqrt(3))
    assert metrics['fnorm'] == pytest.approx(0.3 * np.sqrt(3))
    assert metrics['mae_average'] == pytest.approx(0.3)  # signs differ, errors do not cancel
    # relative distances: 15 % and 3 %
    assert [metrics[f'ewt_{share}'] for share in (25, 10, 5, 2)] == [100, 50, 50, 0]
    assert 'mae_anisotropy' not in metrics


def test_anisotropy():
    labels = np.stack([np.diag([2.0, 2.0, 4.0]), np.diag([3.0, 3.0, 3.0])])
    found = np.stack([np.diag([2.0, 2.0, 3.0]), np.diag([3.0, 4.5, 3.0])])
    assert compare(found, labels, True)['mae_anisotropy'] == pytest.approx(0.5)  # 2 against 1.5, 1 against 1.5
    # a tensor with a zero eigenvalue does not count
    labels[1, 2, 2] = 0.0
    assert compare(found, labels, True)['mae_anisotropy'] == pytest.approx(0.5)
    assert 'mae_anisotropy' not in compare(found[1:], labels[1:], True)


def test_metrics_do_not_depend_on_the_frame():
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    labels, found = (np.stack([part + part.T + 9 * np.eye(3) for part in rng.normal(size=(5, 3, 3))]) for _ in range(2))
    plain, rotated = (compare(r @ found @ r.T, r @ labels @ r.T, True) for r in (np.eye(3), rotation))
    for name in set(plain) - {'mae'}:  # the MAE of components depends on the frame
        assert rotated[name] == pytest.approx(plain[name])


def test_rows_without_label_or_prediction_do_not_count():
    labels = np.concatenate([[np.eye(3)], UNKNOWN, [np.eye(3)]])
    found = np.concatenate([np.zeros((2, 3, 3)), UNKNOWN])
    assert compare(found, labels)['rows'] == 1
    assert compare(np.zeros((1, 3, 3)), UNKNOWN) == compare(UNKNOWN, np.zeros((1, 3, 3))) == {'rows': 0}


def test_labels_of_zero():
    metrics = compare(np.zeros((1, 3, 3)), np.zeros((1, 3, 3)))
    assert [metrics[f'ewt_{share}'] for share in (25, 2)] == [100, 100]
    assert compare(np.eye(3)[None], np.zeros((1, 3, 3)))['ewt_25'] == 0


def test_the_total_is_the_sum_of_both_parts():
    electronic, ionic = np.stack([np.eye(3)] * 3), np.stack([np.eye(3)] * 3)
    ionic[1] = np.nan
    metrics = table({'electronic': electronic, 'ionic': 0 * electronic}, {'electronic': electronic, 'ionic': ionic})
    assert {name: part['rows'] for name, part in metrics.items()} == {'electronic': 3, 'ionic': 2, 'total': 2}
    assert metrics['total']['mae'] == pytest.approx(1 / 3)
    assert 'mae_anisotropy' not in metrics['ionic']
    assert set(table({'electronic': electronic}, {'electronic': electronic})) == {'electronic'}
    # a model that predicts only the total
    known = {'electronic': electronic, 'ionic': ionic}
    assert set(table({'total': electronic + ionic}, known)) == {'total'}


def test_groups():
    labels = np.stack([np.eye(3), 2 * np.eye(3), 3 * np.eye(3)])
    found = labels + np.array([1.0, 2.0, 4.0])[:, None, None] * np.eye(3)
    systems = np.array(['cubic', 'hexagonal', 'cubic'])
    metrics = evaluate({'electronic': found}, {'electronic': labels}, {'crystal_system': systems})
    assert metrics['all']['electronic']['mae_average'] == pytest.approx(7 / 3)
    parts = metrics['by_crystal_system']
    assert {name: part['electronic']['rows'] for name, part in parts.items()} == {'cubic': 2, 'hexagonal': 1}
    assert parts['cubic']['electronic']['mae_average'] == pytest.approx(2.5)

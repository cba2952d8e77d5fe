"""``aiida-goectp evaluate``."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_goectp.calculations.datasets import evaluate_predictions
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.predictions import PredictionsData
from tests import tiny
from tests.cli.runner import flat, invoke


@pytest.fixture
def dataset(aiida_profile):
    return DatasetData(tiny.some_dataset(20).with_split('mine', seed=2)).store()


def test_evaluation_runs(code, dataset, tmp_path):
    model = tiny.write_model(tmp_path / 'm.safetensors')
    output = invoke('evaluate', model, dataset.pk, '--split', 'mine', '--part', 'validation', '--device', 'cpu')
    for text in ('on 2 rows', 'electronic', 'ionic', 'EwT', 'EvaluateWorkChain', 'metrics'):
        assert text in output


def test_metrics_are_shown(aiida_profile, crystal_set, predict_by_hand):
    predictions = predict_by_hand(crystal_set, failed=[1])
    data = Dataset(crystal_set, predictions.electronic.copy() + 1.0, predictions.ionic.copy())
    data.electronic[1] = data.ionic[1] = 2.0
    metrics = evaluate_predictions(PredictionsData(predictions).store(), DatasetData(data).store())
    output = invoke('show', metrics.pk)
    for text in ('Model aaaaaaaaaa on 5 rows, 1 failed', 'cubic', 'hexagonal', 'total'):
        assert text in output


def test_invalid_arguments(code, dataset, tmp_path):
    model = tiny.write_model(tmp_path / 'm.safetensors')
    assert "'other'" in flat(invoke('evaluate', model, dataset.pk, '--split', 'other', status=2))
    number = orm.Int(3).store().pk
    assert str(number) in invoke('evaluate', model, number, status=2)

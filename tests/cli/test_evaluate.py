"""``aiida-goectp evaluate``: what it prints, and what it refuses."""

from __future__ import annotations

import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.calculations.evaluate import evaluate_predictions
from aiida_goectp.cli import main
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.predictions import PredictionsData
from tests import tiny


def invoke(*arguments):
    result = CliRunner().invoke(main, [str(item) for item in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def node(aiida_profile):
    return DatasetData(tiny.some_dataset(20).with_split('mine', seed=2)).store()


def test_with_a_real_job(code, node, tmp_path):
    model = tiny.write_model(tmp_path / 'm.safetensors')
    result = invoke('evaluate', model, node.pk, '--split', 'mine', '--part', 'validation', '--device', 'cpu')
    assert result.exit_code == 0, result.output
    for text in ('on 2 rows', 'electronic', 'ionic', 'EwT 25 %', 'EvaluateWorkChain'):
        assert text in result.output
    assert 'metrics' in result.output


def test_the_table(aiida_profile, crystal_set, predict_by_hand):
    from aiida_goectp.core.datasets.dataset import Dataset

    predictions = predict_by_hand(crystal_set, failed=[1])
    data = Dataset(crystal_set, predictions.electronic.copy() + 1.0, predictions.ionic.copy())
    data.electronic[1] = data.ionic[1] = 2.0
    metrics = evaluate_predictions(PredictionsData(predictions).store(), DatasetData(data).store())
    shown = invoke('show', metrics.pk).output
    for text in ('Model aaaaaaaaaa on 5 rows, 1 more could not be predicted', 'cubic', 'hexagonal', 'total'):
        assert text in shown


def test_what_is_refused(code, node, tmp_path):
    model = tiny.write_model(tmp_path / 'm.safetensors')
    result = invoke('evaluate', model, node.pk, '--split', 'other')
    assert (result.exit_code, "split 'other': the dataset has mine" in result.output) == (2, True)
    assert invoke('evaluate', model, orm.Int(3).store().pk).exit_code == 2

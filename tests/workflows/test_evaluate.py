"""``EvaluateWorkChain`` with real jobs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from aiida.engine import run_get_node

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.metrics import table
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.evaluate import EvaluateWorkChain
from tests import tiny

CPU = {'goectp': {'device': 'cpu', 'max_failed_fraction': 0.1}}


@pytest.fixture
def node(aiida_profile):
    return DatasetData(tiny.some_dataset(20).with_split('mine', seed=2)).store()


@pytest.fixture
def model(aiida_profile, tmp_path):
    return ModelData.get_or_create(tiny.write_model(tmp_path / 'm.safetensors'))


def test_part_of_a_split(code, node, model):
    builder = EvaluateWorkChain.get_builder_from_protocol(code, node, model, 'mine', overrides=CPU)
    results, process = run_get_node(builder)
    assert process.is_finished_ok, process.exit_message
    metrics = results['metrics'].get_dict()
    part = node.dataset.part('mine', 'test')
    assert metrics['rows'] == len(part) == 2
    predictions = results['predictions'].predictions
    assert predictions.ids.tolist() == part.crystals.ids.tolist()
    names = ('electronic', 'ionic')
    by_hand = table(*({name: getattr(side, name) for name in names} for side in (predictions, part)))
    for target, values in by_hand.items():
        assert metrics['all'][target] == pytest.approx(values)
    assert metrics['model_hash'] == model.content_hash
    assert results['metrics'].creator.process_label == 'evaluate_predictions'
    assert results['metrics'].creator.inputs.dataset.uuid == node.uuid
    assert results['predictions'].creator.process_label == 'PredictCalculation'
    # the job takes the crystals of the dataset, not its labels
    crystals = results['predictions'].creator.inputs.crystals
    assert crystals.creator.inputs.dataset.uuid == node.uuid


@pytest.mark.slow
def test_all_rows_with_too_many_failures(code, model, aiida_profile):
    crystals = tiny.some_crystals(4)
    numbers = crystals.atomic_numbers.copy()
    numbers[:2] = 104  # an element that no model has
    data = Dataset(replace(crystals, atomic_numbers=numbers), np.tile(3 * np.eye(3), (4, 1, 1)))
    builder = EvaluateWorkChain.get_builder_from_protocol(code, DatasetData(data).store(), model, overrides=CPU)
    results, process = run_get_node(builder)
    assert process.exit_status == 410
    assert '1 of 4' in process.exit_message
    metrics = results['metrics'].get_dict()
    assert (metrics['rows'], metrics['failed']) == (3, 1)
    assert set(metrics['by_functional']) == {'unknown'}


def test_invalid_inputs(code, node, model):
    unlabelled = DatasetData(Dataset(tiny.some_crystals(2))).store()
    for arguments, names in (
        ((node, model, 'other'), ("'other'", 'mine')),
        ((node, model, 'mine', 'holdout'), ("'holdout'", "'mine'")),
        ((unlabelled, model), ('dataset',)),
    ):
        builder = EvaluateWorkChain.get_builder_from_protocol(code, *arguments, overrides=CPU)
        error = EvaluateWorkChain.spec().inputs.validate(builder_inputs(builder))
        assert error is not None
        assert all(name in error.message for name in names)


def test_failed_prediction(aiida_profile, aiida_code_installed, node, model):
    code = aiida_code_installed(label='none', filepath_executable='/bin/false')
    code.computer.set_minimum_job_poll_interval(0.0)
    builder = EvaluateWorkChain.get_builder_from_protocol(
        code, node, model, 'mine', overrides={**CPU, 'max_iterations': 1}
    )
    results, process = run_get_node(builder)
    assert process.exit_status == 450
    assert 'metrics' not in results

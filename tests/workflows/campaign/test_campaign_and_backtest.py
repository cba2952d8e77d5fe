"""The work chain and a backtest with equal labels, settings and seed have equal rounds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.learning.model_cache import cached_model
from aiida_goectp.core.learning.settings import FEW_LABELS
from aiida_goectp.core.learning.surrogate import NetworkSurrogate
from aiida_goectp.core.selection.backtest import (
    BacktestSettings,
    Campaign,
    RoundRecord,
    make_hidden_pool,
    make_search_task,
)
from aiida_goectp.core.selection.backtest.loop import first_model
from tests import tiny
from tests.rows import PHONONDB, read_rows
from tests.workflows.campaign.backtested import campaign_like, differences
from tests.workflows.dfpt.table_engine import NAME

SEED = 3
DIGITS = 1e-12
"""relative tolerance; numbers in nodes of AiiDA have fourteen digits"""
TRAINING = FEW_LABELS.model_copy(update={'epochs': 5})
SETTINGS = BacktestSettings.model_validate(
    {
        'top_k': 3,
        'start': 78,
        'batch_size': 2,
        'budget': 4,
        'seeds': 1,
        'acquisitions': ('upper_confidence_bound',),
        # the second model is fine-tuned, the third is trained from scratch
        'policy': {'folds': 2, 'mode': 'fine-tune', 'scratch_every': 2},
    }
)


def table_of(rows, pool):
    """Return the DFPT results of a pool by content hash."""
    by_id = {row['id']: row for row in rows}
    return {
        str(name): {
            'electronic': by_id[item]['eps_electronic'],
            'ionic': by_id[item]['eps_ionic_fd'],
            'born_charges': by_id[item]['born'],
            'frequencies': [0.0] * 3 + [by_id[item]['freq_min_opt_THz']] * (3 * len(by_id[item]['species']) - 3),
            'band_gap': 1.0,
            'max_force': 0.0,
            'functional': 'PBEsol',
        }
        for item, name in zip(pool.ids.tolist(), pool.hashes, strict=True)
    }


def weights(content):
    """Return the weights of a committee by their names."""
    networks = cached_model(content, 'cpu').networks
    return {
        f'{place}.{name}': values.numpy()
        for place, network in enumerate(networks)
        for name, values in network.state_dict().items()
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)  # of a busy machine
def test_equal_rounds(code, tmp_path):
    tiny.one_thread()
    rows = [
        row
        for row in read_rows(PHONONDB).values()
        if len(row['species']) <= 6 and row['electronic_ok'] and row['ionic_ok']
    ]
    file = tmp_path / 'labels.jsonl'
    file.write_text('\n'.join(json.dumps(row) for row in rows))
    task = make_search_task(make_hidden_pool(Dataset.load(file, 'PBEsol'), SETTINGS), SETTINGS, SEED)
    assert 10 < len(task.pool) <= 20

    surrogate = NetworkSurrogate(TRAINING, 'cpu', 1)
    initial = first_model(task, surrogate, SETTINGS, SEED)
    backtest = Campaign(task, surrogate, SETTINGS, SETTINGS.acquisitions[0], SEED, initial)
    while isinstance(stop := backtest.advance(), RoundRecord):
        pass

    dfpt = {'table': orm.Dict(table_of(rows, task.pool))}
    results, node = run_get_node(campaign_like(code, task, SETTINGS, TRAINING, SEED, NAME, dfpt))
    assert node.is_finished_ok, (node.exit_message, node.exception)
    history = read_history(results['history'])
    assert differences(backtest.history, history, DIGITS) == []
    assert results['stop'].get_dict() == stop._asdict()

    # both retrainings are compared on both sets of rows, and the predictions have standard deviations
    assert [one.retrained for one in history.rounds] == [True, True]
    assert all(one.metrics[f'{name}: rows'] for one in history.rounds for name in ('hold-out', 'new labels'))
    assert all(item.std is not None for one in history.rounds for item in one.picks)

    grown = results['dataset'].dataset
    for name in ('ids', 'hashes'):
        assert getattr(grown.crystals, name).tolist() == getattr(backtest.dataset.crystals, name).tolist()
    assert grown.splits['campaign'].tolist() == backtest.dataset.splits['campaign'].tolist()
    for name in ('electronic', 'ionic'):
        np.testing.assert_allclose(getattr(grown, name), getattr(backtest.dataset, name), rtol=DIGITS)
    ours, theirs = (weights(content) for content in (results['model'].content, backtest.model))
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)

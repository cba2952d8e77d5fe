"""Backtest of a campaign on a labelled dataset: number of the best crystals found, by number of labels.

The labels of a dataset are hidden, and the decision functions of a campaign (:mod:`aiida_goectp.core.selection`)
request them in batches. The model is any :class:`.loop.Surrogate`, for example
``aiida_goectp.core.learning.surrogate.NetworkSurrogate``.
"""

from aiida_goectp.core.selection.backtest.curves import Summary, labels_needed, random_found, random_needed, summarise
from aiida_goectp.core.selection.backtest.hidden import HiddenPool, SearchTask, make_hidden_pool, make_search_task
from aiida_goectp.core.selection.backtest.loop import Campaign, FittedModel, RoundRecord, Surrogate
from aiida_goectp.core.selection.backtest.run import run_backtest
from aiida_goectp.core.selection.backtest.settings import BacktestSettings, read_acquisition, read_pruning
from aiida_goectp.core.selection.backtest.storage import BacktestStore

__all__ = (
    'BacktestSettings',
    'BacktestStore',
    'Campaign',
    'FittedModel',
    'HiddenPool',
    'RoundRecord',
    'SearchTask',
    'Summary',
    'Surrogate',
    'labels_needed',
    'make_hidden_pool',
    'make_search_task',
    'random_found',
    'random_needed',
    'read_acquisition',
    'read_pruning',
    'run_backtest',
    'summarise',
)

"""A campaign on labels that are known already: how many of the best does it find with how many of them?

The labels of a dataset are hidden, and the decision functions of a campaign (:mod:`aiida_goectp.core.selection`)
request them one batch at a time. The model is any :class:`.loop.Surrogate`; the networks of this package are one, by
``aiida_goectp.core.learning.surrogate``.
"""

from aiida_goectp.core.selection.backtest.curves import Summary, labels_needed, random_found, random_needed, summarise
from aiida_goectp.core.selection.backtest.hidden import HiddenPool, SearchTask, make_hidden_pool, make_search_task
from aiida_goectp.core.selection.backtest.loop import Campaign, FittedModel, RoundRecord, Surrogate
from aiida_goectp.core.selection.backtest.run import run_backtest
from aiida_goectp.core.selection.backtest.settings import BacktestSettings, read_acquisition
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
    'run_backtest',
    'summarise',
)

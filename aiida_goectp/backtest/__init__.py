"""A campaign on labels that are known already: how many of the best does it find with how many of them?

The labels of a dataset are hidden, and the functions that decide in a campaign (:mod:`aiida_goectp.selection`) ask for
them one batch at a time. The model is whatever fits :class:`.loop.Surrogate`; the networks of this package do, by
``aiida_goectp.learning.surrogate``.
"""

from aiida_goectp.backtest.curves import Summary, labels_needed, random_found, random_needed, summarise
from aiida_goectp.backtest.hidden import Problem, Task, make_problem, make_task
from aiida_goectp.backtest.loop import Campaign, Fitted, Line, Surrogate
from aiida_goectp.backtest.run import run_backtest
from aiida_goectp.backtest.settings import BacktestSettings, read_acquisition
from aiida_goectp.backtest.storage import Folder

__all__ = (
    'BacktestSettings',
    'Campaign',
    'Fitted',
    'Folder',
    'Line',
    'Problem',
    'Summary',
    'Surrogate',
    'Task',
    'labels_needed',
    'make_problem',
    'make_task',
    'random_found',
    'random_needed',
    'read_acquisition',
    'run_backtest',
    'summarise',
)

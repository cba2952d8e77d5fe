"""Filters, figures of merit, ranking, acquisition, picking, history and stop rules.

Functions of arrays, used by calcfunctions and backtests. The names below are imported from this package; everything
else from its modules.
"""

from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.folds import fold_name
from aiida_goectp.core.selection.history import CandidateSummary, History, PickRecord, Round
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT, figure_of_merit
from aiida_goectp.core.selection.picking import PickSettings, pick
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.ranking import Ranking, rank
from aiida_goectp.core.selection.retraining import FROM_LABELS, RetrainingPolicy, decide_retraining
from aiida_goectp.core.selection.rounds import summarise_candidates, with_seeds
from aiida_goectp.core.selection.stopping import StopRules, allowed_picks, should_stop

__all__ = (
    'FIGURES_OF_MERIT',
    'FROM_LABELS',
    'CandidateSummary',
    'Filters',
    'History',
    'KnownCrystals',
    'PickRecord',
    'PickSettings',
    'Picks',
    'Ranking',
    'RetrainingPolicy',
    'Round',
    'StopRules',
    'allowed_picks',
    'decide_retraining',
    'figure_of_merit',
    'fold_name',
    'pick',
    'rank',
    'should_stop',
    'summarise_candidates',
    'with_seeds',
)

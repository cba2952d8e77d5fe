"""What to look at next: filters, figures of merit, ranking, the merge of predicted shards, and campaigns.

Pure functions of arrays, for calcfunctions and for backtests alike.
"""

from aiida_goectp.selection.acquisition import AcquisitionSettings, State, acquire
from aiida_goectp.selection.comparing import comparison_errors, tensor_errors
from aiida_goectp.selection.diversity import DiversitySettings, Likeness
from aiida_goectp.selection.filters import Filters
from aiida_goectp.selection.folds import fold_name, folds_of, grow, new_rows, with_base_split, with_folds
from aiida_goectp.selection.history import History, Outlook, PickRecord, Round
from aiida_goectp.selection.merge import MergeError, merge_predictions
from aiida_goectp.selection.merit import FIGURES_OF_MERIT, FigureOfMerit, figure_of_merit
from aiida_goectp.selection.past import Past
from aiida_goectp.selection.picking import PickSettings, pick
from aiida_goectp.selection.picks import Picks
from aiida_goectp.selection.ranking import Ranking, rank
from aiida_goectp.selection.retraining import FROM_LABELS, RetrainingPolicy, compare_models, deal_folds, retraining_due
from aiida_goectp.selection.rounds import Outcome, outlook_of, retrained_round, seeded, verified_round
from aiida_goectp.selection.settings import read_settings
from aiida_goectp.selection.stopping import Stop, StopRules, allowed_picks, should_stop

__all__ = (
    'FIGURES_OF_MERIT',
    'FROM_LABELS',
    'AcquisitionSettings',
    'DiversitySettings',
    'FigureOfMerit',
    'Filters',
    'History',
    'Likeness',
    'MergeError',
    'Outcome',
    'Outlook',
    'Past',
    'PickRecord',
    'PickSettings',
    'Picks',
    'Ranking',
    'RetrainingPolicy',
    'Round',
    'State',
    'Stop',
    'StopRules',
    'acquire',
    'allowed_picks',
    'compare_models',
    'comparison_errors',
    'deal_folds',
    'figure_of_merit',
    'fold_name',
    'folds_of',
    'grow',
    'merge_predictions',
    'new_rows',
    'outlook_of',
    'pick',
    'rank',
    'read_settings',
    'retrained_round',
    'retraining_due',
    'seeded',
    'should_stop',
    'tensor_errors',
    'verified_round',
    'with_base_split',
    'with_folds',
)

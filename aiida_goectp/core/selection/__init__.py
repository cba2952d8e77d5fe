"""What to look at next: filters, figures of merit, ranking, the merge of predicted shards, and campaigns.

Pure functions of arrays, for calcfunctions and for backtests alike.
"""

from aiida_goectp.core.dielectric.shards import MergeError, merge_predictions
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.acquisition import AcquisitionSettings, State, acquire
from aiida_goectp.core.selection.diversity import DiversitySettings, StructureMatcher
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.folds import add_labels, fold_name, folds_of, new_rows, with_base_split, with_folds
from aiida_goectp.core.selection.history import CandidateSummary, History, PickRecord, Round
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT, FigureOfMerit, figure_of_merit
from aiida_goectp.core.selection.model_errors import comparison_errors, tensor_errors
from aiida_goectp.core.selection.picking import PickSettings, pick
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.ranking import Ranking, rank
from aiida_goectp.core.selection.retraining import (
    FROM_LABELS,
    RetrainingPolicy,
    assign_folds,
    compare_models,
    decide_retraining,
)
from aiida_goectp.core.selection.rounds import (
    Outcome,
    retrained_round,
    summarise_candidates,
    verified_round,
    with_seeds,
)
from aiida_goectp.core.selection.stopping import Stop, StopRules, allowed_picks, should_stop

__all__ = (
    'FIGURES_OF_MERIT',
    'FROM_LABELS',
    'AcquisitionSettings',
    'CandidateSummary',
    'DiversitySettings',
    'FigureOfMerit',
    'Filters',
    'History',
    'KnownCrystals',
    'MergeError',
    'Outcome',
    'PickRecord',
    'PickSettings',
    'Picks',
    'Ranking',
    'RetrainingPolicy',
    'Round',
    'State',
    'Stop',
    'StopRules',
    'StructureMatcher',
    'acquire',
    'add_labels',
    'allowed_picks',
    'assign_folds',
    'compare_models',
    'comparison_errors',
    'decide_retraining',
    'figure_of_merit',
    'fold_name',
    'folds_of',
    'merge_predictions',
    'new_rows',
    'pick',
    'rank',
    'read_settings',
    'retrained_round',
    'should_stop',
    'summarise_candidates',
    'tensor_errors',
    'verified_round',
    'with_base_split',
    'with_folds',
    'with_seeds',
)

"""What to look at next: filters, figures of merit, ranking, and the merge of predicted shards.

Pure functions of arrays, for calcfunctions and for backtests alike.
"""

from aiida_goectp.selection.filters import Filters
from aiida_goectp.selection.merge import MergeError, merge_predictions
from aiida_goectp.selection.merit import FIGURES_OF_MERIT, FigureOfMerit, figure_of_merit
from aiida_goectp.selection.ranking import Ranking, rank

__all__ = (
    'FIGURES_OF_MERIT',
    'FigureOfMerit',
    'Filters',
    'MergeError',
    'Ranking',
    'figure_of_merit',
    'merge_predictions',
    'rank',
)

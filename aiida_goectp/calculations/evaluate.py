"""How good predictions are, as provenance."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('evaluate_predictions',)


@calcfunction
def evaluate_predictions(predictions: PredictionsData, dataset: DatasetData) -> orm.Dict:
    """Return the metrics of predictions of a dataset's crystals against its labels.

    :param predictions: of all its crystals or of some
    :return: see :func:`aiida_goectp.core.datasets.evaluation.evaluate_predictions`
    :raises ValueError: predictions of other crystals, or nothing to compare
    """
    from aiida_goectp.core.datasets.evaluation import evaluate_predictions as evaluate

    return orm.Dict(evaluate(predictions.predictions, dataset.dataset))

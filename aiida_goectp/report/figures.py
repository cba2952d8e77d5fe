"""Matplotlib figures of nodes; each function also takes the arrays that the figure is drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from aiida import orm

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.dielectric.coverage import QUANTITIES, coverage_by_level, quantities
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.infrared import default_range, infrared_spectra
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, Predictions
from aiida_goectp.core.dielectric.tensors import PARTS, eigenvalues, polycrystalline_average
from aiida_goectp.core.figures.calibration import LEVELS, calibration_figure
from aiida_goectp.core.figures.curve import learning_curve_figure
from aiida_goectp.core.figures.distribution import anisotropy_figure, distribution_figure
from aiida_goectp.core.figures.elements import element_counts, elements_figure
from aiida_goectp.core.figures.ellipsoid import ellipsoid_figure
from aiida_goectp.core.figures.gap import GapPoints, gap_figure
from aiida_goectp.core.figures.infrared import infrared_figure
from aiida_goectp.core.figures.parity import Parity, parity_figure
from aiida_goectp.core.figures.rounds import rounds_figure
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.report.campaigns import campaign_picks, campaign_report
from aiida_goectp.report.candidates import keys_of, rows_with
from aiida_goectp.report.results import KINDS, load_gaps, load_result, selected_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = (
    'FIGURES',
    'anisotropy',
    'calibration',
    'distribution',
    'elements',
    'ellipsoid',
    'gap',
    'infrared',
    'learning_curve',
    'parity',
    'rounds',
)

_POINTS = 1001
_DAMPING = 0.2
"""THz"""


def gap(source: Any, merit: str = 'gap_total') -> Figure:
    """Return permittivity against band gap.

    :param source: a screen, verification or campaign, one of its outputs, or :class:`.GapPoints`
    :param merit: figure of merit of the lines, for points; that of a node is its own
    :raises ValueError: another node
    """
    if isinstance(source, GapPoints):
        return gap_figure(source, merit)
    rows = load_gaps(source)
    return gap_figure(rows.points, rows.figure_of_merit, _title(rows.process))


def distribution(source: Any) -> Figure:
    """Return histograms of the predicted permittivities.

    :param source: a process with predictions, or predictions
    :raises ValueError: another node
    """
    averages = _evaluate(source, polycrystalline_average)
    marked = None
    if isinstance(source, orm.ProcessNode) and 'selection' in source.outputs:
        with source.outputs.predictions.open_rows() as file:
            chosen = rows_with(keys_of(file), selected_in(source))
        marked = {part: values[chosen] for part, values in averages.items()}
    return distribution_figure(averages, marked)


def anisotropy(source: Any) -> Figure:
    """Return the largest against the smallest principal value of each predicted tensor.

    :param source: a process with predictions, or predictions
    :raises ValueError: another node
    """
    return anisotropy_figure(_evaluate(source, eigenvalues))


def parity(source: Any) -> Figure:
    """Return predicted against computed averages with standard deviations.

    :param source: an evaluation; a screen, verification or campaign with DFPT results; or part → :class:`.Parity`
    :raises ValueError: another node, or nothing to compare
    """
    if isinstance(source, Mapping):
        return parity_figure(source)
    if _is_evaluation(source):
        predicted, labels, table = _evaluated(source)
        unlike = table.flags >> FLAG_NAMES.index('unlike_training') & 1 == 1
        parts = {
            part: Parity(
                polycrystalline_average(labels[:, place]),
                polycrystalline_average(predicted[:, place]),
                table.average_std[:, place],
                unlike,
            )
            for place, part in enumerate(PARTS)
        }
        return parity_figure(parts)
    rows = load_result(source, limit=0).candidates
    found = [(row, item) for row, item in rows.computed.items() if item.averages and item.accepts('electronic')]
    if not found:
        raise ValueError(f'node {source.pk} has no accepted DFPT result to compare with')
    places = [row for row, _ in found]
    return parity_figure(
        {
            part: Parity(
                np.array([item.averages.get(part, np.nan) if item.accepts(part) else np.nan for _, item in found]),
                rows.averages[part][places],
                rows.deviations[part][places],
            )
            for part in PARTS
        }
    )


def calibration(source: Any) -> Figure:
    """Return observed against nominal coverage of the prediction intervals.

    :param source: an evaluation, or quantity → target → observed coverage at :data:`.LEVELS`
    :raises ValueError: another node, or predictions without standard deviations
    """
    if isinstance(source, Mapping):
        return calibration_figure(source)
    if not _is_evaluation(source):
        raise ValueError(f'node {source.pk} is no evaluation; give a process of `aiida-goectp evaluate`')
    predicted, labels, table = _evaluated(source)
    observed: dict[str, dict[str, np.ndarray]] = {name: {} for name in QUANTITIES}
    for place, part in enumerate(PARTS):
        known = np.isfinite(predicted[:, place]).all(axis=(1, 2)) & np.isfinite(labels[:, place]).all(axis=(1, 2))
        values, truth = quantities(predicted[known, place]), quantities(labels[known, place])
        for name in QUANTITIES:
            deviations = getattr(table, f'{name}_std')[known, place]
            levels = coverage_by_level(values[name] - truth[name], deviations, LEVELS)
            if np.isfinite(levels).any():
                observed[name][part] = levels
    if not any(observed.values()):
        raise ValueError(f'node {source.pk}: the model gives no standard deviations, so there are no intervals')
    return calibration_figure(observed)


def learning_curve(*models: Any, part: str = 'test') -> Figure:
    """Return the mean absolute error against the number of training rows, from the cards of models.

    :param models: two or more model nodes
    :param part: part of the split on which they were evaluated
    :raises ValueError: another node, fewer than two models, or a card without these numbers
    """
    rows, errors = [], {target: [] for target in PARTS}  # type: ignore[var-annotated]
    for model in models:
        if not isinstance(model, ModelData):
            raise ValueError(f'node {model.pk} has the type {type(model).__name__}; expected model nodes')
        card = model.card
        trained = (card.training.get('rows') or {}).get('train')
        if trained is None or part not in card.metrics:
            raise ValueError(f'model {card.name} (node {model.pk}): its card has no training rows or no {part} metrics')
        rows.append(int(trained))
        for target in PARTS:
            errors[target].append(card.metrics[part].get(target, {}).get('mae', np.nan))
    if len(rows) < 2:
        raise ValueError('a learning curve needs two or more models')
    return learning_curve_figure(rows, errors, title=f'{part} rows')


def elements(source: Any, trained: set[int] | None = None) -> Figure:
    """Return the periodic table with the number of crystals that contain each element.

    :param source: crystals, a dataset, a model (its training set is shown without numbers), a process with crystals as
        input, or a :class:`.CrystalSet`
    :param trained: atomic numbers in the training set; those of the model of a process if not given
    :raises ValueError: another node
    """
    if isinstance(source, CrystalSet):
        return elements_figure(element_counts(source), trained)
    if isinstance(source, ModelData):
        occurring = dict.fromkeys(source.card.elements, 1)
        return elements_figure(occurring, title=f'training set of {source.card.name}', numbered=False)
    if isinstance(source, orm.ProcessNode):
        inputs = source.inputs
        found = next((inputs[name] for name in ('crystals', 'pool', 'dataset') if name in inputs), None)
        if trained is None and 'model' in inputs:
            trained = set(inputs.model.card.elements) or None
        if found is not None:
            return elements(found, trained)
    if isinstance(source, CrystalsData):
        counts: Counter[int] = Counter()
        with source.open_rows() as rows:
            for block in rows.blocks():
                counts.update(element_counts(block))
        return elements_figure(counts, trained)
    if isinstance(source, DatasetData):
        return elements_figure(element_counts(source.dataset.crystals), trained)
    raise ValueError(f'node {source.pk} contains no crystals; expected crystals, a dataset, a model or a screen')


def rounds(source: Any) -> Figure:
    """Return error of the predictions and best verified value in each round.

    :param source: a campaign
    :raises ValueError: another node, or a campaign without a finished round
    """
    if not isinstance(source, orm.ProcessNode) or KINDS.get(str(source.process_label)) != 'campaign':
        raise ValueError(f'node {source.pk} is no campaign')
    report = campaign_report(source)
    if not report['rounds']:
        raise ValueError(f'campaign {source.pk} has no finished round')
    return rounds_figure(*campaign_picks(report), report['figure_of_merit'], _title(source))


def ellipsoid(crystal: Crystal, tensor: np.ndarray, name: str = 'ε total') -> Figure:
    """Return a tensor as an ellipsoid in its cell.

    :param crystal: in the frame of the tensor
    :param tensor: (3, 3)
    :raises ValueError: an unknown tensor
    """
    return ellipsoid_figure(crystal, tensor, name)


def infrared(cells: Mapping[str, PhononCell], title: str = '') -> Figure:
    """Return infrared permittivity and reflectivity of cells of one crystal.

    :param cells: label → cell with modes, see :meth:`.Predictions.phonon_cell` and
        :meth:`.DielectricResponse.phonon_cell`
    """
    frequencies = np.linspace(*default_range(cells), _POINTS)
    return infrared_figure(infrared_spectra(cells, frequencies, _DAMPING), title)


FIGURES: Mapping[str, Callable[..., Figure]] = {
    'gap': gap,
    'distribution': distribution,
    'anisotropy': anisotropy,
    'parity': parity,
    'calibration': calibration,
    'learning-curve': learning_curve,
    'elements': elements,
    'rounds': rounds,
}
"""figures that need nothing but nodes, by their name on the command line"""


def _title(process: Any) -> str:
    label = f' "{process.label}"' if process.label else ''
    return f'{KINDS[process.process_label].capitalize()} {process.pk}{label}'.replace('$', r'\$')


def _evaluate(source: Any, function: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """Return part → function of the tensors (n, 3, 3), of the parts that the model predicts, read in blocks.

    :raises ValueError: a node without predictions
    """
    if isinstance(source, Predictions):
        found = {part: function(getattr(source, part)) for part in PARTS}
    else:
        if isinstance(source, orm.ProcessNode) and 'predictions' in source.outputs:
            source = source.outputs.predictions
        if not isinstance(source, PredictionsData):
            raise ValueError(f'node {source.pk} has no predictions; give predictions, or a process that returns them')
        with source.open_rows() as file:
            blocks = {part: list(map(function, file.column(part))) for part in PARTS}
        found = {part: np.concatenate(values) for part, values in blocks.items()}
    return {part: values for part, values in found.items() if np.isfinite(values).any()} or {'total': found['total']}


def _is_evaluation(source: Any) -> bool:
    return isinstance(source, orm.ProcessNode) and source.process_label == 'EvaluateWorkChain'


def _evaluated(process: Any) -> tuple[np.ndarray, np.ndarray, Predictions]:
    """Return predicted tensors and labels (n, 3, 3, 3) of an evaluation, and its predictions of these rows.

    :raises ValueError: the evaluation has no predictions
    """
    if 'predictions' not in process.outputs:
        raise ValueError(f'evaluation {process.pk} has no predictions; print its log with `verdi process report`')
    table, data = process.outputs.predictions.predictions, process.inputs.dataset.dataset
    keys = zip(data.crystals.ids.tolist(), data.crystals.hashes.tolist(), strict=True)
    places = {key: row for row, key in enumerate(keys)}
    rows = [places[key] for key in zip(table.ids.tolist(), table.hashes.tolist(), strict=True)]
    use = data.trainable[rows] & ~table.failed
    table, labelled = table.take(np.flatnonzero(use)), data.take(np.asarray(rows)[use])
    predicted = np.stack([getattr(table, part) for part in PARTS], axis=1)
    return predicted, np.stack([getattr(labelled, part) for part in PARTS], axis=1), table

"""From trained networks to a model: calibration of the uncertainty, metrics, and the model card."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from aiida_goectp.core.dielectric.coverage import QUANTITIES, coverage_by_target
from aiida_goectp.core.dielectric.metrics import table
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.committee_output import committee_output
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.state import TARGETS
from aiida_goectp.core.learning.train import LabelledGraphs
from aiida_goectp.core.learning.uncertainty import CommitteeOutput, calibrate, calibrate_lowest, deviations
from aiida_goectp.core.network.checkpoint import LoadedModel
from aiida_goectp.core.network.model import Network

__all__ = (
    'MIN_CALIBRATION_ROWS',
    'calibrate_committee',
    'coverage',
    'dataset_output',
    'evaluate_model',
    'stacked_labels',
    'trained_on',
    'training_hash',
)

_LIKE_TRAINING = 0.995
"""share of the validation rows that are not flagged as unlike the training set"""
_LOWEST = 'lowest_eigenvalue'
"""entry of the calibration on which the probability of stability depends"""
MIN_CALIBRATION_ROWS = 30
"""validation rows below which a model states no calibrated uncertainty"""


def calibrate_committee(
    networks: list[Network],
    parts: dict[str, Dataset],
    settings: TrainSettings,
    *,
    device: str = 'cpu',
    name: str,
    data: str,
    functional: str,
    licence: str = '',
    citation: str = '',
    notes: str = '',
    parent: str | None = None,
    inherited: LoadedModel | None = None,
    known: Sequence[int] = (),
) -> tuple[list[Network], ModelCard]:
    """Calibrate the uncertainty on the validation rows, evaluate on the test rows, and return the model card.

    :param parts: train, validation and test; the latter two may be empty or missing
    :param data: origin of the rows, for the card
    :param parent: content hash of the initial model
    :param inherited: the initial model, from whose members these were fine-tuned: k-th network from the k-th member,
        modulo their number. With fewer than :data:`MIN_CALIBRATION_ROWS` validation rows its calibration is kept, and
        its training rows count for the whitening; without any, as after a final training on all rows, its metrics are
        quoted as those of the parent. Its calibration of the stability is kept if too few validation rows have force
        constants
    :param known: atomic numbers of earlier training sets, of the initial model or of the members
    :return: the networks with their whitening, and the card
    """
    training = _trainable(parts['train'])
    architectures = [network.architecture for network in networks]
    card = ModelCard(
        name=name,
        preset=settings.preset,
        architecture=networks[0].architecture,
        architectures=architectures if any(item != architectures[0] for item in architectures) else [],
        targets=list(TARGETS),
        members=len(networks),
        elements=sorted({*np.unique(training.crystals.atomic_numbers).tolist(), *known}),
        functional=functional,
        training=_training_record(parts, settings, data, parent),
        licence=licence,
        citation=citation,
        notes=notes,
    )
    model = LoadedModel(card, torch.nn.ModuleList(networks).eval(), '').to(device)
    validation = parts.get('validation', training.take([]))
    few = len(validation) < MIN_CALIBRATION_ROWS
    if few and len(validation) and inherited is not None and not inherited.card.uncertainty:
        inherited = None
    _set_whitening(model, LabelledGraphs.from_dataset(training, settings), device, inherited if few else None)
    if few:
        _inherit_uncertainty(card, inherited, with_metrics=not len(validation))
    else:
        _set_uncertainty(model, validation, settings, device, inherited)
    for part in ('validation', 'test'):
        if part in parts and len(parts[part]):
            card.metrics[part] = evaluate_model(model, parts[part], settings, device)
    return [network.cpu() for network in networks], card


def _set_uncertainty(
    model: LoadedModel,
    validation: Dataset,
    settings: TrainSettings,
    device: str,
    inherited: LoadedModel | None,
) -> None:
    """Write the calibration on the validation rows to the card."""
    card = model.card
    output = dataset_output(model, validation, settings, device)
    limit = np.sort(output.leverage)[math.ceil(_LIKE_TRAINING * len(output.leverage)) - 1]
    card.uncertainty = {**calibrate(output, stacked_labels(validation)), 'unlike_above': float(limit)}
    lattice = LabelledGraphs.from_dataset(validation, settings).lattice
    if output.lowest is not None and lattice is not None:
        factors = calibrate_lowest(output, lattice.lowest_eigenvalues())
        earlier = [] if inherited is None else inherited.card.uncertainty.get(_LOWEST, [])
        if earlier and not factors:
            card.training['calibration_of_parent'] = [_LOWEST]
        card.uncertainty[_LOWEST] = factors or earlier


def _inherit_uncertainty(card: ModelCard, inherited: LoadedModel | None, with_metrics: bool) -> None:
    """Write the calibration of the inherited model to the card, if there is one."""
    if inherited is None:
        return
    card.uncertainty = inherited.card.uncertainty
    if card.uncertainty:
        card.training['calibration_of_parent'] = sorted(card.uncertainty)
    if with_metrics:
        card.metrics.update({f'{part} of the parent': metrics for part, metrics in inherited.card.metrics.items()})


def _training_record(
    parts: dict[str, Dataset], settings: TrainSettings, data: str, parent: str | None
) -> dict[str, Any]:
    """Return the record of the training in the model card."""
    return {
        'data': data,
        'rows': {part: len(rows) for part, rows in parts.items()},
        'hash': training_hash(_trainable(parts['train'])),
        'settings': settings.model_dump(),
        **({'parent': parent} if parent else {}),
    }


def _trainable(data: Dataset) -> Dataset:
    return data.take(np.flatnonzero(data.trainable))


def training_hash(training: Dataset) -> str:
    """Return a hash of the crystals of a training set, independent of their order."""
    return hashlib.sha256('\n'.join(sorted(training.crystals.hashes)).encode()).hexdigest()


def trained_on(models: Sequence[LoadedModel], training: Dataset | None = None) -> np.ndarray | None:
    """Return the fingerprints (k,) of the crystals that networks were trained on, see :func:`.crystal_fingerprints`.

    :param models: from which the networks are, or with whose weights their training began; None is returned if the
        crystals of one are unknown
    :param training: training rows, in addition
    """
    found = [np.zeros(0, np.uint64) if training is None else crystal_fingerprints(_trainable(training).crystals)]
    for model in models:
        if model.trained_on is None:
            return None
        found.append(model.trained_on)
    return np.unique(np.concatenate(found))


def dataset_output(model: LoadedModel, data: Dataset, settings: TrainSettings, device: str = 'cpu') -> CommitteeOutput:
    """Return the output of each member for labelled crystals, with the functional of each label as input."""
    batches = LabelledGraphs.from_dataset(data, settings).batches(device)
    return CommitteeOutput.concatenate([committee_output(model, batch, functional) for batch, functional in batches])


def stacked_labels(data: Dataset) -> np.ndarray:
    """Return the (n, 3, 3, 3) electronic, ionic and total labels."""
    return np.stack([data.electronic, data.ionic, data.total], axis=1)


def evaluate_model(model: LoadedModel, data: Dataset, settings: TrainSettings, device: str = 'cpu') -> dict[str, Any]:
    """Return the metrics of a model on labelled crystals, and the coverage of its intervals if it is calibrated."""
    output = dataset_output(model, data, settings, device)
    mean = output.mean
    metrics: dict[str, Any] = dict(
        table(
            {name: mean[:, place] for place, name in enumerate(TARGETS)},
            {name: getattr(data, name) for name in TARGETS},
        )
    )
    if model.card.uncertainty:
        metrics['coverage_90'] = coverage(output, stacked_labels(data), model.card.uncertainty)
    return metrics


def coverage(output: CommitteeOutput, labels: np.ndarray, calibration: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the share (%) of rows whose label lies in the stated 90 % interval, by target and quantity.

    :param labels: (c, 3, 3, 3) as :func:`stacked_labels` returns them
    :param calibration: as :func:`.calibrate` returns it
    """
    std = deviations(output, calibration)
    found = coverage_by_target(output.mean, labels, {name: getattr(std, name) for name in QUANTITIES})
    return {target: shares for target, shares in found.items() if target in calibration}


@torch.no_grad()
def _set_whitening(model: LoadedModel, training: LabelledGraphs, device: str, inherited: LoadedModel | None) -> None:
    """Set the whitening of the features of each network over the training rows.

    With an inherited calibration, the training rows of that model count as well: the calibration belongs to its
    whitening, and nearly every crystal would have a large leverage over a few rows.
    """
    for member, network in enumerate(model.members):
        width, count = network.feature_width, 0
        second = torch.zeros(width, width, dtype=torch.float64)
        for batch, functional in training.batches(device):
            features = network.features(batch, functional=functional).double().cpu()
            second += features.T @ features
            count += len(features)
        if (
            inherited is not None
            and (earlier := inherited.members[member % len(inherited.members)].whitening) is not None
        ):
            rows = int(inherited.card.training.get('rows', {}).get('train', 0))
            second, count = second + rows * _second_moment(earlier), count + rows
        second /= count
        second += torch.eye(width) * (1e-6 * second.trace() / width)  # there may be fewer features than channels
        whitening = torch.linalg.inv(torch.linalg.cholesky(second)) / math.sqrt(width)
        network.whitening = whitening.float().to(device)


def _second_moment(whitening: torch.Tensor) -> torch.Tensor:
    """Return the mean of f fᵀ over the features f (n, C) from which a whitening (C, C) was computed."""
    factor = torch.linalg.inv(whitening.double().cpu() * math.sqrt(len(whitening)))
    return factor @ factor.T

"""From trained networks to a model: how sure it is, how well it does, and its card."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.coverage import QUANTITIES, shares_within
from aiida_goectp.core.dielectric.metrics import table
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.predict import raw_outputs
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.state import TARGETS
from aiida_goectp.core.learning.train import functional_places
from aiida_goectp.core.learning.uncertainty import Raw, calibrate, deviations
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel
from aiida_goectp.core.network.model import GoeCTP
from aiida_goectp.core.network.preparation import GraphArrays, prepare

__all__ = ('FEWEST', 'calibrate_committee', 'coverage', 'judge', 'raw_of', 'training_hash')

_UNLIKE = 0.995
"""share of the validation rows that count as like the training set"""
FEWEST = 30
"""validation rows without which no uncertainty is stated"""


def calibrate_committee(
    networks: list[GoeCTP],
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
) -> tuple[list[GoeCTP], ModelCard]:
    """Calibrate the uncertainty on the validation rows, judge on the test rows, and write the card.

    :param parts: train, validation and test; the latter two may be empty or missing
    :param data: where the rows come from, for the card
    :param parent: content hash of the model that the training began with
    :param inherited: that model: where no validation rows are left to calibrate on, because the last training takes all
        rows, its calibration holds, what it learnt from counts as known, and its figures stand in the card as those of
        the parent
    :param known: atomic numbers of what was learnt before: of the model that the training began with, of the members
    :return: the networks, with what their uncertainty needs, and the card
    """
    training = parts['train'].take(np.flatnonzero(parts['train'].trainable))
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
        training={
            'data': data,
            'rows': {part: len(rows) for part, rows in parts.items()},
            'hash': training_hash(training),
            'settings': settings.model_dump(),
            **({'parent': parent} if parent else {}),
        },
        licence=licence,
        citation=citation,
        notes=notes,
    )
    model = LoadedModel(card, torch.nn.ModuleList(networks).eval(), '').to(device)
    held = parts.get('validation')
    if (held is not None and len(held)) or (inherited is not None and inherited.card.members != len(networks)):
        inherited = None
    _learn_leverage(model, prepare(training.crystals, settings.preset), settings, training, device, inherited)
    _learn_errors(model, held, settings, device, inherited)
    for part in ('validation', 'test'):
        if part in parts and len(parts[part]):
            card.metrics[part] = judge(model, parts[part], settings, device)
    return [network.cpu() for network in networks], card


def _learn_errors(
    model: LoadedModel, held: Dataset | None, settings: TrainSettings, device: str, inherited: LoadedModel | None
) -> None:
    """Write into the card how its deviations follow from what the members say."""
    card = model.card
    if held is not None and len(held) >= FEWEST:
        raw, labels = raw_of(model, held, settings, device), labels_of(held)
        limit = np.sort(raw.leverage)[math.ceil(_UNLIKE * len(raw.leverage)) - 1]
        card.uncertainty = {**calibrate(raw, labels), 'unlike_above': float(limit)}
    elif inherited is not None:
        card.uncertainty = inherited.card.uncertainty
        card.metrics.update({f'{part} of the parent': figures for part, figures in inherited.card.metrics.items()})


def training_hash(training: Dataset) -> str:
    """Return what tells whether two trainings saw the same crystals."""
    return hashlib.sha256('\n'.join(sorted(training.crystals.hashes)).encode()).hexdigest()


def raw_of(model: LoadedModel, data: Dataset, settings: TrainSettings, device: str = 'cpu') -> Raw:
    """Return what each member says of labelled crystals, told the functional of each label."""
    graphs, places = prepare(data.crystals, settings.preset), functional_places(data, settings.functionals)
    chunks = []
    for rows in _portions(graphs):
        told = torch.from_numpy(places[rows]).to(device)
        chunks.append(raw_outputs(model, GraphBatch.from_arrays(graphs.take(rows)).to(device), told))
    members = np.concatenate([chunk.members for chunk in chunks], axis=1)
    return Raw(members, *(np.concatenate([chunk[k] for chunk in chunks]) for k in (1, 2)))


def labels_of(data: Dataset) -> np.ndarray:
    """Return the (n, 3, 3, 3) electronic, ionic and total labels."""
    return np.stack([data.electronic, data.ionic, data.total], axis=1)


def judge(model: LoadedModel, data: Dataset, settings: TrainSettings, device: str = 'cpu') -> dict[str, Any]:
    """Return the metrics of a model on labelled crystals, and the coverage of its intervals where it states any."""
    raw = raw_of(model, data, settings, device)
    mean = raw.members.mean(axis=0)
    found: dict[str, Any] = dict(
        table({name: mean[:, place] for place, name in enumerate(TARGETS)}, {t: getattr(data, t) for t in TARGETS})
    )
    if model.card.uncertainty:
        found['coverage_90'] = coverage(raw, labels_of(data), model.card.uncertainty)
    return found


def coverage(raw: Raw, labels: np.ndarray, calibration: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the share (%) of rows whose label lies in the stated 90 % interval, by target and quantity."""
    sure, found = deviations(raw, calibration), dict[str, dict[str, float]]()
    for place, target in enumerate(('electronic', 'ionic', 'total')):
        if target in calibration:
            known = np.isfinite(labels[:, place]).all(axis=(1, 2))
            found[target] = shares_within(
                raw.members.mean(axis=0)[known, place],
                labels[known, place],
                {name: getattr(sure, name)[known, place] for name in QUANTITIES},
            )
    return found


@torch.no_grad()
def _learn_leverage(
    model: LoadedModel,
    graphs: GraphArrays,
    settings: TrainSettings,
    training: Dataset,
    device: str,
    inherited: LoadedModel | None,
) -> None:
    """Give each network the whitening of its features over the training rows.

    With an inherited calibration those of the rows before count as well: it was made for their whitening, and by a few
    rows alone nearly everything would be far from what is known.
    """
    places = functional_places(training, settings.functionals)
    for member, network in enumerate(model.members):
        width, count = network.backbone.width, 0
        second = torch.zeros(width, width, dtype=torch.float64)
        for rows in _portions(graphs):
            batch = GraphBatch.from_arrays(graphs.take(rows)).to(device)
            features = network.features(batch, functional=torch.from_numpy(places[rows]).to(device)).double().cpu()
            second += features.T @ features
            count += len(features)
        if inherited is not None and (before := inherited.members[member].whitening) is not None:
            known = int(inherited.card.training.get('rows', {}).get('train', 0))
            second, count = second + known * _second_moment(before), count + known
        second /= count
        second += torch.eye(width) * (1e-6 * second.trace() / width)  # features may be fewer than channels
        whitening = torch.linalg.inv(torch.linalg.cholesky(second)) / math.sqrt(width)
        network.whitening = whitening.float().to(device)


def _second_moment(whitening: torch.Tensor) -> torch.Tensor:
    """Return the mean of f fᵀ over the features f (n, C) that a whitening (C, C) was made from."""
    factor = torch.linalg.inv(whitening.double().cpu() * math.sqrt(len(whitening)))
    return factor @ factor.T


def _portions(graphs: GraphArrays) -> list[np.ndarray]:
    return np.array_split(np.arange(len(graphs)), max(1, math.ceil(len(graphs) / 64)))

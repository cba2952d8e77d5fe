"""Conformance check for backbones, to be called from the tests of the package that adds a backbone.

It needs no test framework::

    from aiida_goectp.core.network.conformance import check_backbone


    def test_conformance():
        check_backbone(MyBackbone, width=16)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import numpy as np
import torch

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.equivalent import DESCRIPTIONS, random_orthogonal, rotate
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.network.backbone import BACKBONES, Backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import load_model, save_model
from aiida_goectp.core.network.model import GoeCTP, Network
from aiida_goectp.core.network.preparation import prepare
from aiida_goectp.core.network.symmetrise import mean_by

__all__ = ('ConformanceError', 'Rule', 'check_backbone', 'example_crystals')

_TARGETS = ['electronic', 'ionic']


class Rule(str, Enum):
    """Rules for a backbone; tensors are those of a network of preset ``goectp`` with this backbone."""

    FEATURES = 'features'
    """The result is a finite tensor (N, width) of the dtype of the batch."""
    VARIATION = 'variation'
    """Different crystals have different features."""
    EDGE_DIRECTION = 'edge_direction'
    """Features stay the same if source and target of an edge are exchanged and its cosines change sign."""
    INVERSION = 'inversion'
    """Features stay the same if all cosines change sign."""
    ROTATION = 'rotation'
    """Tensors rotate with the crystal."""
    REFLECTION = 'reflection'
    """Tensors are reflected with the crystal."""
    ORIGIN = 'origin'
    """Tensors do not depend on the origin, nor on the cell in which each atom is given."""
    ATOM_ORDER = 'atom_order'
    """Tensors do not depend on the order of the atoms."""
    CELL = 'cell'
    """Tensors do not depend on the choice of lattice vectors."""
    SUPERCELL = 'supercell'
    """Tensors of a supercell are those of the primitive cell."""
    BATCH = 'batch'
    """Tensors of a crystal do not depend on the other crystals of the batch."""
    CHECKPOINT = 'checkpoint'
    """A model file gives the same tensors after reading."""
    GRADIENTS = 'gradients'
    """In training mode the gradients of all parameters are finite, and some of the backbone are not zero."""


class ConformanceError(AssertionError):
    """A backbone breaks a rule.

    :param rule: the rule
    :param message: what was found
    """

    def __init__(self, rule: Rule, message: str) -> None:
        super().__init__(f'{rule.value}: {message}')
        self.rule = rule


def check_backbone(
    backbone: str | Callable[..., Backbone],
    crystals: Sequence[Crystal] | None = None,
    *,
    tolerance: float = 1e-8,
    seed: int = 0,
    **options: Any,
) -> dict[Rule, float]:
    """Check a backbone against every :class:`Rule`, with random weights and in double precision.

    :param backbone: a key of :data:`.BACKBONES`, or a class or function that returns a backbone
    :param crystals: crystals to compute; :func:`example_crystals` by default
    :param tolerance: largest deviation, relative to the largest element of the tensor or of all features
    :param seed: of the weights and of the transformations of the crystals
    :param options: options of the backbone
    :return: largest deviation for each rule that compares results
    :raises ConformanceError: at the first broken rule
    :raises ValueError: unknown backbone or invalid options
    """
    rows = example_crystals() if crystals is None else list(crystals)
    batch = GraphBatch.from_arrays(prepare(rows), torch.float64)
    with _registered(backbone) as name:
        network = _random_network(name, options, seed)
        features = _check_features(network, batch)
        deviations = {
            Rule.EDGE_DIRECTION: _deviation(network.backbone(_with_edges_reversed(batch)), features).max(),
            Rule.INVERSION: _deviation(network.backbone(replace(batch, cosines=-batch.cosines)), features).max(),
        }
        _check_deviations(deviations, tolerance)
        deviations |= _symmetry_deviations(network, rows, np.random.default_rng(seed))
        deviations[Rule.CHECKPOINT] = _checkpoint_deviation(network, rows)
        _check_deviations(deviations, tolerance)
        _check_gradients(network, batch)
    return {rule: float(value) for rule, value in deviations.items()}


def example_crystals() -> list[Crystal]:
    """Return five crystals of different symmetry; the fourth has 24 frames."""
    fcc = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    hexagonal = np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, 1]])
    x, u = 0.3053, 0.382
    rutile = [[0, 0, 0], [0.5] * 3, [x, x, 0], [-x, -x, 0], [0.5 + x, 0.5 - x, 0.5], [0.5 - x, 0.5 + x, 0.5]]
    wurtzite = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, u], [2 / 3, 1 / 3, 0.5 + u]]
    triclinic = [[0, 0, 0], [0.31, 0.44, 0.52], [0.72, 0.13, 0.61], [0.45, 0.81, 0.17]]
    rows: dict[str, tuple[Any, list[int], Any]] = {
        'GaAs': (fcc * 5.653, [31, 33], [[0, 0, 0], [0.25] * 3]),
        'TiO2': (np.diag([4.594, 4.594, 2.959]), [22, 22, 8, 8, 8, 8], rutile),
        'AlN': (hexagonal * [[3.112], [3.112], [4.982]], [13, 13, 7, 7], wurtzite),
        'general positions in a cubic cell': (np.eye(3) * 5.0, [26, 16], [[0, 0, 0], [0.11, 0.23, 0.37]]),
        'triclinic': ([[4.1, 0, 0], [0.7, 4.9, 0], [-0.4, 0.9, 5.7]], [38, 22, 8, 9], triclinic),
    }
    return [
        Crystal(name, np.array(lattice, dtype=np.float64), np.array(numbers, np.int16), np.array(positions))
        for name, (lattice, numbers, positions) in rows.items()
    ]


@contextmanager
def _registered(backbone: str | Callable[..., Backbone]) -> Iterator[str]:
    """Give the name of a backbone; a class or function is registered meanwhile, as model files refer to it by name."""
    if isinstance(backbone, str):
        yield backbone
        return
    name = 'conformance'
    BACKBONES[name] = backbone
    try:
        yield name
    finally:
        del BACKBONES[name]


def _random_network(name: str, options: dict[str, Any], seed: int) -> GoeCTP:
    """Return a network with anisotropic output, in evaluation mode; parameters initialised to zero are changed, too."""
    torch.manual_seed(seed)
    network = GoeCTP({'backbone': name, 'options': options, 'head': 'physical'}, _TARGETS).double().eval()
    layers: Any = network.head.layers
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        layers[2].weight.mul_(30)
    return network


def _check_features(network: GoeCTP, batch: GraphBatch) -> torch.Tensor:
    features = network.backbone(batch)
    shape, dtype = (len(batch.numbers), network.backbone.width), batch.lengths.dtype
    if tuple(features.shape) != shape or features.dtype != dtype:
        _fail(Rule.FEATURES, f'shape {tuple(features.shape)} and {features.dtype}; expected {shape} and {dtype}')
    if not features.isfinite().all():
        _fail(Rule.FEATURES, 'features of some atoms are not finite')
    pooled = mean_by(features, batch.atom_graph, len(batch.owners))
    if not (pooled - pooled[0]).abs().max() > 1e-6 * pooled.abs().max():
        _fail(Rule.VARIATION, 'all crystals have the same features')
    return features


def _with_edges_reversed(batch: GraphBatch) -> GraphBatch:
    """Return the batch with every second edge given in the other direction."""
    odd = torch.arange(len(batch.source)) % 2 == 1
    return replace(
        batch,
        source=torch.where(odd, batch.target, batch.source),
        target=torch.where(odd, batch.source, batch.target),
        cosines=torch.where(odd[:, None], -batch.cosines, batch.cosines),
    )


def _predict(network: Network, crystals: Sequence[Crystal]) -> torch.Tensor:
    """Return tensors, (c, targets, 3, 3)."""
    with torch.no_grad():
        return network(GraphBatch.from_arrays(prepare(crystals), torch.float64))


def _deviation(found: torch.Tensor, expected: torch.Tensor) -> np.ndarray:
    """Return the largest deviation, relative to the largest element of each tensor; of all features together."""
    rows = (len(expected), -1) if expected.ndim == 4 else (1, -1)
    difference, scale = (found - expected).detach().abs().reshape(rows), expected.detach().abs().reshape(rows)
    return (difference.amax(1) / scale.amax(1)).double().numpy()


def _symmetry_deviations(
    network: GoeCTP, crystals: Sequence[Crystal], rng: np.random.Generator
) -> dict[Rule, np.floating]:
    expected = _predict(network, crystals)
    deviations = {}
    for rule, determinant in ((Rule.ROTATION, 1), (Rule.REFLECTION, -1)):
        turn = random_orthogonal(rng)
        turn = turn * np.sign(np.linalg.det(turn)) * determinant
        found = _predict(network, [rotate(crystal, turn) for crystal in crystals])
        matrix = torch.from_numpy(turn)
        deviations[rule] = _deviation(found, matrix @ expected @ matrix.T).max()
    for name, change in DESCRIPTIONS.items():
        deviations[Rule(name)] = _deviation(_predict(network, [change(c, rng) for c in crystals]), expected).max()
    single = torch.cat([_predict(network, [crystal]) for crystal in crystals])
    deviations[Rule.BATCH] = _deviation(single, expected).max()
    return deviations


def _checkpoint_deviation(network: GoeCTP, crystals: Sequence[Crystal]) -> np.floating:
    """Return the deviation after a model file was written and read, with weights rounded to single precision."""
    network.float()
    card = ModelCard(name='conformance', preset='goectp', architecture=network.architecture, targets=_TARGETS)
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'conformance.safetensors'
        try:
            save_model(path, [network], card)
            loaded = load_model(path).members[0]
        except Exception as error:  # of the backbone's own code, among others
            raise ConformanceError(Rule.CHECKPOINT, f'{type(error).__name__}: {error}') from error
    return _deviation(_predict(loaded.double(), crystals), _predict(network.double(), crystals)).max()


def _check_deviations(deviations: dict[Rule, np.floating], tolerance: float) -> None:
    for rule, deviation in deviations.items():
        if not deviation <= tolerance:
            _fail(rule, f'relative deviation {deviation:.2g}, larger than {tolerance:g}')


def _check_gradients(network: GoeCTP, batch: GraphBatch) -> None:
    network.train()(batch).square().mean().backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    broken = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    if broken:
        _fail(Rule.GRADIENTS, f'not finite: {", ".join(broken)}')
    if not any(gradient.any() for name, gradient in gradients.items() if name.startswith('backbone.')):
        _fail(Rule.GRADIENTS, 'no parameter of the backbone has a gradient')


def _fail(rule: Rule, message: str) -> NoReturn:
    raise ConformanceError(rule, message)

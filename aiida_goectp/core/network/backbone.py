"""Base class and registry of backbones.

A backbone maps a :class:`.GraphBatch` to features of the atoms that are invariant under rotations, reflections, shifts
of the origin and permutations of the atoms. The frame makes any such network admissible (Hua et al., arXiv 2410.02372):
:class:`.GoeCTP` adds frame, head and projection onto the point group.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from aiida_goectp.core.network.batch import GraphBatch

__all__ = ('BACKBONES', 'Backbone', 'build_backbone')

_ADAPTOR = 'aiida_goectp.core.network.torch_geometric_adaptor'


class Backbone(nn.Module):
    """Base class of backbones.

    Subclasses set ``width`` and implement ``forward``. With preset ``goectp`` the features must also be even under
    inversion: they stay the same when all cosines of the batch change sign.
    :func:`aiida_goectp.core.network.conformance.check_backbone` checks this and every other rule.
    """

    width: int
    """C, number of features of an atom"""

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return features of the atoms, (N, C)."""
        raise NotImplementedError


BACKBONES: dict[str, str | Callable[..., Backbone]] = {
    'icomformer': 'aiida_goectp.core.network.icomformer:IComFormer',
    'descriptors': 'aiida_goectp.core.network.descriptors:Descriptors',
    'cgcnn': f'{_ADAPTOR}:cgcnn',
    'gatv2': f'{_ADAPTOR}:gatv2',
    'schnet': f'{_ADAPTOR}:schnet',
}
"""Name → class or function that returns a backbone, or ``module:attribute``, imported at first use."""


def build_backbone(name: str, **options: Any) -> Backbone:
    """Return a new backbone.

    :param name: a key of :data:`BACKBONES`
    :param options: arguments of the class or function registered under this name
    :raises ValueError: unknown name, or invalid options
    """
    if name not in BACKBONES:
        raise ValueError(f'backbone: unknown value {name!r}; allowed: {", ".join(sorted(BACKBONES))}')
    entry = BACKBONES[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(':')
        entry = getattr(import_module(module), attribute)
    try:
        return entry(**options)
    except TypeError as error:
        raise ValueError(f'backbone {name!r}: {error}') from error

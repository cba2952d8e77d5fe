"""What a backbone is, and which ones there are.

The frame makes any network of the canonical crystal admissible (Hua et al., arXiv 2410.02372): a backbone turns a
:class:`.GraphBatch` into numbers on atoms that no rotation, reflection, shift or reordering
changes. Everything else (frame, heads, projection) is done around it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import nn

from aiida_goectp.core.network.batch import GraphBatch

__all__ = ('BACKBONES', 'Backbone', 'build_backbone')


class Backbone(nn.Module):
    """Base class of all backbones.

    ``forward(batch)`` returns (N, width) invariant features of the atoms. To obey inversion, a backbone of preset
    ``goectp`` must give the same when all cosines of an edge change sign together.
    """

    width: int

    has_fast_path: ClassVar[bool] = False
    """whether ``forward(batch, plain=True)`` takes another route to the same numbers"""

    def forward(self, batch: GraphBatch, plain: bool = False) -> torch.Tensor:
        """Return features of the atoms.

        :param plain: take the formulas as written instead of the fast evaluation, where there are two paths
        :return: (N, width)
        """
        raise TypeError(f'{type(self).__name__} does not say how it computes atom features')


BACKBONES: dict[str, str | Callable[..., Backbone]] = {
    'icomformer': 'aiida_goectp.core.network.icomformer:IComFormer',
    'cgcnn': 'aiida_goectp.core.network.cgcnn:CrystalGraphConvolution',
    'descriptors': 'aiida_goectp.core.network.descriptors:Descriptors',
}
"""Name → class, or ``module:class`` imported when used. Add an entry to plug in another backbone."""


def build_backbone(name: str, **options: Any) -> Backbone:
    """Build a backbone by name.

    :raises ValueError: no such backbone, or options that it does not know
    """
    if name not in BACKBONES:
        raise ValueError(f'unknown backbone {name!r}; there are: {", ".join(sorted(BACKBONES))}')
    entry = BACKBONES[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(':')
        entry = getattr(import_module(module), attribute)
    try:
        return entry(**options)
    except TypeError as error:
        raise ValueError(f'backbone {name!r}: {error}') from error

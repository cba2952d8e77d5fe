"""Output heads: pooled features of a graph to tensors in the canonical frame."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

__all__ = ('HEADS', 'DensityHead', 'PhysicalHead', 'PublishedHead')


class PublishedHead(nn.Module):
    """Published head: Linear, ELU, Linear, nine unconstrained components a target.

    :param width: C
    :param targets: names of the outputs
    """

    def __init__(self, width: int, targets: list[str]) -> None:
        super().__init__()
        self.fc_out = nn.Sequential(nn.Linear(width, width), nn.ELU(), nn.Linear(width, 9 * len(targets)))

    def features(self, pooled: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return the input of the last linear map, (g, C).

        :param pooled: (g, C) features of the graphs
        :param atom_density: (g,) atoms per Å³, not used
        """
        return self.fc_out[1](self.fc_out[0](pooled))

    def forward(self, features: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return tensors in the canonical frame, (g, targets, 3, 3), from the result of :meth:`features`."""
        return self.fc_out[2](features).view(len(features), -1, 3, 3)


class PhysicalHead(nn.Module):
    """Head with physical range: the output is a polarisability volume per atom, α = S² with S symmetric.

    ε_∞ = 1 + 4π n α_el and ε_ionic = 4π n α_ion with n the number of atoms per volume: the eigenvalues of ε_∞ are ≥ 1,
    those of ε_ionic ≥ 0, and the response decreases as 1/V if vacuum is added.

    :param width: C
    :param targets: ``electronic``, ``ionic`` or both
    :raises ValueError: another target
    """

    start = {'electronic': 2.0, 'ionic': 2.8}
    """Å^1.5, initial diagonal of S: square roots of typical polarisability volumes"""

    def __init__(self, width: int, targets: list[str]) -> None:
        super().__init__()
        if unknown := set(targets) - set(self.start):
            names = ', '.join(sorted(unknown))
            raise ValueError(f'target {names}: not an output of this head; allowed: {", ".join(self.start)}')
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 6 * len(targets)))
        last: Any = self.layers[2]
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(torch.tensor([[self.start[t]] * 3 + [0.0] * 3 for t in targets]).flatten())
        self.register_buffer('offsets', torch.tensor([float(t == 'electronic') for t in targets]), persistent=False)

    offsets: torch.Tensor

    def features(self, pooled: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return the input of the last linear map, (g, C).

        :param pooled: (g, C) features of the graphs
        :param atom_density: (g,) atoms per Å³
        """
        return self.layers[1](self.layers[0](pooled))

    def forward(self, features: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return tensors in the canonical frame, (g, targets, 3, 3).

        :param features: (g, C), result of :meth:`features`
        :param atom_density: (g,) atoms per Å³
        """
        xx, yy, zz, yz, xz, xy = self.layers[2](features).view(len(features), -1, 6).unbind(-1)
        root = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=-1).unflatten(-1, (3, 3))
        response = 4 * math.pi * atom_density[:, None, None, None] * (root @ root)
        return response + self.offsets[:, None, None] * torch.eye(3, dtype=root.dtype, device=root.device)


class DensityHead(PhysicalHead):
    """:class:`PhysicalHead` with the density of atoms as an additional input.

    Across layers 1 − 1/ε is proportional to the density, not ε − 1, so α depends on the distance between layers.
    """

    usual_density = 0.06
    """atoms per Å³, near the mean of inorganic crystals; the input is the logarithm of the ratio to it"""

    def __init__(self, width: int, targets: list[str]) -> None:
        super().__init__(width, targets)
        self.dilution = nn.Linear(1, width, bias=False)  # the name is part of model files

    def features(self, pooled: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return the input of the last linear map, (g, C); see :meth:`PhysicalHead.features`."""
        density = torch.log(atom_density / self.usual_density).unsqueeze(1)
        return self.layers[1](self.layers[0](pooled) + self.dilution(density))


HEADS: dict[str, type[PublishedHead] | type[PhysicalHead]] = {
    'published': PublishedHead,
    'physical': PhysicalHead,
    'diluted': DensityHead,
}
"""Name in model cards → class"""

"""From pooled features to tensors in the canonical frame."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

__all__ = ('HEADS', 'DilutedHead', 'PhysicalHead', 'PublishedHead')


class PublishedHead(nn.Module):
    """Nine free numbers a target, as published: Linear, ELU, Linear.

    :param width: of the pooled features
    :param targets: names; the first is the authors' single output
    """

    def __init__(self, width: int, targets: list[str]) -> None:
        super().__init__()
        self.fc_out = nn.Sequential(nn.Linear(width, width), nn.ELU(), nn.Linear(width, 9 * len(targets)))

    def features(self, pooled: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return what the last linear map reads, (g, C), from pooled features (g, C)."""
        return self.fc_out[1](self.fc_out[0](pooled))

    def forward(self, features: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return (g, targets, 3, 3) from the features (g, C) of :meth:`features`."""
        return self.fc_out[2](features).view(len(features), -1, 3, 3)


class PhysicalHead(nn.Module):
    """Tensors with a physical range, from a polarisability volume per atom.

    ε_∞ = 1 + 4π n α_el and ε_ionic = 4π n α_ion, n the number of atoms per volume and α = S², S symmetric: so the
    eigenvalues of ε_∞ are ≥ 1 and those of ε_ionic ≥ 0, and empty space dilutes the response as 1/V.

    :param width: of the pooled features
    :param targets: names, of ``electronic`` and ``ionic``
    """

    start = {'electronic': 2.0, 'ionic': 2.8}
    """Å^1.5; square roots of typical polarisability volumes, where training begins"""

    def __init__(self, width: int, targets: list[str]) -> None:
        super().__init__()
        if unknown := set(targets) - set(self.start):
            raise ValueError(f'the physical head knows electronic and ionic, not {", ".join(sorted(unknown))}')
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 6 * len(targets)))
        last: Any = self.layers[2]
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(torch.tensor([[self.start[t]] * 3 + [0.0] * 3 for t in targets]).flatten())
        self.register_buffer('offsets', torch.tensor([float(t == 'electronic') for t in targets]), persistent=False)

    offsets: torch.Tensor

    def features(self, pooled: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return what the last linear map reads, (g, C), from pooled features (g, C) and atoms per Å³ (g,)."""
        return self.layers[1](self.layers[0](pooled))

    def forward(self, features: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return (g, targets, 3, 3) from the features (g, C) of :meth:`features` and atoms per Å³ (g,)."""
        xx, yy, zz, yz, xz, xy = self.layers[2](features).view(len(features), -1, 6).unbind(-1)
        root = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=-1).unflatten(-1, (3, 3))
        response = 4 * math.pi * atom_density[:, None, None, None] * (root @ root)
        return response + self.offsets[:, None, None] * torch.eye(3, dtype=root.dtype, device=root.device)


class DilutedHead(PhysicalHead):
    """A :class:`PhysicalHead` that is told how dense the crystal is.

    Across layers 1 − 1/ε goes with the density, not ε − 1, so α itself must change as the layers part.
    """

    usual_density = 0.06
    """atoms per Å³, near the mean of inorganic crystals"""

    def __init__(self, width: int, targets: list[str]) -> None:
        super().__init__(width, targets)
        self.dilution = nn.Linear(1, width, bias=False)

    def features(self, pooled: torch.Tensor, atom_density: torch.Tensor) -> torch.Tensor:
        """Return what the last linear map reads, (g, C), from pooled features (g, C) and atoms per Å³ (g,)."""
        density = torch.log(atom_density / self.usual_density).unsqueeze(1)
        return self.layers[1](self.layers[0](pooled) + self.dilution(density))


HEADS: dict[str, type[PublishedHead] | type[PhysicalHead]] = {
    'published': PublishedHead,
    'physical': PhysicalHead,
    'diluted': DilutedHead,
}

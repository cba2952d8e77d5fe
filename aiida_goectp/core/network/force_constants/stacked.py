"""Networks of a committee as one network, for small batches, where the calls of torch take longer than its arithmetic.

The members have the same architecture and see the same crystals. The batch holds the crystals once for each member,
member by member; each linear function, normalisation and embedding applies the weights of a member to its part, and all
other operations do not know of members.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.force_constants.batch import copied
from aiida_goectp.core.network.force_constants.linear import stacked_linear
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork
from aiida_goectp.core.network.force_constants.response import LatticeResponse
from aiida_goectp.core.network.symmetrise import NetworkOutput, leverage_of

__all__ = ('StackedNetworks', 'can_be_stacked')


class _Linear(nn.Module):
    """The linear functions of k members."""

    def __init__(self, members: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = torch.stack([member.weight.detach() for member in members])
        biases = [member.bias.detach() for member in members if member.bias is not None]
        self.bias = torch.stack(biases) if biases else None
        self.transposed, self.shift = self.weight.mT, None if self.bias is None else self.bias[:, None]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs, (k n, …, out)."""
        return stacked_linear(inputs, self.transposed, self.shift)


class _LayerNorm(nn.Module):
    """The normalisations of k members."""

    def __init__(self, members: Sequence[nn.LayerNorm]) -> None:
        super().__init__()
        self.shape, self.eps = members[0].normalized_shape, members[0].eps
        self.weight = torch.stack([member.weight.detach() for member in members])[:, None]
        self.bias = torch.stack([member.bias.detach() for member in members])[:, None]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the normalised inputs, (k n, F)."""
        normed = nn.functional.layer_norm(inputs, self.shape, eps=self.eps).unflatten(0, (len(self.weight), -1))
        return torch.addcmul(self.bias, normed, self.weight).flatten(0, 1)


class _Embedding(nn.Module):
    """The embeddings of k members."""

    def __init__(self, members: Sequence[nn.Embedding]) -> None:
        super().__init__()
        self.weight = torch.cat([member.weight.detach() for member in members])
        self.rows = len(members[0].weight)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the rows of the indices, (k n, F)."""
        first = torch.arange(0, len(self.weight), self.rows, device=indices.device)
        return self.weight[(indices.unflatten(0, (len(first), -1)) + first[:, None]).flatten()]


_KINDS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Linear: _Linear,
    nn.LayerNorm: _LayerNorm,
    nn.Embedding: _Embedding,
}


def can_be_stacked(networks: Sequence[nn.Module]) -> bool:
    """Return whether networks are several of preset ``force_constants`` of equal architecture, without functionals."""
    first = networks[0]
    return (
        len(networks) > 1
        and isinstance(first, ForceConstantNetwork)
        and not first.functionals
        and all(network.architecture == first.architecture for network in networks)
    )


class StackedNetworks:
    """The members of a committee, evaluated together. Their weights are copied: later changes have no effect.

    :param networks: of which :func:`can_be_stacked` is true, in evaluation mode
    :raises TypeError: a module with weights of its own has no counterpart here
    """

    def __init__(self, networks: Sequence[ForceConstantNetwork]) -> None:
        self.whitenings = [network.whitening for network in networks]
        self.network = copy.deepcopy(networks[0])
        self.network.whitening = None
        modules = [dict(network.named_modules()) for network in networks]
        for name, module in modules[0].items():
            if type(module) in _KINDS:
                self.network.set_submodule(name, _KINDS[type(module)]([members[name] for members in modules]))
            elif next(module.parameters(recurse=False), None) is not None:
                raise TypeError(f'{name}: {type(module).__name__} has weights and cannot be stacked')

    @torch.no_grad()
    def evaluate(self, batch: GraphBatch) -> list[NetworkOutput]:
        """Return the output of each member; equal to that of the member alone to rounding."""
        copies = len(self.whitenings)
        assert batch.cells is not None
        repeated = replace(
            batch,
            projectors=copied(batch.projectors, copies),
            vacuum=copied(batch.vacuum, copies),
            cells=batch.cells.repeated(copies),
        )
        output = self.network.evaluate(repeated)
        response, soft_modes = output.response, output.soft_modes
        assert response is not None
        assert soft_modes is not None
        parts = zip(
            self.whitenings,
            output.tensors.chunk(copies),
            soft_modes.chunk(copies),
            zip(*(matrices.chunk(copies) for matrices in response.force_constants), strict=True),
            response.born_charges.chunk(copies),
            response.electronic.chunk(copies),
            response.features.chunk(copies),
            strict=True,
        )
        return [
            NetworkOutput(
                tensors,
                leverage_of(features, whitening),
                modes,
                LatticeResponse(list(matrices), charges, electronic, features),
            )
            for whitening, tensors, modes, matrices, charges, electronic, features in parts
        ]

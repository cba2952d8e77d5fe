"""Linear functions, of one network or of several stacked ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ('joined_linear', 'linear', 'parallel_linear', 'stacked_linear')


def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return a linear function of the last index.

    :param inputs: (n, …, in), or (k n, …, in) for k stacked networks, one after the other
    :param weight: (out, in), or (k, out, in)
    :param bias: (out,), or (k, out); None for none
    """
    if weight.dim() == 2:
        return nn.functional.linear(inputs, weight, bias)
    return stacked_linear(inputs, weight.mT, None if bias is None else bias[:, None])


def stacked_linear(inputs: torch.Tensor, transposed: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
    """Return the linear functions of k stacked networks.

    :param inputs: (k n, …, in)
    :param transposed: (k, in, out) weights
    :param shift: (k, 1, out); None for none
    """
    parts = inputs.reshape(len(transposed), -1, inputs.shape[-1])
    outputs = torch.bmm(parts, transposed) if shift is None else torch.baddbmm(shift, parts, transposed)
    return outputs.view(*inputs.shape[:-1], transposed.shape[2])  # also of no rows


def joined_linear(first: nn.Linear, second: nn.Linear, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of two linear functions, each of its own input, in one matrix product."""
    weight = torch.cat([first.weight, second.weight], dim=-1)
    return linear(torch.cat(list(inputs), dim=1), weight, first.bias + second.bias)


def parallel_linear(functions: Sequence[nn.Linear], inputs: torch.Tensor) -> torch.Tensor:
    """Return linear functions without bias of the same input, one after the other, in one matrix product."""
    return linear(inputs, torch.cat([function.weight for function in functions], dim=-2), None)

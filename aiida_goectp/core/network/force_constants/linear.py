"""Linear functions, of one network or of several stacked ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ('joined_linear', 'linear', 'parallel_linear')


def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return a linear function of the last index.

    :param inputs: (n, …, in), or (k n, …, in) for k stacked networks, one after the other
    :param weight: (out, in), or (k, out, in)
    :param bias: (out,), or (k, out); None for none
    """
    if weight.dim() == 2:
        return nn.functional.linear(inputs, weight, bias)
    parts, transposed = inputs.reshape(len(weight), -1, inputs.shape[-1]), weight.mT
    outputs = torch.bmm(parts, transposed) if bias is None else torch.baddbmm(bias[:, None], parts, transposed)
    return outputs.view(*inputs.shape[:-1], weight.shape[1])  # also of no rows


def joined_linear(first: nn.Linear, second: nn.Linear, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of two linear functions, each of its own input, in one matrix product."""
    weight = torch.cat([first.weight, second.weight], dim=-1)
    return linear(torch.cat(list(inputs), dim=1), weight, first.bias + second.bias)


def parallel_linear(functions: Sequence[nn.Linear], inputs: torch.Tensor) -> torch.Tensor:
    """Return linear functions without bias of the same input, one after the other, in one matrix product."""
    return linear(inputs, torch.cat([function.weight for function in functions], dim=-2), None)

"""Tensors as arrays, for compiled loops."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ('arrays', 'in_compiled_loops')


def in_compiled_loops(tensor: torch.Tensor) -> bool:
    """Return whether compiled loops do the work: on a CPU, where no derivatives are asked for."""
    return tensor.device.type == 'cpu' and not torch.is_grad_enabled()


def arrays(*tensors: torch.Tensor) -> list[Any]:
    """Return the memory of tensors on the CPU as contiguous arrays, copied only where it is not contiguous."""
    return [(tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy() for tensor in tensors]

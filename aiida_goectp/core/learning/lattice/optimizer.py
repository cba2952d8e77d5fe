"""Optimiser with orthogonalised updates of the matrices of a network (Muon), and AdamW for all other weights.

Muon replaces the momentum of a matrix by the nearest matrix with orthonormal rows or columns, so that all directions
of an update have the same size (K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ('Muon', 'orthogonalised')

_COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""of the quintic iteration of the reference, x → a x + b x³ + c x⁵ for each singular value x"""
_ITERATIONS = 4
_MOMENTUM = 0.95
_BETAS = 0.9, 0.999
_SMALLEST = 4
"""smallest dimension of a matrix that is orthogonalised"""
_MATRIX_RATE = 5.0
"""ratio of the learning rate of matrices, whose updates have singular values of one, to that of other weights"""


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Return matrices (k, rows, columns) with singular values near one, and the same singular vectors.

    Singular values above 0.005 of the Frobenius norm of a matrix become 0.68 to 1.21; smaller ones remain smaller.
    """
    a, b, c = _COEFFICIENTS
    x = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-12)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(_ITERATIONS):
        squares = x @ x.mT
        x = a * x + (b * squares + c * squares @ squares) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for weight matrices, AdamW for embeddings, vectors and very small matrices.

    :param network: all of whose parameters are trained
    :param lr: learning rate of AdamW; that of matrices follows from it
    :param weight_decay: decoupled, relative to the learning rate of AdamW
    """

    def __init__(self, network: nn.Module, lr: float, weight_decay: float) -> None:
        tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in network.parameters():
            is_matrix = parameter.ndim == 2 and min(parameter.shape) >= _SMALLEST and id(parameter) not in tables
            (matrices if is_matrix else others).append(parameter)
        groups: list[dict[str, Any]] = [{'params': matrices, 'matrices': True}, {'params': others, 'matrices': False}]
        super().__init__(groups, {'lr': lr, 'weight_decay': weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group['params'] if weight.grad is not None]
            if not weights:
                continue
            torch._foreach_mul_(weights, 1 - group['lr'] * group['weight_decay'])
            (self._update_matrices if group['matrices'] else self._update_others)(weights, group['lr'])

    def _update_matrices(self, weights: list[torch.Tensor], rate: float) -> None:
        by_shape: dict[torch.Size, list[torch.Tensor]] = {}
        for weight in weights:
            state = self.state[weight]
            if not state:
                state['momentum'] = torch.zeros_like(weight)
            by_shape.setdefault(weight.shape, []).append(weight)
        gradients: list[Any] = [weight.grad for weight in weights]
        torch._foreach_lerp_([self.state[weight]['momentum'] for weight in weights], gradients, 1 - _MOMENTUM)
        for (rows, columns), members in by_shape.items():
            found = torch.stack([weight.grad for weight in members if weight.grad is not None])
            momenta = torch.stack([self.state[weight]['momentum'] for weight in members])
            updates = orthogonalised(found.lerp(momenta, _MOMENTUM))
            size = _MATRIX_RATE * rate * max(1.0, rows / columns) ** 0.5
            torch._foreach_add_(members, list(updates.unbind()), alpha=-size)

    def _update_others(self, weights: list[torch.Tensor], rate: float) -> None:
        for weight in weights:
            state = self.state[weight]
            if not state:
                state.update(step=0, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
            state['step'] += 1
        first, second = _BETAS
        gradients: list[Any] = [weight.grad for weight in weights]
        states = [self.state[weight] for weight in weights]
        means, squares = [state['mean'] for state in states], [state['square'] for state in states]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        scales = torch._foreach_sqrt(torch._foreach_div(squares, [1 - second ** state['step'] for state in states]))
        torch._foreach_add_(scales, 1e-8)
        updates = torch._foreach_div(means, scales)
        torch._foreach_mul_(updates, [-rate / (1 - first ** state['step']) for state in states])
        torch._foreach_add_(weights, updates)

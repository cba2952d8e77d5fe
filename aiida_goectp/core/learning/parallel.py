"""Training of one network in several processes, one for each GPU, started by ``goectp train`` or by ``torchrun``.

The processes must take the same decisions, or one waits for ever for the others. What they compute by themselves
differs: batch normalisation sees the rows of its process, and sums on a GPU have no fixed order.

All functions also work in a single process, where they return their argument.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aiida_goectp.core.formats.names import GROUP_FOLDER
from aiida_goectp.core.learning.device import choose_device

__all__ = ('any_rank', 'is_first', 'join_group', 'leave_group', 'local_rows', 'mean', 'of_first', 'wrap')


def join_group(device: str) -> str:
    """Join the process group, if this process is one of several, and return the device of this process.

    :raises NoDeviceError: in all processes, if there are more of them on this node than GPUs
    """
    if 'LOCAL_RANK' not in os.environ or int(os.environ.get('WORLD_SIZE', '1')) < 2:
        return device
    on_gpu = device.startswith('cuda')
    own = f'cuda:{os.environ["LOCAL_RANK"]}' if on_gpu else device
    if on_gpu:
        choose_device(f'cuda:{int(os.environ["LOCAL_WORLD_SIZE"]) - 1}')
        torch.cuda.set_device(own)
    if not distributed.is_initialized():
        backend, folder = 'nccl' if on_gpu else 'gloo', os.environ.get(GROUP_FOLDER)
        if folder is None:  # torchrun has opened a port
            distributed.init_process_group(backend)
        else:
            rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
            distributed.init_process_group(backend, f'file://{folder}/group', world_size=size, rank=rank)
    return own


def leave_group() -> None:
    """Leave the process group, in all processes; the first one continues alone."""
    if _many():
        distributed.destroy_process_group()


def _many() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def is_first() -> bool:
    """Return whether this process has rank 0: the one that writes files."""
    return not _many() or distributed.get_rank() == 0


def local_rows(rows: np.ndarray) -> np.ndarray:
    """Return the rows of a batch for this process, at least two, since batch normalisation needs them."""
    if not _many():
        return rows
    rank, size = distributed.get_rank(), distributed.get_world_size()
    own = rows[rank::size]
    return own if len(own) > 1 else np.resize(rows[[*range(rank, len(rows), size), 0, -1]], 2)


def wrap(network: nn.Module, device: str) -> nn.Module:
    """Return a network whose gradients are averaged over all processes."""
    if not _many():
        return network
    ids = [device] if device.startswith('cuda') else None
    # a backbone of a single layer does not use its edge layer, and the processes would wait for its gradient
    return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=True)


def _sum(value: float | torch.Tensor) -> torch.Tensor:
    device = f'cuda:{torch.cuda.current_device()}' if distributed.get_backend() == 'nccl' else 'cpu'
    total = torch.as_tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return total


def mean(value: torch.Tensor) -> float:
    """Return the mean of a number over all processes."""
    return float(_sum(value) / distributed.get_world_size()) if _many() else float(value)


def of_first(value: float) -> float:
    """Return the number that the process of rank 0 has."""
    return float(_sum(value if is_first() else 0.0)) if _many() else value


def any_rank(condition: bool) -> bool:
    """Return whether a condition holds in any process; the same answer in all."""
    return bool(_sum(float(condition)) > 0) if _many() else condition

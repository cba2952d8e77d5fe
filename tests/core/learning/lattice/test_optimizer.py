"""Orthogonalised updates: their singular values, AdamW for the other weights, and a training that is resumed."""

import numpy as np
import pytest
import torch
from torch import nn

from aiida_goectp.core.learning.errors import TrainingInterrupted
from aiida_goectp.core.learning.lattice.optimizer import Muon, orthogonalised
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.train import train_committee
from tests.core.learning.lattice.builders import SMALL


@pytest.mark.parametrize('shape', [(12, 30), (30, 12), (16, 16)])
def test_updates_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(2, *shape, dtype=torch.float64), full_matrices=False)
    values = torch.logspace(0, -1, min(shape), dtype=torch.float64)
    found = orthogonalised(left * values @ right)
    assert 0.6 < torch.linalg.svdvals(found).min() <= torch.linalg.svdvals(found).max() < 1.3
    # the same singular vectors, to which the largest values belong
    turned = left.mT @ found @ right.mT
    torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)), atol=1e-9, rtol=0)


def test_a_zero_gradient_changes_nothing_but_by_weight_decay():
    layer = nn.Linear(8, 8, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.zeros_like(layer.weight)
    Muon(layer, 0.1, 0.5).step()
    torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.1 * 0.5))


def test_matrices_move_by_orthogonal_steps_and_other_weights_as_with_adamw():
    torch.manual_seed(1)
    network = nn.ModuleDict({'table': nn.Embedding(9, 5), 'matrix': nn.Linear(6, 12), 'row': nn.Linear(6, 1)})
    others = [network['table'].weight, network['matrix'].bias, network['row'].weight, network['row'].bias]
    copies = [nn.Parameter(weight.detach().clone()) for weight in others]
    tested, reference = Muon(network, 1e-2, 0.1), torch.optim.AdamW(copies, lr=1e-2, weight_decay=0.1)
    matrix = network['matrix'].weight
    for _ in range(4):
        for weight, copy in zip(others, copies, strict=True):
            weight.grad = copy.grad = torch.randn_like(weight)
        matrix.grad = torch.randn_like(matrix)
        before = matrix.detach().clone()
        tested.step()
        reference.step()
    for weight, copy in zip(others, copies, strict=True):
        torch.testing.assert_close(weight, copy)
    steps = torch.linalg.svdvals(matrix.detach() - before * (1 - 1e-2 * 0.1))
    assert 0.6 < steps.min() / (5e-2 * 2**0.5) <= steps.max() / (5e-2 * 2**0.5) < 1.3


def test_a_training_learns_and_a_resumed_one_gives_the_same_weights(data, tmp_path):
    settings = TrainSettings(
        preset='force_constants', options={**SMALL, 'blocks': 2, 'envelope': 6}, epochs=12, batch_size=4,
        learning_rate=5e-3, ema_decay=0.5, layer_augmentation_copies=0, optimizer='muon', ionic_loss_start=0.5,
    )  # fmt: skip
    histories = [], []
    (whole,) = train_committee(data, None, settings, report=histories[0].append)
    never = settings.model_copy(update={'ionic_loss_start': 1.0})
    train_committee(data, None, never, report=histories[1].append)
    losses, without = ([line.loss for line in history] for history in histories)
    assert losses[11] < 0.1 * losses[0]
    assert losses[:6] == without[:6]
    assert losses[6] != without[6]
    state = tmp_path / 'state'
    with pytest.raises(TrainingInterrupted):
        train_committee(data, None, settings, state_file=state, stop=lambda: True)
    (resumed,) = train_committee(data, None, settings, state_file=state)
    for name, weight in whole.state_dict().items():
        np.testing.assert_array_equal(weight, resumed.state_dict()[name], err_msg=name)

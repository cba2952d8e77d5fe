"""The plug for backbones, the second backbone, and one made here."""

import numpy as np
import pytest
import torch
from torch import nn

from aiida_goectp.core.network.backbone import BACKBONES, Backbone, build_backbone
from aiida_goectp.core.network.model import GoeCTP, mean_by
from tests.core.network.changes import CHANGES, orthogonal, rotated
from tests.core.network.test_exactness import TOLERANCE, deviation, predict


@pytest.fixture
def second():
    torch.manual_seed(2)
    architecture = {'backbone': 'cgcnn', 'options': {'width': 16, 'layers': 2, 'bins': 32}, 'head': 'physical'}
    network = GoeCTP(architecture, ['electronic', 'ionic']).double().eval()
    with torch.no_grad():
        network.head.layers[2].weight.mul_(30)
    return network


def test_second_backbone_is_exact_too(second, crystal_set):
    """Frame, averaging and projection do their work around any backbone."""
    rng = np.random.default_rng(0)
    crystals = list(crystal_set)
    expected = predict(second, crystals)
    assert np.ptp(np.linalg.eigvalsh(expected), axis=-1).max() > 0.1
    turn = orthogonal(rng)
    found = predict(second, [rotated(crystal, turn) for crystal in crystals])
    assert deviation(found, turn @ expected @ turn.T).max() < TOLERANCE
    for change in CHANGES.values():
        assert deviation(predict(second, [change(c, rng) for c in crystals]), expected).max() < TOLERANCE


class Composition(Backbone):
    """The least that a backbone can be: a number for each element."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(120, width)

    def forward(self, batch, plain=False):
        return self.embedding(batch.numbers)


def test_another_backbone_plugs_in(monkeypatch, crystal_set):
    monkeypatch.setitem(BACKBONES, 'composition', Composition)
    network = GoeCTP({'backbone': 'composition', 'head': 'physical'}, ['electronic']).double().eval()
    assert predict(network, list(crystal_set)).shape == (6, 1, 3, 3)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet'; there are: cgcnn, descriptors, icomformer"):
        build_backbone('resnet')
    with pytest.raises(ValueError, match=r"backbone 'icomformer'.*colour"):
        build_backbone('icomformer', colour='red')
    with pytest.raises(ValueError, match='unknown head'):
        GoeCTP({'backbone': 'icomformer', 'head': 'none'}, ['electronic'])
    with pytest.raises(ValueError, match='electronic and ionic, not total'):
        GoeCTP({'backbone': 'icomformer', 'head': 'physical'}, ['total'])


def test_mean_by():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = mean_by(values, torch.tensor([0, 2, 2]), 3)
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0], [0.0, 0.0], [4.0, 5.0]]))

"""The conformance check: every registered backbone passes, and each rule can fail."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aiida_goectp.core.network.backbone import BACKBONES, Backbone
from aiida_goectp.core.network.conformance import ConformanceError, Rule, check_backbone, example_crystals

OPTIONS = {
    'icomformer': {'width': 16, 'layers': 2, 'bins': 32, 'described': True},
    'descriptors': {'width': 16},
    'cgcnn': {'width': 16, 'layers': 2, 'bins': 32},
    'gatv2': {'width': 16, 'layers': 2, 'bins': 32},
    'schnet': {'width': 16, 'layers': 2, 'bins': 32},
}


@pytest.mark.parametrize('name', sorted(BACKBONES))
def test_registered_backbones_pass(name):
    deviations = check_backbone(name, **OPTIONS[name])
    assert set(deviations) == set(Rule) - {Rule.FEATURES, Rule.VARIATION, Rule.GRADIENTS}
    assert max(deviations.values()) < 1e-10


class Composition(Backbone):
    """Element embedding, the smallest admissible backbone."""

    def __init__(self, width=8):
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(120, width)

    def forward(self, batch):
        return self.embedding(batch.numbers)


class WrongWidth(Composition):
    def forward(self, batch):
        return super().forward(batch)[:, 1:]


class NotFinite(Composition):
    def forward(self, batch):
        return super().forward(batch) / 0.0


class Constant(Composition):
    def forward(self, batch):
        return self.embedding(torch.ones_like(batch.numbers))


class Directed(Composition):
    def forward(self, batch):
        own = super().forward(batch)
        return own + torch.zeros_like(own).index_add_(0, batch.target, own[batch.source])


class Odd(Composition):
    def forward(self, batch):
        own = super().forward(batch)
        source, target = torch.cat([batch.source, batch.target]), torch.cat([batch.target, batch.source])
        third = torch.cat([batch.cosines, -batch.cosines])[:, :1].relu()
        return own + torch.zeros_like(own).index_add_(0, target, third * own[source])


class Oriented(Composition):
    def forward(self, batch):
        return super().forward(batch) + batch.rotations[batch.atom_graph, :1, 0]


class Ordered(Composition):
    def forward(self, batch):
        own = super().forward(batch)
        return own * torch.arange(len(own), dtype=own.dtype)[:, None]


class Centred(Composition):
    def forward(self, batch):
        own = super().forward(batch)
        return own - own.mean(dim=0)


class Unsaved(Composition):
    def __init__(self):
        super().__init__()
        self.scale = torch.rand(())

    def forward(self, batch):
        return super().forward(batch) * self.scale


class InfiniteGradient(Composition):
    def forward(self, batch):
        own = super().forward(batch)
        return own + (own - own).sqrt()


class NoGradient(Composition):
    def forward(self, batch):
        return super().forward(batch).detach()


def test_the_smallest_backbone_passes_and_is_not_registered_afterwards():
    before = dict(BACKBONES)
    check_backbone(Composition, example_crystals()[:2], width=4)
    assert before == BACKBONES


@pytest.mark.parametrize(
    ('backbone', 'rule'),
    [
        (WrongWidth, Rule.FEATURES),
        (NotFinite, Rule.FEATURES),
        (Constant, Rule.VARIATION),
        (Directed, Rule.EDGE_DIRECTION),
        (Odd, Rule.INVERSION),
        (Oriented, Rule.ROTATION),
        (Ordered, Rule.ATOM_ORDER),
        (Centred, Rule.BATCH),
        (Unsaved, Rule.CHECKPOINT),
        (InfiniteGradient, Rule.GRADIENTS),
        (NoGradient, Rule.GRADIENTS),
    ],
)
def test_a_broken_rule_is_named(backbone, rule):
    with pytest.raises(ConformanceError) as caught:
        check_backbone(backbone)
    assert caught.value.rule is rule


def test_the_published_network_is_not_even_under_inversion():
    with pytest.raises(ConformanceError) as caught:
        check_backbone('icomformer', width=16, layers=2, bins=32, even=False)
    assert caught.value.rule is Rule.INVERSION


def test_unknown_backbones_and_options_are_refused():
    with pytest.raises(ValueError, match='resnet'):
        check_backbone('resnet')
    with pytest.raises(ValueError, match='colour'):
        check_backbone(Composition, colour='red')

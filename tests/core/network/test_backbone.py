"""Registry of backbones, adaptor for torch-geometric, and what else the network is built from."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GAT, GINEConv, GPSConv
from torch_geometric.nn.models.dimenet import DimeNet

from aiida_goectp.core.network.backbone import build_backbone
from aiida_goectp.core.network.conformance import check_backbone
from aiida_goectp.core.network.model import GoeCTP
from aiida_goectp.core.network.symmetrise import mean_by
from aiida_goectp.core.network.torch_geometric_adaptor import MessagePassingBackbone


def graph_isomorphism(width=16):
    maps = [nn.Sequential(nn.Linear(width, width), nn.SiLU()) for _ in range(2)]
    return MessagePassingBackbone([GINEConv(part, edge_dim=width) for part in maps], width, bins=32, residual=True)


def complete_network_of_the_zoo(width=16):
    network = GAT(width, width, num_layers=2, v2=True, heads=2, edge_dim=width, add_self_loops=False)
    return MessagePassingBackbone([network], width, bins=32)


def attention_over_all_atoms_of_a_graph(width=16):
    return MessagePassingBackbone([GPSConv(width, None, heads=2, norm=None)], width, bins=32)


@pytest.mark.parametrize(
    'backbone', [graph_isomorphism, complete_network_of_the_zoo, attention_over_all_atoms_of_a_graph]
)
def test_other_networks_of_torch_geometric_conform(backbone):
    assert max(check_backbone(backbone).values()) < 1e-10


def test_layers_that_require_positions_are_refused():
    network = DimeNet(8, 8, num_blocks=1, num_bilinear=2, num_spherical=2, num_radial=2)
    with pytest.raises(ValueError, match='pos'):
        MessagePassingBackbone([network], 8)


def test_edges_beyond_the_cutoff_do_not_count():
    """The envelope of SchNet is zero at the cutoff, where it would rise again."""
    x, edge_index = torch.randn(2, 8), torch.tensor([[0], [1]])
    (block,) = build_backbone('schnet', width=8, layers=1, cutoff=5.0).layers
    near, far = (block(x, edge_index, torch.tensor([d]), torch.ones(1, 8)) for d in (4.0, 5.0))
    alone = block(x, torch.zeros(2, 0, dtype=torch.long), torch.zeros(0), torch.zeros(0, 8))
    torch.testing.assert_close(far, alone)
    assert not torch.allclose(near, alone)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ValueError, match=r'resnet.*cgcnn, descriptors, gatv2, icomformer, schnet'):
        build_backbone('resnet')
    with pytest.raises(ValueError, match=r'icomformer.*colour'):
        build_backbone('icomformer', colour='red')
    with pytest.raises(ValueError, match='head'):
        GoeCTP({'backbone': 'icomformer', 'head': 'none'}, ['electronic'])
    with pytest.raises(ValueError, match='total'):
        GoeCTP({'backbone': 'icomformer', 'head': 'physical'}, ['total'])


def test_mean_by():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = mean_by(values, torch.tensor([0, 2, 2]), 3)
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0], [0.0, 0.0], [4.0, 5.0]]))

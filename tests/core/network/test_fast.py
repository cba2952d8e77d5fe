"""Fast evaluation of iComFormer: results and gradients equal those of the reference implementation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_goectp.core.network import fast_blocks
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.fast_tables import COSINES, DISTANCES
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP
from aiida_goectp.core.network.preparation import prepare
from tests.conftest import textbook

PAIRS = ('source', 'target', 'edge_graph', 'lengths', 'cosines')


def _network(even, dtype=torch.float64):
    torch.manual_seed(1)
    options = {'width': 16, 'layers': 3, 'bins': 512, 'even': even}
    network = GoeCTP({**ARCHITECTURES['goectp'], 'options': options}, ['electronic', 'ionic']).to(dtype)
    with torch.no_grad():
        network.head.layers[2].weight.mul_(30)
    return network


@pytest.fixture(scope='module')
def batches():
    arrays = prepare(textbook())
    return {dtype: GraphBatch.from_arrays(arrays, dtype) for dtype in (torch.float32, torch.float64)}


@pytest.mark.parametrize('even', [True, False])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
def test_same_results(batches, even, dtype, tolerance, monkeypatch):
    """By tensor operations, which have derivatives, and in float32 by compiled loops over more than one block."""
    monkeypatch.setattr(fast_blocks, '_BLOCK', 100 // torch.get_num_threads())
    assert len(batches[dtype].source) > 200
    network = _network(even, dtype).eval()
    operations = network(batches[dtype]).detach()
    with torch.no_grad():
        plain, loops = network(batches[dtype], plain=True), network(batches[dtype])
    for found in (operations, loops):
        assert float((plain - found).abs().max() / plain.abs().max()) < tolerance


def test_crystal_without_pairs(batches):
    """Loops over no block."""
    apart = batches[torch.float32]
    apart = replace(apart, **{name: getattr(apart, name)[:0] for name in PAIRS})
    network = _network(True, torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(apart), network(apart, plain=True))


@pytest.mark.parametrize('even', [True, False])
def test_same_gradients_and_statistics(batches, even):
    """In training mode: equal running statistics of batch norm and equal gradients of all weights."""
    results = []
    for plain in (True, False):
        network = _network(even).train()
        network(batches[torch.float64], plain=plain).square().mean().backward()
        results.append((dict(network.named_parameters()), dict(network.named_buffers())))
    (plain, plain_buffers), (fast, fast_buffers) = results
    largest = max(float(weight.grad.abs().max()) for weight in plain.values())
    for name, weight in plain.items():
        assert float((weight.grad - fast[name].grad).abs().max()) < 1e-6 * largest, name
    for name, buffer in plain_buffers.items():
        torch.testing.assert_close(buffer, fast_buffers[name], atol=1e-7, rtol=1e-7)


def test_tables_follow_the_weights(batches):
    """Cached tables are replaced if weights are changed, loaded or converted to another precision."""
    network, batch = _network(True).eval(), batches[torch.float64]
    with torch.no_grad():
        first = network(batch)
        network.backbone.rbf[1].weight.mul_(1.5)
        second = network(batch)
        torch.testing.assert_close(second, network(batch, plain=True), atol=1e-7, rtol=1e-7)
        network.load_state_dict(_network(True).state_dict())
        torch.testing.assert_close(network(batch), first)
        single = network.float()(batches[torch.float32])
    assert float((first - second).abs().max()) > 1e-3
    torch.testing.assert_close(single.double(), first, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('grid', 'low', 'high'), [(DISTANCES, -1.5, -1e-3), (COSINES, -1.0, 1.0)])
def test_interpolation_is_exact_for_cubics(grid, low, high):
    x = torch.linspace(low, high, 1000, dtype=torch.float64)
    rows, weights = grid.interpolation(x)
    points = grid.points(x)
    assert int(rows.min()) >= 0
    assert int(rows.max()) < len(points)
    for power in range(4):
        found = (points[rows] ** power * weights).sum(dim=1)
        np.testing.assert_allclose(found, x**power, atol=1e-12)

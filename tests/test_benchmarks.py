"""The builder with which ours is compared in speed builds the same graph."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.crystals.convert import to_pymatgen
from aiida_goectp.network.graph import build_graphs
from tests import tiny
from tests.conftest import textbook

FOLDER = Path(__file__).parents[1] / 'benchmarks'


@pytest.fixture(scope='module')
def published():
    specification = importlib.util.spec_from_file_location('published_graph', FOLDER / 'published_graph.py')
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize('crystal', [*textbook(), *tiny.some_crystals(8)], ids=lambda crystal: crystal.id)
def test_the_same_edges_as_often(published, crystal):
    fractional = crystal.fractional_positions - np.floor(crystal.fractional_positions)
    crystal = crystal._replace(fractional_positions=fractional)
    *theirs, references = published.published_graph(to_pymatgen(crystal))
    offsets = np.array([0, len(fractional)])
    graph = build_graphs(crystal.lattice[None], offsets, fractional, references[None], double_self_images=True)
    directed = (
        np.r_[graph.source, graph.target],
        np.r_[graph.target, graph.source],
        np.r_[graph.vectors, -graph.vectors],
    )
    ours = published.multiset(crystal.lattice, fractional, *directed)
    assert ours == published.multiset(crystal.lattice, fractional, *theirs)
    assert max(ours.values()) <= 2


def test_the_product_does_not_use_it():
    package = FOLDER.parent / 'aiida_goectp'
    assert not [path for path in package.rglob('*.py') if 'published_graph' in path.read_text(encoding='utf-8')]


def test_each_command_is_told():
    readme = (FOLDER / 'README.md').read_text(encoding='utf-8')
    for script in ('graph.py', 'predict.py'):
        assert f'python benchmarks/{script} ' in readme

"""The published reference numbers, real crystals, and networks with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.readers import read_structures
from aiida_goectp.core.network.imports import load_published_weights
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP


@pytest.fixture(scope='session')
def reference(shared):
    """Graphs and outputs of the published network."""
    with np.load(shared / 'reference' / 'goectp_reference_graphs.npz') as arrays:
        return dict(arrays)


@pytest.fixture(scope='session')
def reference_weights(shared):
    with np.load(shared / 'reference' / 'goectp_reference_weights.npz') as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope='session')
def reference_crystals(shared, reference):
    rows = json.loads((shared / 'reference' / 'goectp_reference_crystals.json').read_text())
    numbers = read_numbers(rows)
    return [
        Crystal(row['id'], reference['cell'][i], numbers[i], np.array(row['frac_coords'])) for i, row in enumerate(rows)
    ]


def read_numbers(rows):
    from ase.data import atomic_numbers

    return [np.array([atomic_numbers[s] for s in row['species']]) for row in rows]


@pytest.fixture
def published(reference_weights):
    network = GoeCTP(ARCHITECTURES['published'], ['total'])
    load_published_weights(network, reference_weights)
    return network.eval()


@pytest.fixture(scope='session')
def sharp():
    """A network of preset goectp in float64 whose random weights give strongly anisotropic tensors."""
    torch.manual_seed(7)
    options = {'width': 24, 'layers': 3, 'bins': 64}
    network = GoeCTP({**ARCHITECTURES['goectp'], 'options': options}, ['electronic', 'ionic'])
    with torch.no_grad():
        network.head.layers[2].weight.mul_(100)
    return network.double().eval()


@pytest.fixture(scope='session')
def real_crystals(shared):
    """Some dozens of real crystals of three sources, up to 40 atoms."""
    chosen = []
    for name, step in (('phonondb_born', 130), ('mp20_test', 230), ('petousis2017_mp', 90)):
        found = read_structures([shared / 'data' / f'{name}.jsonl.gz'])
        chosen += [found[row] for row in range(0, len(found), step) if found.atom_counts[row] <= 40]
    return chosen

"""Reference data of the published network, real crystals, and networks with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
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
    return [
        Crystal(row['id'], cell, np.array([ATOMIC_NUMBERS[s] for s in row['species']]), np.array(row['frac_coords']))
        for row, cell in zip(rows, reference['cell'], strict=True)
    ]


@pytest.fixture
def published(reference_weights):
    network = GoeCTP(ARCHITECTURES['published'], ['total'])
    load_published_weights(network, reference_weights)
    return network.eval()


@pytest.fixture(scope='session')
def sharp():
    """Network of preset goectp in float64 with random weights and strongly anisotropic output."""
    torch.manual_seed(7)
    options = {'width': 24, 'layers': 3, 'bins': 64}
    network = GoeCTP({**ARCHITECTURES['goectp'], 'options': options}, ['electronic', 'ionic'])
    with torch.no_grad():
        network.head.layers[2].weight.mul_(100)
    return network.double().eval()


@pytest.fixture(scope='session')
def real_crystals(shared):
    """About 80 crystals of three sources with up to 40 atoms."""
    chosen = []
    for name, step in (('phonondb_born', 130), ('mp20_test', 230), ('petousis2017_mp', 90)):
        found = read_structures([shared / 'data' / f'{name}.jsonl.gz'])
        chosen += [found[row] for row in range(0, len(found), step) if found.atom_counts[row] <= 40]
    return chosen

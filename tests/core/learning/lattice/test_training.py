"""Training of the force constant network: labels in primitive cells, loss, and a short training."""

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.equivalent import make_supercell
from aiida_goectp.core.crystals.layers import find_layers, with_vacuum_scaled
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.predictions import flag_names
from aiida_goectp.core.learning import state
from aiida_goectp.core.learning.lattice.labels import LatticeLabels
from aiida_goectp.core.learning.lattice.loss import FLOOR, lattice_loss, permittivity_weight
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.train import train_committee
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import load_model, save_model
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork
from aiida_goectp.core.network.force_constants.response import LatticeResponse, group_permittivity, ionic_permittivity
from aiida_goectp.core.network.preparation import prepare
from tests import tiny
from tests.core.crystals.builders import mos2
from tests.core.learning.lattice.builders import SMALL


def test_labels_give_the_ionic_permittivity(data):
    graphs = prepare(data.crystals, 'force_constants')
    labels = LatticeLabels.from_dataset(data, graphs.cells)
    cells = GraphBatch.from_arrays(graphs, torch.float64).cells
    batch = labels.batch(np.arange(len(data)), 'cpu')
    (group,) = cells.groups
    matrices = batch.force_constants.double()[group.blocks].permute(0, 1, 3, 2, 4).reshape(-1, 6, 6)
    response = LatticeResponse([matrices], batch.born_charges.double(), torch.zeros(len(data), 3, 3).double(), None)
    found = ionic_permittivity(response, cells, 1e-6).numpy()
    np.testing.assert_allclose(found, data.ionic, rtol=1e-5, atol=1e-9)
    soft = group_permittivity(group, cells, -matrices, response.born_charges, 0.2)
    assert torch.isfinite(soft).all()


def test_labels_of_a_supercell_are_those_of_the_primitive_cell(data):
    row = data.take([0])
    crystal = row.crystals[0]
    large = make_supercell(crystal, np.random.default_rng(3))
    cells = prepare([large], 'force_constants').cells
    # each atom of the supercell is bound to its six neighbours, of which several may be images of one atom
    m, species = len(large.atomic_numbers), cells.primitive_atom
    blocks = np.zeros((m, m, 3, 3))
    value = row.force_constants.reshape(2, 2, 3, 3)
    multiplicity = m // 2
    for a in range(m):
        for b in range(m):
            blocks[a, b] = value[species[a], species[b]] / multiplicity
    supercell = Dataset(
        CrystalSet.from_crystals([large]),
        electronic=row.electronic,
        ionic=row.ionic,
        born_charges=row.born_charges[[0 if z == crystal.atomic_numbers[0] else 1 for z in large.atomic_numbers]],
        force_constants=blocks.reshape(-1, 3, 3),
    )
    expected = LatticeLabels.from_dataset(row, prepare(row.crystals, 'force_constants').cells)
    found = LatticeLabels.from_dataset(supercell, cells)
    order = [int(np.flatnonzero(cells.numbers == z)[0]) for z in prepare([crystal], 'force_constants').cells.numbers]
    np.testing.assert_allclose(
        found.force_constants.reshape(2, 2, 3, 3)[np.ix_(order, order)].reshape(-1, 3, 3),
        expected.force_constants,
        atol=1e-5,
    )
    np.testing.assert_allclose(found.born_charges[order], expected.born_charges, atol=1e-6)


def test_the_loss_of_the_permittivity_begins_after_a_warm_up():
    weights = [permittivity_weight(progress, 0.12) for progress in (0.0, 0.1, 0.13, 0.3, 1.0)]
    assert weights[:2] == [0.0, 0.0]
    assert 0 < weights[2] < 1
    assert weights[3:] == [1.0, 1.0]
    assert permittivity_weight(0.49, 0.5) == 0 < permittivity_weight(0.51, 0.5) < 1 == permittivity_weight(1.0, 0.5)


def trained(data, **changes):
    settings = {
        'preset': 'force_constants', 'options': SMALL, 'epochs': 20, 'batch_size': 8, 'learning_rate': 1e-2,
        'ema_decay': 0.8, 'layer_augmentation_copies': 0, **changes,
    }  # fmt: skip
    history = []
    networks = train_committee(data, None, TrainSettings(**settings), report=history.append)
    return networks, history


def test_the_version_of_the_state_changes_with_the_formulas(data):
    """As in ``tests/core/learning/test_train.py``."""
    history = []
    settings = TrainSettings(
        preset='force_constants', options=SMALL, epochs=2, batch_size=8, learning_rate=1e-2, ema_decay=0.9
    )
    train_committee(data, data, settings, report=history.append)
    assert state._VERSION == 1
    assert [line.loss for line in history] == pytest.approx([6.74244, 7.49261], rel=1e-3)
    errors = [history[-1].validation[name]['mae'] for name in ('electronic', 'ionic')]
    assert errors == pytest.approx([0.190945, 0.691860], rel=1e-3)


def test_a_training_learns_force_constants_charges_and_permittivities(data):
    (network,), history = trained(data)
    batch = GraphBatch.from_arrays(prepare(data.crystals, 'force_constants'))
    with torch.no_grad():
        found, response = network(batch), network.response(batch.cells)
    assert history[-1].loss < 0.5 * history[4].loss
    diagonal = (slice(None), [0, 1, 2], [0, 1, 2])
    errors = found[:, 1].numpy()[diagonal] / data.ionic[diagonal] - 1
    assert np.median(np.abs(errors)) < 0.15
    charges = response.born_charges.numpy()[:, [0, 1, 2], [0, 1, 2]].mean(axis=1)
    assert np.abs(charges).mean() == pytest.approx(np.abs(data.born_charges[:, 0, 0]).mean(), rel=0.1)


def test_soft_and_unstable_crystals_are_flagged(data, tmp_path):
    path = tiny.write_lattice_model(tmp_path / 'model.safetensors')
    loaded = load_model(path)
    flags = {}
    for name, stiffness in (('stiff', 60.0), ('soft', 0.1), ('unstable', -3.0)):
        (network,) = loaded.members
        with torch.no_grad():  # springs of one stiffness, without internal coordinates
            network.springs.coefficients[3].weight.zero_()
            network.springs.coefficients[3].bias.copy_(torch.tensor([stiffness / 50, 0, 0, 0, 0, 0]))
            network.coordinates.coefficients[3].weight.zero_()
            network.coordinates.coefficients[3].bias.zero_()
        save_model(path, [network], loaded.card)
        found = predict_crystals(data.crystals, path.read_bytes(), device='cpu')
        flags[name] = {item for row in found.flags for item in flag_names(row)} - {'unseen_element'}
        assert not found.failed.any()
    assert flags['stiff'] == set()
    assert 'soft_mode' in flags['soft']
    assert 'unstable' in flags['unstable']


def test_rows_with_force_constants_alone_are_learnt_from(data):
    unknown = np.full((len(data), 3, 3), np.nan)
    columns = {name: getattr(data, name) for name in ('functional', 'force_constants')}
    alone = Dataset(data.crystals, electronic=unknown, ionic=unknown, **columns)
    _, history = trained(alone, epochs=6)
    assert history[-1].loss < history[0].loss


def test_a_batch_may_have_no_label_before_the_ionic_permittivity_counts(data):
    electronic = np.where(np.arange(len(data))[:, None, None] < 3, data.electronic, np.nan)
    _, history = trained(Dataset(data.crystals, electronic, data.ionic), epochs=4, batch_size=4, ionic_loss_start=0.6)
    assert np.isfinite([line.loss for line in history]).all()
    assert history[-1].loss > 0
    assert not any(line.skipped for line in history)


def test_a_model_file_predicts(data, tmp_path):
    path = tiny.write_lattice_model(tmp_path / 'model.safetensors')
    found = predict_crystals(data.crystals, str(path), device='cpu')
    assert not found.failed.any()
    assert (np.linalg.eigvalsh(found.electronic) >= 1 - 1e-6).all()
    np.testing.assert_allclose(found.total, found.electronic + found.ionic)


def test_layers_that_were_brought_closer_are_compared_at_their_own_distance():
    """The tensors that the network predicts for a crystal with wide gaps, as its labels, leave no loss of these."""
    crystal = with_vacuum_scaled(mos2(), find_layers(mos2()), 2.0)
    network = ForceConstantNetwork({'options': {'floor': FLOOR}}, ['electronic', 'ionic']).eval()
    batch = GraphBatch.from_arrays(prepare([crystal], 'force_constants'))
    assert float(batch.vacuum[0, 3]) < 0.8
    with torch.no_grad():
        found = network.evaluate(batch)
        row = Dataset(CrystalSet.from_crystals([crystal]), *found.tensors[0].double().numpy()[:, None])
        cells = prepare([crystal], 'force_constants').cells
        known = LatticeLabels.from_dataset(row, cells).batch(np.array([0]), 'cpu')
        response = found.response
        loss = lattice_loss(response, batch.cells, known, found.tensors, 1.0, batch.vacuum)
        closer = lattice_loss(response, batch.cells, known, found.tensors, 1.0, torch.tensor([[0.0, 0, 0, 1]]))
    assert float(loss) < 0.01 * float(closer)


def test_force_constants_far_beyond_their_labels_do_not_contribute_to_the_gradient(data):
    graphs = prepare(data.crystals, 'force_constants')
    rows = np.arange(3)
    known = LatticeLabels.from_dataset(data, graphs.cells).batch(rows, 'cpu')
    batch = GraphBatch.from_arrays(graphs.take(rows))
    (group,) = batch.cells.groups
    labels = known.force_constants[group.blocks].permute(0, 1, 3, 2, 4).reshape(3, 6, 6)
    matrices = (labels * torch.tensor([1.1, 1e6, 1.2])[:, None, None]).requires_grad_()
    tensors = torch.full((3, 2, 3, 3), float('nan'))
    response = LatticeResponse([matrices], known.born_charges, torch.eye(3).repeat(3, 1, 1), torch.zeros(3, 1))
    lattice_loss(response, batch.cells, known, tensors, 0.0, batch.vacuum).backward()
    size = matrices.grad.flatten(1).norm(dim=1)
    assert size[1] == 0
    assert min(size[0], size[2]) > 0.01

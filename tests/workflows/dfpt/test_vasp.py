"""Dielectric response with VASP from structure to verdict, through the work chains of aiida-vasp and the replay."""

from __future__ import annotations

import numpy as np
import pytest
from aiida.engine import run_get_node

from aiida_goectp.workflows.dfpt.vasp import VaspDfptWorkChain
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.replay_vasp.fixtures import structure_of

LOCAL = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False}


@pytest.fixture
def turn():
    """A rotation that is none of any crystal's."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler('zyx', [20, 50, 75], degrees=True).as_matrix()


def _jobs(node):
    from aiida.orm import CalcJobNode

    return [
        child for child in sorted(node.called_descendants, key=lambda item: item.pk) if isinstance(child, CalcJobNode)
    ]


@pytest.mark.slow
def test_relaxation_and_response_in_a_turned_cell(replay_code, potcar_family, replayed, turn):
    row = replayed('mp-856')  # rutile SnO2
    structure = structure_of(row, turn, order=[2, 0, 3, 4, 1, 5], shift=[0.3, 0.1, 0.2])
    builder = VaspDfptWorkChain.get_builder_from_protocol(
        replay_code(), structure, 'fast', options=LOCAL, potential_family=potcar_family('Sn_d', 'O')
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert np.allclose(found.electronic, turn @ np.array(row['eps_electronic']) @ turn.T, atol=1e-3)
    assert np.allclose(found.ionic, turn @ np.array(row['eps_ionic_fd']) @ turn.T, atol=1e-2)
    charges = (turn @ np.array(row['born']) @ turn.T)[[2, 0, 3, 4, 1, 5]]
    assert np.allclose(found.born_charges, charges, atol=1e-3)
    assert np.allclose(found.crystal.lattice, structure.cell, atol=1e-7)
    assert outputs['relaxed_structure'].creator is not None
    assert outputs['quality']['label'] == 'accepted', outputs['quality'].get_dict()
    assert (found.engine, found.functional) == ('vasp', 'PBEsol')
    assert (found.settings['cutoff'], found.settings['recommended_cutoff']) == (520.0, 400.0)
    assert 'notes' not in found.settings or not found.settings['notes']
    assert len(_jobs(node)) == 3  # relaxation, its last run, response

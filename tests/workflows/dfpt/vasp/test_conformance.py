"""The VASP engine keeps the interface of DFPT engines, with published tensors in the place of VASP."""

from __future__ import annotations

import pytest

from aiida_goectp.workflows.dfpt.conformance import check_engine, check_failure, check_response
from aiida_goectp.workflows.dfpt.vasp.workchain import VaspDfptWorkChain
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.replay_vasp.fixtures import structure_of

OPTIONS = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False}


@pytest.fixture
def layered(aiida_profile, replayed):
    """Zirconium disulfide: three atoms and a strongly anisotropic tensor."""
    return structure_of(replayed('mp-1186')).store()


@pytest.fixture
def arguments(replay_code, potcar_family):
    return {'code': replay_code(), 'options': OPTIONS, 'potential_family': potcar_family('Zr_sv', 'S')}


@pytest.mark.slow
def test_engine_conforms(layered, arguments):
    node = check_engine(VaspDfptWorkChain, layered, arguments)
    assert VaspDfptWorkChain.core_hours(node) == pytest.approx(70.423 / 3600)  # one job


@pytest.mark.slow
def test_engine_conforms_with_a_relaxation(layered, arguments):
    node = check_response(VaspDfptWorkChain, layered, {**arguments, 'protocol': 'fast'}, relax=True)
    assert 'relaxed_structure' in node.outputs


def test_unknown_functional_ends_with_an_exit_code(layered, arguments):
    overrides = {'relax': False, 'incar': {'gga': 'am'}}
    assert check_failure(VaspDfptWorkChain, layered, {**arguments, 'overrides': overrides}).exit_status == 402

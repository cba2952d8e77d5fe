"""Restarts of a relaxation with residual forces."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_goectp.workflows.dfpt.vasp.relax import VaspRelaxBaseWorkChain
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.workflows.dfpt.vasp.nodes import ended_workchain, inspect, instantiate

CODES = VaspRelaxBaseWorkChain.spec().exit_codes


@pytest.fixture
def make_chain(aiida_profile, replay_code, potcar_family):
    """Return a function that instantiates the work chain for a structure."""
    vasp = {
        'code': replay_code(),
        'parameters': orm.Dict({'incar': {'encut': 500, 'ediff': 1e-7}}),
        'potential_family': orm.Str(potcar_family('Na', 'Cl')),
        'potential_mapping': orm.Dict({'Na': 'Na', 'Na1': 'Na', 'Cl': 'Cl'}),
        'kpoints_spacing': orm.Float(0.1),
        'calc': {'metadata': {'options': {'resources': {'num_machines': 1}}}},
    }

    def make(structure):
        inputs = {'structure': structure.store(), 'relax_settings': {'algo': 'cg'}, 'vasp': vasp}
        process = instantiate(VaspRelaxBaseWorkChain, inputs)
        process.setup()
        return process

    return make


@pytest.fixture
def chain(make_chain):
    return make_chain(_sodium(2.9))


def _sodium(edge, kind='Na'):
    structure = orm.StructureData(cell=[[edge, 0, 0], [0, edge, 0], [0, 0, edge]])
    structure.append_atom(position=(0, 0, 0), symbols='Na', name=kind)
    return structure


def _ended(status, message='failed'):
    return ended_workchain(status, message, relax__structure=_sodium(3))


@pytest.mark.parametrize('status', [600, 601])
def test_residual_forces(chain, status):
    first = _ended(status)
    assert inspect(chain, first).status == 0
    assert chain.ctx.inputs.structure.uuid == first.outputs.relax.structure.uuid
    assert chain.ctx.inputs.relax_settings['algo'] == 'cg'
    assert inspect(chain, _ended(status)).status == 0
    assert chain.ctx.inputs.relax_settings['algo'] == 'rd'
    assert chain.ctx.inputs.vasp.parameters['incar']['ediff'] == pytest.approx(1e-8)
    code = inspect(chain, _ended(status, 'still moving'))
    assert code.status == CODES.ERROR_FORCES_LEFT.status
    assert 'still moving' in code.message


def test_a_restart_keeps_the_kinds(make_chain):
    """The parser names the kinds of the relaxed structure by element."""
    chain, ended = make_chain(_sodium(2.9, 'Na1')), _ended(601)
    assert inspect(chain, ended).status == 0
    structure = chain.ctx.inputs.structure
    assert structure.get_site_kindnames() == ['Na1']
    assert structure.cell == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    assert structure.creator.inputs.structure.uuid == ended.outputs.relax.structure.uuid


def test_other_errors_abort_with_their_reason(chain):
    code = inspect(chain, _ended(522, 'POSMAP'))
    assert code.status == CODES.ERROR_RELAXATION.status
    assert '[522] POSMAP' in code.message


def test_converged_relaxation_finishes(chain):
    assert inspect(chain, _ended(0)) is None
    assert chain.ctx.is_finished

"""Dielectric response with VASP from structure to verdict, through the work chains of aiida-vasp and the replay."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.io import read

from aiida_goectp.workflows.dfpt.vasp.workchain import VaspDfptWorkChain
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


def _respond(code, structure, family, **overrides):
    overrides = {'relax': False, **overrides}
    return run_get_node(
        VaspDfptWorkChain.get_builder_from_protocol(
            code, structure, 'fast', overrides, options=LOCAL, potential_family=family
        )
    )


def test_a_response_without_relaxation(replay_code, potcar_family, replayed):
    row = replayed('mp-22862')
    structure = structure_of(row)
    outputs, node = _respond(replay_code(), structure, potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert np.allclose(found.total, np.array(row['eps_electronic']) + row['eps_ionic_fd'], atol=1e-3)
    assert found.frequencies.max() == pytest.approx(row['freq_min_opt_THz'], abs=1e-3)
    assert outputs['quality']['label'] == 'accepted', outputs['quality'].get_dict()
    assert found.settings['potentials'] == {'Na': 'Na_pv', 'Cl': 'Cl'}
    assert outputs['dielectric'].creator.inputs.structure.uuid == structure.uuid
    assert 'relaxed_structure' not in outputs
    assert VaspDfptWorkChain.core_hours(node) == pytest.approx(70.423 / 3600)


@pytest.mark.slow
def test_too_large_for_the_ionic_part(replay_code, potcar_family, replayed):
    outputs, node = _respond(replay_code('ionic'), structure_of(replayed('mp-22862')), potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert found.ionic is None
    assert 'too large' in found.settings['notes'][0]
    assert outputs['quality']['label'] == 'electronic-only'
    assert [job.inputs.parameters['ibrion'] for job in _jobs(node)] == [8, -1]


@pytest.mark.slow
def test_three_failures_on_the_way(replay_code, potcar_family, replayed):
    faults = 'symmetry,walltime,electronic,truncated'
    outputs, node = _respond(replay_code(faults), structure_of(replayed('mp-22862')), potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert len(_jobs(node)) == 4
    assert _jobs(node)[-1].get_option('max_wallclock_seconds') == 2 * 86400
    cured, torn = found.settings['notes']
    assert cured == 'cured with ALGO = all, NELM = 400, SYMPREC = 1e-08'
    assert 'OUTCAR' in torn
    assert found.scf_converged
    assert outputs['quality']['label'] == 'accepted', outputs['quality'].get_dict()


@pytest.mark.slow
def test_forces_left_by_a_relaxation(replay_code, potcar_family, replayed):
    """The last run of vasp.relax shows forces: it relaxes again from where it was."""
    builder = VaspDfptWorkChain.get_builder_from_protocol(
        replay_code('static:forces'),
        structure_of(replayed('mp-22862')),
        'fast',
        options=LOCAL,
        potential_family=potcar_family('Na_pv', 'Cl'),
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert len(_jobs(node)) == 5
    assert outputs['quality']['label'] == 'accepted', outputs['quality'].get_dict()


@pytest.mark.slow
def test_what_cannot_be_cured_ends_with_its_reason(replay_code, potcar_family, replayed):
    structure = structure_of(replayed('mp-22862'))
    family = potcar_family('Na_pv', 'Cl')
    outputs, node = _respond(replay_code('electronic*9'), structure, family)
    assert node.exit_status == VaspDfptWorkChain.spec().exit_codes.ERROR_DFPT_FAILED.status
    assert '[523]' in node.exit_message
    assert 'ground state' in node.exit_message
    assert outputs == {}


@pytest.mark.slow
def test_a_relaxation_that_vasp_refuses(replay_code, potcar_family, replayed):
    builder = VaspDfptWorkChain.get_builder_from_protocol(
        replay_code(),
        structure_of(replayed('mp-22862')),
        'fast',
        {'incar': {'gga': 'am'}},
        options=LOCAL,
        potential_family=potcar_family('Na_pv', 'Cl'),
    )
    _, node = run_get_node(builder)
    assert node.exit_status == VaspDfptWorkChain.spec().exit_codes.ERROR_RELAX_FAILED.status
    assert '[521] VASP refuses to continue: no published tensor' in node.exit_message


@pytest.mark.slow
def test_forces_in_the_response_are_refused_by_their_gate(replay_code, potcar_family, replayed):
    outputs, node = _respond(replay_code('forces'), structure_of(replayed('mp-22862')), potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    assert outputs['quality']['label'] == 'refused'
    assert 'residual_forces' in outputs['quality']['reason']
    assert outputs['dielectric'].dielectric.max_force == pytest.approx(0.2)


@pytest.mark.slow
def test_a_zero_ionic_part_counts_as_not_computed(replay_code, potcar_family, replayed):
    family = potcar_family('Na_pv', 'Cl')
    outputs, node = _respond(replay_code('zero_ionic'), structure_of(replayed('mp-22862')), family)
    assert node.is_finished_ok, node.exit_message
    assert outputs['quality']['label'] == 'electronic-only'
    assert 'not computed' in outputs['dielectric'].dielectric.settings['notes'][0]


@pytest.fixture
def stored_run(aiida_profile, aiida_code_installed, aiida_localhost, shared, tmp_path):
    """The executable with which aiida-vasp tests itself, and a stored run of VASP 5.4.4 in its registry."""
    source = shared / 'vasp_outputs' / 'zn6p4s16_lepsilon'
    run = tmp_path / 'registry' / 'zn6p4s16'
    for name, folder in {
        'KPOINTS': 'inp',
        'POSCAR': 'inp',
        'INCAR': 'inp',
        'OUTCAR': 'out',
        'vasprun.xml': 'out',
    }.items():
        (run / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, run / folder / name)
    with (run / 'inp' / 'INCAR').open('a') as stream:
        stream.write('NELM = 200\n')  # the one tag on which the engine insists
    shutil.copyfile(source / 'POSCAR', run / 'out' / 'CONTCAR')
    (run / 'out' / 'vasp_output').write_text(' vasp.5.4.4\n')
    aiida_localhost.set_minimum_job_poll_interval(0.0)
    code = aiida_code_installed(
        label='mock-vasp',
        default_calc_job_plugin='vasp.vasp',
        filepath_executable=str(Path(sys.executable).parent / 'mock-vasp'),
        prepend_text=f"export MOCK_VASP_REG_BASE='{tmp_path / 'registry'}'",
    )
    incar = {
        'prec': 'Accurate',
        'gga': 'PS',
        'ibrion': -1,
        'nelmin': 5,
        'encut': 359.7399,
        'ediff': 1e-8,
        'ismear': 0,
        'sigma': 0.01,
        'ialgo': 38,
        'lreal': False,
        'addgrid': True,
        'lwave': False,
        'lcharg': False,
        'lepsilon': True,
        'nelm': 200,
    }
    return code, orm.StructureData(ase=read(source / 'POSCAR')), incar


def test_a_stored_run_of_vasp(stored_run, potcar_family):
    """Real inputs and outputs through calculation, parser and work chain; mock-vasp refuses any other inputs."""
    code, structure, incar = stored_run
    builder = VaspDfptWorkChain.get_builder_from_protocol(
        code, structure, overrides={'relax': False}, options=LOCAL, potential_family=potcar_family('P', 'S', 'Zn')
    )
    builder.dfpt.parameters = orm.Dict({'incar': incar})
    builder.dfpt.pop('kpoints_spacing')
    builder.dfpt.kpoints = orm.KpointsData()
    builder.dfpt.kpoints.set_kpoints_mesh([3, 3, 2])
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert np.allclose(found.electronic, np.diag([5.89405614, 5.89405614, 6.17182071]), atol=1e-5)
    assert found.ionic is None
    assert found.scf_converged
    assert found.settings['kpoints']['mesh'] == [3, 3, 2]
    assert outputs['quality']['label'] == 'electronic-only', outputs['quality'].get_dict()

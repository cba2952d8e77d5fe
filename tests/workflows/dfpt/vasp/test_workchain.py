"""Dielectric response with VASP, with the work chains of aiida-vasp and published tensors in the place of VASP."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida_vasp.data.potcar import PotcarData
from ase.io import read
from scipy.spatial.transform import Rotation

from aiida_goectp.core.dielectric.frames import compare
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.dfpt.reuse import find_usable_runs
from aiida_goectp.workflows.dfpt.vasp.workchain import VaspDfptWorkChain
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.replay_vasp.fixtures import FAMILY, POTCAR, structure_of

LOCAL = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False}


def _jobs(node):
    descendants = sorted(node.called_descendants, key=lambda item: item.pk)
    return [child for child in descendants if isinstance(child, orm.CalcJobNode)]


@pytest.mark.slow
def test_relaxation_and_response_of_a_rotated_cell(replay_code, potcar_family, replayed):
    row = replayed('mp-856')  # rutile SnO2
    rotation = Rotation.from_euler('zyx', [20, 50, 75], degrees=True).as_matrix()
    structure = structure_of(row, rotation, order=[2, 0, 3, 4, 1, 5], shift=[0.3, 0.1, 0.2])
    builder = VaspDfptWorkChain.get_builder_from_protocol(
        replay_code(), structure, 'fast', options=LOCAL, potential_family=potcar_family('Sn_d', 'O')
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert np.allclose(found.electronic, rotation @ np.array(row['eps_electronic']) @ rotation.T, atol=1e-3)
    assert np.allclose(found.ionic, rotation @ np.array(row['eps_ionic_fd']) @ rotation.T, atol=1e-2)
    charges = (rotation @ np.array(row['born']) @ rotation.T)[[2, 0, 3, 4, 1, 5]]
    assert np.allclose(found.born_charges, charges, atol=1e-3)
    assert np.allclose(found.crystal.lattice, structure.cell, atol=1e-7)
    assert outputs['relaxed_structure'].creator is not None
    assert outputs['quality']['label'] == 'accepted', outputs['quality'].get_dict()
    assert (found.engine, found.functional) == ('vasp', 'PBEsol')
    assert (found.settings['cutoff'], found.settings['recommended_cutoff']) == (520.0, 400.0)
    assert 'notes' not in found.settings or not found.settings['notes']
    assert len(_jobs(node)) == 3  # relaxation, its final static run, response


@pytest.mark.slow
def test_all_runs_have_the_u_and_the_moments_of_their_kinds(replay_code, potcar_family, replayed):
    """An antiferromagnetic order, which is lost where aiida-vasp names both kinds by their element."""
    kinds, row = ['O', 'O', 'O', 'O', 'Sn1', 'Sn2'], replayed('mp-856')
    structure = orm.StructureData(cell=row['lattice'])
    positions = (np.array(row['frac_coords']) @ np.array(row['lattice'])).tolist()
    for name, symbol, position in zip(kinds, row['species'], positions, strict=True):
        structure.append_atom(position=position, symbols=symbol, name=name)
    builder = VaspDfptWorkChain.get_builder_from_protocol(
        replay_code('static:forces'),  # one restart of the relaxation
        structure,
        'fast',
        {'incar': {'ispin': 2}},
        options=LOCAL,
        potential_family=potcar_family('Sn_d', 'O'),
    )
    for run in (builder.dfpt, builder.relaxation.vasp):
        run.ldau_mapping = orm.Dict({'mapping': {'Sn1': ['d', 5.0], 'Sn2': ['d', 5.0]}})
        run.magmom_mapping = orm.Dict({'Sn1': 5.0, 'Sn2': -5.0, 'default': 0.6})
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    tags = [job.inputs.parameters.get_dict() for job in _jobs(node)]
    assert [run['ldauu'] for run in tags] == [[0.0, 5.0, 5.0]] * 5
    assert [run['magmom'] for run in tags] == ['0.6 0.6 0.6 0.6 5.0 -5.0'] * 5
    assert outputs['relaxed_structure'].get_site_kindnames() == kinds
    assert outputs['dielectric'].creator.inputs.structure.get_site_kindnames() == kinds
    found = outputs['dielectric'].dielectric
    assert found.functional == 'PBEsol+U(Sn-d 5)'
    assert np.allclose(found.electronic, row['eps_electronic'], atol=1e-3)


def _run(code, structure, family, **overrides):
    return run_get_node(_builder(code, structure, family, **overrides))


def _builder(code, structure, family, **overrides):
    return VaspDfptWorkChain.get_builder_from_protocol(
        code, structure, 'fast', {'relax': False, **overrides}, options=LOCAL, potential_family=family
    )


def test_response_without_relaxation(replay_code, potcar_family, replayed, tmp_path):
    row = replayed('mp-22862')
    structure = structure_of(row)
    code = replay_code()
    outputs, node = _run(code, structure, potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    _check_reuse(node, code, tmp_path)
    found = outputs['dielectric'].dielectric
    assert np.allclose(found.total, np.array(row['eps_electronic']) + row['eps_ionic_fd'], atol=1e-3)
    assert found.frequencies.max() == pytest.approx(row['freq_min_opt_THz'], abs=1e-3)
    assert outputs['quality']['label'] == 'accepted', outputs['quality'].get_dict()
    assert found.settings['potentials'] == {'Na': 'Na_pv', 'Cl': 'Cl'}
    assert outputs['dielectric'].creator.inputs.structure.uuid == structure.uuid
    assert 'relaxed_structure' not in outputs
    assert not [call for call in node.called if call.process_label == 'invert_lattice']
    assert VaspDfptWorkChain.core_hours(node) == pytest.approx(70.423 / 3600)


LEFT_HANDED = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize('relax', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_left_handed_cell(replay_code, potcar_family, replayed, relax):
    """VASP, which stops on it, has the inverted vectors; relaxed structure and response have those of the input."""
    row = replayed('mp-1186')
    structure = structure_of(row, transform=LEFT_HANDED)
    outputs, node = _run(replay_code(), structure, potcar_family('Zr_sv', 'S'), relax=relax)
    assert node.is_finished_ok, node.exit_message
    cells = [np.array(job.inputs.structure.cell) for job in _jobs(node)]
    assert len(cells) == (3 if relax else 1)
    for cell in cells:
        assert np.allclose(cell, -np.array(structure.cell), atol=1e-7)
    found = outputs['dielectric'].dielectric
    assert np.allclose(found.crystal.lattice, structure.cell, atol=1e-7)
    assert np.allclose(found.electronic, row['eps_electronic'], atol=1e-3)
    comparison = compare(found, np.array(structure.cell), {'electronic': np.array(row['eps_electronic'])})
    assert comparison['electronic']['tensor_error'] == pytest.approx(0, abs=1e-3)
    assert outputs['dielectric'].creator.inputs.structure.uuid == outputs.get('relaxed_structure', structure).uuid
    inverted = [call for call in node.called if call.process_label == 'invert_lattice']
    assert len(inverted) == (2 if relax else 1)


def _check_reuse(node, code, folder):
    """A response is not reused if its family has another potential for one of the elements."""
    family = PotcarData.get_potcar_group(FAMILY)
    inputs = builder_inputs(_builder(code, node.inputs.structure, FAMILY))
    assert find_usable_runs(VaspDfptWorkChain, [node.pk], inputs).finished.pk == node.pk
    (old,) = [item for item in family.nodes if item.full_name == 'Cl']
    path = folder / 'Cl' / 'POTCAR'  # the folder names the potential
    path.parent.mkdir()
    path.write_text(POTCAR.format(symbol='Cl', element='Cl').replace('01Jan2000', '02Jan2000'))
    new, _ = PotcarData.get_or_create_from_file(str(path))
    family.remove_nodes([old])
    family.add_nodes([new])
    try:
        assert find_usable_runs(VaspDfptWorkChain, [node.pk], inputs).finished is None
    finally:
        family.remove_nodes([new])
        family.add_nodes([old])


@pytest.mark.slow
def test_ionic_part_too_large_for_the_memory(replay_code, potcar_family, replayed):
    outputs, node = _run(replay_code('ionic'), structure_of(replayed('mp-22862')), potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert found.ionic is None
    assert 'electronic part only' in found.settings['notes'][0]
    assert found.settings['ionic_part_dropped'] is True
    assert outputs['quality']['label'] == 'electronic-only'
    assert [job.inputs.parameters['ibrion'] for job in _jobs(node)] == [8, -1]


@pytest.mark.slow
def test_three_consecutive_failures(replay_code, potcar_family, replayed):
    faults = 'symmetry,walltime,electronic,truncated'
    outputs, node = _run(replay_code(faults), structure_of(replayed('mp-22862')), potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    found = outputs['dielectric'].dielectric
    assert len(_jobs(node)) == 4
    assert _jobs(node)[-1].get_option('max_wallclock_seconds') == 2 * 86400
    changed, source = found.settings['notes']
    assert changed.endswith(': ALGO = all, NELM = 400, SYMPREC = 1e-08')
    assert 'OUTCAR' in source
    assert found.scf_converged
    assert outputs['quality']['label'] == 'accepted', outputs['quality'].get_dict()


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['no_dielectrics', 'walltime'])
def test_a_restart_with_equal_tags_does_not_take_the_failed_job_from_the_cache(
    replay_code, potcar_family, replayed, fault
):
    with enable_caching():
        _, node = _run(replay_code(fault), structure_of(replayed('mp-22862')), potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    assert [job.base.caching.is_created_from_cache for job in _jobs(node)] == [False, False]


@pytest.mark.slow
def test_residual_forces_restart_the_relaxation(replay_code, potcar_family, replayed):
    """The final static run of the first relaxation has forces."""
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
def test_unconverged_ground_state_ends_with_its_exit_code(replay_code, potcar_family, replayed):
    structure = structure_of(replayed('mp-22862'))
    family = potcar_family('Na_pv', 'Cl')
    outputs, node = _run(replay_code('electronic*9'), structure, family)
    assert node.exit_status == VaspDfptWorkChain.spec().exit_codes.ERROR_DFPT_FAILED.status
    assert '[523]' in node.exit_message
    assert 'ground state' in node.exit_message
    assert outputs == {}


@pytest.mark.slow
def test_relaxation_that_vasp_refuses(replay_code, potcar_family, replayed):
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
    assert '[521]' in node.exit_message


@pytest.mark.slow
def test_forces_in_the_response_fail_their_gate(replay_code, potcar_family, replayed):
    outputs, node = _run(replay_code('forces'), structure_of(replayed('mp-22862')), potcar_family('Na_pv', 'Cl'))
    assert node.is_finished_ok, node.exit_message
    assert outputs['quality']['label'] == 'refused'
    assert 'residual_forces' in outputs['quality']['reason']
    assert outputs['dielectric'].dielectric.max_force == pytest.approx(0.2)


@pytest.mark.slow
def test_zero_ionic_part_is_treated_as_missing(replay_code, potcar_family, replayed):
    family = potcar_family('Na_pv', 'Cl')
    outputs, node = _run(replay_code('zero_ionic'), structure_of(replayed('mp-22862')), family)
    assert node.is_finished_ok, node.exit_message
    assert outputs['quality']['label'] == 'electronic-only'
    assert 'not computed' in outputs['dielectric'].dielectric.settings['notes'][0]


@pytest.fixture
def stored_run(aiida_profile, aiida_code_installed, aiida_localhost, shared, tmp_path):
    """The test executable of aiida-vasp, with a stored run of VASP 5.4.4 in its registry."""
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
        stream.write('NELM = 200\n')  # the only tag that the engine requires
    shutil.copyfile(source / 'POSCAR', run / 'out' / 'CONTCAR')
    (run / 'out' / 'vasp_output').write_text(' vasp.5.4.4\n')
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


def test_stored_run_of_vasp(stored_run, potcar_family):
    """Calculation, parser and work chain with real inputs and outputs; mock-vasp fails for any other inputs."""
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

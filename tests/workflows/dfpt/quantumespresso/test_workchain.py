"""The work chain with the real pw.x and ph.x: numbers, frames, metals, error handlers and exit codes."""

from __future__ import annotations

import numpy as np
import pytest
from aiida.engine import run_get_node

from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.dfpt.quantumespresso.workchain import QuantumEspressoDfptWorkChain
from aiida_goectp.workflows.failures import ended_within_step
from aiida_goectp.workflows.protocols.mixin import merge
from tests.workflows.dfpt.quantumespresso.quantum_espresso import CHEAP, FCC, crystal, notes, outcome, rocksalt
from tests.workflows.jobs import raise_before_submission

ROTATION = [[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]
EXIT_CODES = QuantumEspressoDfptWorkChain.exit_codes


@pytest.fixture
def run(codes):
    """Return a function that runs the work chain; the keywords pw and ph are shell lines before the programs."""

    def run_once(structure, family, overrides, **scripts):
        builder = QuantumEspressoDfptWorkChain.get_builder_from_protocol(
            **codes(**scripts), structure=structure, protocol='fast', overrides=overrides, pseudo_family=family
        )
        return run_get_node(builder)

    return run_once


@pytest.fixture
def lithium_fluoride(aiida_profile):
    return rocksalt('Li', 'F', 4.01)


def averages(node):
    response = node.dielectric
    return [float(np.trace(tensor)) / 3 for tensor in (response.electronic, response.total)]


def failed_gates(outputs):
    return [gate['name'] for gate in outputs['quality']['gates'] if gate['passed'] is False]


def jobs_of(node, label):
    return [job for job in node.called_descendants if job.process_label == label]


@pytest.mark.slow
def test_rotated_lithium_fluoride_has_the_published_tensor_in_its_own_frame(run, dojo_family):
    outputs, node = run(rocksalt('Li', 'F', 4.01, ROTATION), dojo_family, {'relax': False})
    assert node.is_finished_ok, outcome(node)
    assert outputs['quality']['label'] == 'accepted'
    assert averages(outputs['dielectric']) == pytest.approx([2.08, 10.16], rel=0.06)
    response = outputs['dielectric'].dielectric
    assert response.crystal.lattice == pytest.approx(np.array(node.inputs.structure.cell), abs=1e-6)
    assert response.electronic == pytest.approx(np.eye(3) * response.electronic[0, 0], abs=1e-6)
    assert (response.functional, response.engine) == ('PBEsol', 'quantumespresso')
    assert response.band_gap > 8
    assert response.settings['cutoff'] == pytest.approx(84 * 13.6057, rel=1e-4)
    # 10 special points in the orientation for pw.x, 32 in the given one
    (scf,) = jobs_of(node, 'PwCalculation')
    assert scf.outputs.output_parameters['number_of_symmetries'] == 48
    assert scf.outputs.output_parameters['number_of_k_points'] == 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ('structure', 'expected'),
    [(('Mg', 'O', 4.212), (3.24, 10.43)), (('Na', 'Cl', 5.64), (2.56, 6.11))],
)
def test_rocksalt_has_the_published_tensor(run, dojo_family, structure, expected):
    outputs, node = run(rocksalt(*structure), dojo_family, {'relax': False})
    assert outputs['quality']['label'] == 'accepted', outcome(node)
    assert averages(outputs['dielectric']) == pytest.approx(expected, rel=0.03)


@pytest.mark.slow
def test_aluminium_nitride_has_the_published_anisotropy(run, dojo_family):
    """With the cutoff of 50 Ry and the mesh of the reference, which the cutoff gate refuses."""
    lattice = [[3.112, 0, 0], [-1.556, 1.556 * 3**0.5, 0], [0, 0, 4.982]]
    sites = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.382], [2 / 3, 1 / 3, 0.882]]
    cutoffs = {'scf': {'pw': {'parameters': {'SYSTEM': {'ecutwfc': 50, 'ecutrho': 200}}}}}
    structure = crystal(('Al', 'Al', 'N', 'N'), lattice, sites)
    outputs, node = run(structure, dojo_family, {'relax': False, 'kpoints_distance': 0.65} | cutoffs)
    assert node.is_finished_ok, outcome(node)
    response = outputs['dielectric'].dielectric
    assert np.diag(response.electronic) == pytest.approx([4.89, 4.89, 4.76], rel=0.03)
    assert np.diag(response.total) == pytest.approx([8.59, 8.59, 9.55], rel=0.03)
    assert outputs['quality']['label'] == 'refused'
    assert 'sufficient_cutoff' in failed_gates(outputs)


@pytest.mark.slow
def test_relaxed_structure_keeps_the_given_frame(run, dojo_family):
    """With the recommended cutoff and the coarsest usable mesh."""
    structure = crystal(('Al', 'P'), FCC * 5.6 @ np.array(ROTATION).T, [[0, 0, 0], [0.25, 0.25, 0.25]])
    outputs, node = run(structure, dojo_family, {'kpoints_distance': 1.4})
    assert node.is_finished_ok, outcome(node)
    before, after = (np.array(cell.cell) for cell in (structure, outputs['relaxed_structure']))
    assert after / np.linalg.norm(after[0]) == pytest.approx(before / np.linalg.norm(before[0]), abs=1e-4)
    assert np.linalg.norm(after[0]) * 2**0.5 == pytest.approx(5.47, rel=0.01)  # PBEsol; measured 5.467
    assert outputs['dielectric'].dielectric.crystal.lattice == pytest.approx(after, abs=1e-5)
    assert outputs['dielectric'].dielectric.ionic is not None
    assert not notes(outputs['dielectric'])


@pytest.mark.slow
def test_failed_relaxation_with_a_small_basis_names_the_cutoff(run, generated_family):
    _, node = run(rocksalt('Li', 'F', 4.2), generated_family, merge(CHEAP, {'relax': True}))
    assert node.exit_status == EXIT_CODES.ERROR_RELAX_FAILED.status, outcome(node)
    assert 'PwCalculation' in node.exit_message
    assert 'ecutwfc = 16 Ry' in node.exit_message
    assert jobs_of(node, 'FaultTolerantPwBaseWorkChain')


def test_functional_is_known_before_the_run(codes, generated_family, lithium_fluoride):
    for system, name in (({}, 'PBEsol'), ({'input_dft': 'PBE'}, 'PBE'), ({'vdw_corr': 'dft-d3'}, 'PBEsol+D3')):
        builder = QuantumEspressoDfptWorkChain.get_builder_from_protocol(
            **codes(),
            structure=lithium_fluoride,
            overrides=merge(CHEAP, {'scf': {'pw': {'parameters': {'SYSTEM': system}}}}),
            pseudo_family=generated_family,
        )
        assert QuantumEspressoDfptWorkChain.functional_of(builder_inputs(builder)) == name


@pytest.mark.parametrize(
    ('system', 'bands'),
    [({'nspin': 2, 'tot_magnetization': 6}, 10), ({'noncolin': True}, 12)],
    ids=['spin', 'noncolin'],
)
def test_spin_has_enough_bands(run, generated_family, lithium_fluoride, system, bands):
    """pw.x stops if they do not hold all electrons: here 10, of which 8 have spin up in the first case."""
    overrides = merge(CHEAP, {'electronic_only': True, 'scf': {'pw': {'parameters': {'SYSTEM': system}}}})
    _, node = run(lithium_fluoride, generated_family, overrides)
    scf = jobs_of(node, 'PwCalculation')[0]
    assert scf.inputs.parameters['SYSTEM']['occupations'] == 'fixed'
    assert scf.inputs.parameters['SYSTEM']['nbnd'] == bands
    assert scf.is_finished_ok, outcome(node)


def test_metal_has_no_response_without_its_gate(run, generated_family):
    structure = crystal(('Al',), FCC * 4.02, [[0, 0, 0]])
    overrides = merge(CHEAP, {'thresholds': {'insulating': None}})
    _, node = run(structure, generated_family, overrides)
    assert node.exit_status == EXIT_CODES.ERROR_NO_DIELECTRIC.status, outcome(node)


def test_metal_fails_the_gap_gate_before_ph_runs(run, generated_family):
    outputs, node = run(crystal(('Al',), FCC * 4.02, [[0, 0, 0]]), generated_family, CHEAP)
    assert node.is_finished_ok, outcome(node)
    assert 'dielectric' not in outputs
    assert outputs['quality']['label'] == 'refused'
    assert failed_gates(outputs) == ['insulating']
    assert not jobs_of(node, 'PhGammaCalculation')


@pytest.mark.slow
def test_low_cutoff_fails_its_gate(run, generated_family, lithium_fluoride):
    outputs, node = run(lithium_fluoride, generated_family, CHEAP | {'electronic_only': True})
    assert node.is_finished_ok, outcome(node)
    assert outputs['quality']['label'] == 'refused'
    assert 'sufficient_cutoff' in failed_gates(outputs)
    response = outputs['dielectric'].dielectric
    assert response.ionic is None
    assert response.born_charges is not None


KILL_WHILE_RUNNING = """if [ $run -le {times} ]; then
  $program "$@" & child=$!
  while kill -0 $child 2>/dev/null; do
    if {until}; then kill -9 $child; fi
    sleep 0.05
  done
  wait $child
  exit 137
fi"""
INCOMPATIBLE_SYMMETRY = """if [ $run = 1 ]; then
  echo " %%%%%%%%%%"
  echo "     Error in routine phq_setup (1):"
  echo "     FFT grid incompatible with symmetry"
  echo " %%%%%%%%%%"
  exit 1
fi"""
END_LOST = 'if [ $run = 1 ]; then $program "$@" > whole.out; head -n -40 whole.out; exit 1; fi'
FIELD_FINISHED = 'grep -q "End of electric fields" aiida.out'
FIELD_STARTED = 'grep -q "iter #" aiida.out'
FIELD_STORED = 'grep -q DIELECTRIC_CONSTANT out/_ph0/aiida.phsave/tensors.xml'
TOO_SHORT = 'sed -i "s/max_seconds.*/max_seconds = 0.1/" aiida.in'  # the smallest value that ph.x accepts
LONG = {'ph': {'ph': {'parameters': {'INPUTPH': {'tr2_ph': 1e-16}}}}}  # takes longer than that on any machine


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'overrides', 'scripts'),
    [
        ('scf_convergence_not_reached', {'scf': {'pw': {'parameters': {'ELECTRONS': {'electron_maxstep': 2}}}}}, {}),
        ('scf_interrupted', {}, {'pw': '[ $run = 1 ] && exit 137'}),
        ('ph_convergence_not_reached', {'ph': {'ph': {'parameters': {'INPUTPH': {'niter_ph': 1}}}}}, {}),
        ('ph_out_of_walltime', LONG, {'ph': f'[ $run = 1 ] && {TOO_SHORT}'}),
        ('ph_interrupted_recover', {}, {'ph': KILL_WHILE_RUNNING.format(times=1, until=FIELD_FINISHED)}),
        ('ph_interrupted_recover', {}, {'ph': END_LOST}),  # nothing is left to compute, so that no iteration is printed
        ('ph_interrupted_restart', {}, {'ph': KILL_WHILE_RUNNING.format(times=2, until=FIELD_STARTED)}),
        ('ph_incompatible_symmetry', {}, {'ph': INCOMPATIBLE_SYMMETRY}),
    ],
)
def test_error_handler(run, generated_family, lithium_fluoride, name, overrides, scripts):
    outputs, node = run(lithium_fluoride, generated_family, merge(CHEAP, overrides), **scripts)
    assert node.is_finished_ok, outcome(node)
    assert f'{name}: ' in notes(outputs['dielectric']), outcome(node)
    assert outputs['dielectric'].dielectric.ionic is not None
    assert outputs['dielectric'].dielectric.scf_converged


def test_the_error_stream_explains_a_program_that_does_not_start(run, generated_family, lithium_fluoride):
    _, node = run(lithium_fluoride, generated_family, CHEAP, pw='echo "cannot open libfftw3.so.3" >&2; exit 127')
    assert node.exit_status == QuantumEspressoDfptWorkChain.exit_codes.ERROR_SCF_FAILED.status
    assert node.exit_message.endswith(': cannot open libfftw3.so.3')


@pytest.mark.slow
def test_plugin_restarts_ph_at_the_wall_time(run, generated_family, lithium_fluoride):
    """The restarts of aiida-quantumespresso work with ``PhGammaCalculation``.

    ``ph.x`` 6.7 was seen to end once without its last lines (312) when it continued; a handler restarts it.
    """
    overrides = merge(merge(CHEAP, LONG), {'ph': {'max_iterations': 4}})
    outputs, node = run(lithium_fluoride, generated_family, overrides, ph=f'[ $run -le 2 ] && {TOO_SHORT}')
    assert node.is_finished_ok, outcome(node)
    first, second, *incomplete, last = [job.exit_status for job in jobs_of(node, 'PhGammaCalculation')]
    assert (first, second, last) == (400, 400, 0), outcome(node)
    assert incomplete in ([], [312]), outcome(node)
    assert len(notes(outputs['dielectric'])) == len(incomplete)
    assert outputs['dielectric'].dielectric.ionic is not None


@pytest.mark.slow
@pytest.mark.parametrize('where', ['pw', 'ph'])
def test_a_step_that_raises_after_the_job_loses_nothing(run, generated_family, lithium_fluoride, monkeypatch, where):
    from aiida_goectp.workflows.dfpt.quantumespresso.ph_gamma import PhGammaBaseWorkChain
    from aiida_goectp.workflows.dfpt.quantumespresso.pw import FaultTolerantPwBaseWorkChain

    def get_outputs(self, node):
        raise KeyError('kind')

    broken = FaultTolerantPwBaseWorkChain if where == 'pw' else PhGammaBaseWorkChain
    monkeypatch.setattr(broken, 'get_outputs', get_outputs)
    outputs, node = run(lithium_fluoride, generated_family, CHEAP)
    assert node.is_finished_ok, outcome(node)
    (child,) = jobs_of(node, broken.__name__)
    assert ended_within_step(child)
    assert not child.is_excepted
    assert outputs['dielectric'].dielectric.ionic is not None
    assert not notes(outputs['dielectric'])


@pytest.mark.slow
def test_a_job_that_raises_before_it_is_submitted_is_replaced(run, generated_family, lithium_fluoride, monkeypatch):
    from aiida_quantumespresso.calculations.pw import PwCalculation

    raise_before_submission(monkeypatch, PwCalculation, 1)
    outputs, node = run(lithium_fluoride, generated_family, merge(CHEAP, {'scf': {'max_iterations': 2}}))
    assert node.is_finished_ok, outcome(node)
    assert [job.is_excepted for job in jobs_of(node, 'PwCalculation')] == [True, False]
    assert outputs['dielectric'].dielectric.ionic is not None


@pytest.mark.slow
@pytest.mark.parametrize('relax', [False, True])
def test_a_step_that_is_executed_twice_calls_each_program_once(
    run, generated_family, lithium_fluoride, monkeypatch, relax
):
    """As by a second worker after the death of the first one, which had submitted a job and saved nothing."""
    from aiida.orm.utils.serialize import deserialize_unsafe, serialize

    from aiida_goectp.workflows.dfpt.quantumespresso.ph_gamma import PhGammaBaseWorkChain
    from aiida_goectp.workflows.dfpt.quantumespresso.pw import (
        FaultTolerantPwBaseWorkChain,
        FaultTolerantPwRelaxWorkChain,
    )

    def twice(step):
        def execute(self):
            saved = serialize(self.ctx)
            step(self)
            self._awaitables = []
            self._context = deserialize_unsafe(saved)
            return step(self)

        return execute

    for kind, name in (
        (FaultTolerantPwBaseWorkChain, 'run_process'),
        (PhGammaBaseWorkChain, 'run_process'),
        (FaultTolerantPwRelaxWorkChain, 'run_relax'),
    ):
        monkeypatch.setattr(kind, name, twice(getattr(kind, name)))
    _, node = run(lithium_fluoride, generated_family, merge(CHEAP, {'relax': relax}))
    assert node.is_finished_ok is not relax, outcome(node)  # the rough forces do not vanish
    assert len(jobs_of(node, 'PwCalculation')) == 1
    assert len(jobs_of(node, 'PhGammaCalculation')) == (not relax)


@pytest.mark.slow
def test_failed_phonons_leave_the_electronic_part(run, generated_family, lithium_fluoride):
    killed = KILL_WHILE_RUNNING.format(times=9, until=FIELD_STORED)
    overrides = merge(CHEAP, {'nonmagnetic': True})
    outputs, node = run(lithium_fluoride, generated_family, overrides, ph=killed)
    assert node.is_finished_ok, outcome(node)
    assert outputs['dielectric'].dielectric.ionic is None
    assert outputs['dielectric'].dielectric.settings['nonmagnetic'] is True
    assert 'electronic part only' in notes(outputs['dielectric'])
    assert outputs['dielectric'].dielectric.settings['ionic_part_dropped'] is True
    assert 'scf_converged' not in failed_gates(outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('code', 'scripts'),
    [
        ('ERROR_SCF_NOT_CONVERGED', {'pw': 'sed -i "s/electron_maxstep.*/electron_maxstep = 2/" aiida.in'}),
        ('ERROR_PH_NOT_CONVERGED', {'ph': 'echo "     No convergence has been achieved"; exit 1'}),
        ('ERROR_PH_NOT_CONVERGED', {'ph': 'sed -i "s/tr2_ph.*/niter_ph = 1/" aiida.in'}),  # no error message
        ('ERROR_PH_FAILED', {'ph': 'exit 1'}),
        ('ERROR_OUT_OF_WALLTIME', {'ph': f'{TOO_SHORT}; sed -i "s/tr2_ph.*/tr2_ph = 1d-30/" aiida.in'}),
    ],
    ids=['scf_unconverged', 'ph_unconverged', 'ph_unconverged_without_message', 'ph_failed', 'walltime'],
)
def test_exit_code(run, generated_family, lithium_fluoride, code, scripts):
    _, node = run(lithium_fluoride, generated_family, CHEAP, **scripts)
    assert node.exit_status == EXIT_CODES[code].status, outcome(node)


@pytest.mark.slow
def test_exit_message_contains_the_error_message_of_the_program(run, generated_family, lithium_fluoride):
    wrong = 'sed -i "s/max_seconds.*/max_seconds = -1/" aiida.in'
    _, node = run(lithium_fluoride, generated_family, CHEAP, ph=wrong)
    assert node.exit_status == EXIT_CODES.ERROR_PH_FAILED.status, outcome(node)
    assert 'phq_readin' in node.exit_message
    assert 'Wrong max_seconds' in node.exit_message


@pytest.mark.slow
def test_exit_message_of_a_relaxation_contains_the_error_message_of_the_program(run, generated_family):
    wrong = """sed -i "s/&ELECTRONS/&\\n  unknown_name = 1/" aiida.in"""
    _, node = run(rocksalt('Li', 'F', 4.2), generated_family, merge(CHEAP, {'relax': True}), pw=wrong)
    assert node.is_failed
    assert 'PwCalculation' in node.exit_message, outcome(node)
    assert 'bad line in namelist' in node.exit_message, outcome(node)


@pytest.mark.slow
def test_ground_state_is_repeated_if_its_folder_is_gone_since_an_interrupted_run(
    codes, generated_family, lithium_fluoride, monkeypatch
):
    overrides = merge(CHEAP, {'clean_workdir': True})
    arguments = {**codes(), 'protocol': 'fast', 'overrides': overrides, 'pseudo_family': generated_family}

    def prepare(structure, **more):
        return QuantumEspressoDfptWorkChain.get_builder_from_protocol(
            structure=structure, **arguments | {'overrides': merge(overrides, more)}
        )

    def end_before_ph(self):
        if self.ctx.stage == 'ph':
            raise KeyError('charges')

    with monkeypatch.context() as patched:
        patched.setattr(QuantumEspressoDfptWorkChain, 'go_back', end_before_ph)
        _, first = run_get_node(prepare(lithium_fluoride))
    assert ended_within_step(first)
    assert jobs_of(first, 'PwCalculation')[0].is_finished_ok
    outputs, node = run_get_node(prepare(lithium_fluoride, continue_from=first.uuid))
    assert node.is_finished_ok, outcome(node)
    assert len(jobs_of(node, 'PwCalculation')) == 1
    assert [job.exit_status for job in jobs_of(node, 'PhGammaCalculation')] == [0]
    assert outputs['dielectric'].dielectric.ionic is not None
    assert not notes(outputs['dielectric'])

    # what is finished does not need the folders, which are gone by now
    monkeypatch.setattr(QuantumEspressoDfptWorkChain, 'collect_dielectric', lambda self: {}['charges'])
    _, second = run_get_node(prepare(lithium_fluoride, continue_from=[first.uuid]))
    monkeypatch.undo()
    _, node = run_get_node(prepare(lithium_fluoride, continue_from=[second.uuid, first.uuid]))
    assert node.is_finished_ok, outcome(node)
    assert not jobs_of(node, 'PwCalculation')
    assert not jobs_of(node, 'PhGammaCalculation')

"""Error handlers of VASP runs: detection, changes, abort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.workflows.aiida_private import RestartMixin
from aiida_goectp.workflows.dfpt.vasp.handlers import VaspBaseWorkChain, VaspResponseBaseWorkChain, validate_response
from aiida_goectp.workflows.dfpt.vasp.relax import VaspRelaxBaseWorkChain
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.replay_vasp.fixtures import structure_of
from tests.workflows.dfpt.vasp.nodes import crystal, ended_job, inspect, instantiate, replay

RESPONSE = {'encut': 600, 'ediff': 1e-7, 'nelm': 200, 'ismear': 0, 'gga': 'ps', 'lepsilon': True, 'ibrion': 8, 'nsw': 1}
CODES = VaspResponseBaseWorkChain.spec().exit_codes


@pytest.fixture(scope='module')
def row(replayed):
    return replayed('mp-22862')  # NaCl


@pytest.fixture(scope='module')
def files(row, tmp_path_factory):
    """Return a function that returns the files of a run with a fault; each fault is run once."""
    runs = {}

    def make(fault='', **tags):
        key = (fault, *sorted(tags.items()))
        if key not in runs:
            folder = tmp_path_factory.mktemp('run')
            runs[key] = replay(folder, crystal(row), {**RESPONSE, **tags}, fault, ('Na', 'Cl'))
        return runs[key]

    return make


@pytest.fixture
def chain(aiida_profile, replay_code, potcar_family, row):
    """Return a function that instantiates a work chain with changed tags."""

    def make(process=VaspResponseBaseWorkChain, options=None, limit=None, **tags):
        inputs = {
            'code': replay_code(),
            'structure': structure_of(row).store(),
            'parameters': orm.Dict({'incar': {**RESPONSE, **tags}}),
            'potential_family': orm.Str(potcar_family('Na', 'Cl')),
            'potential_mapping': orm.Dict({'Na': 'Na', 'Cl': 'Cl'}),
            'kpoints_spacing': orm.Float(0.1),
            'max_iterations': orm.Int(20),
            'calc': {'metadata': {'options': {'resources': {'num_machines': 1}, **(options or {})}}},
        }
        if limit:
            inputs['max_wallclock_seconds'] = orm.Int(limit)
        instance = instantiate(process, inputs)
        instance.setup()
        assert instance.init_inputs() is None
        return instance

    return make


@pytest.fixture(scope='module')
def jobs():
    """Finished jobs by their fault: each run is parsed once, since no work chain changes them."""
    return {}


@pytest.fixture
def inspect_run(aiida_localhost, files, jobs):
    """Return a function that lets a work chain inspect a run; it returns the exit status, ``None`` if accepted."""

    def inspect_one(process, fault):
        if fault not in jobs:
            jobs[fault] = ended_job(aiida_localhost, files(fault), RESPONSE)
        code = inspect(process, jobs[fault])
        return None if code is None else code.status

    return inspect_one


def test_successful_run_is_accepted(chain, inspect_run):
    process = chain()
    assert inspect_run(process, '') is None
    assert process.ctx.is_finished
    assert process.ctx.inputs.parameters['ibrion'] == 8


def test_symmetry(chain, inspect_run):
    process = chain()
    assert inspect_run(process, 'symmetry') == 0
    assert process.ctx.inputs.parameters['symprec'] == 1e-8
    assert inspect_run(process, 'symmetry') == 0
    assert process.ctx.inputs.parameters['isym'] == 0
    assert 'symprec' not in process.ctx.inputs.parameters
    assert inspect_run(process, 'symmetry') == CODES.ERROR_SYMMETRY.status


def test_requested_change_of_the_k_points_sets_isym_0(chain, inspect_run):
    process = chain()
    assert inspect_run(process, 'kpoints') == 0
    assert process.ctx.inputs.parameters['isym'] == 0
    assert inspect_run(process, 'kpoints') == CODES.ERROR_SYMMETRY.status


def test_symmetry_warning_does_not_hide_the_time_limit(chain, files, aiida_localhost):
    content = dict(files('walltime'))
    content['vasp_output'] = b' VERY BAD NEWS! internal error in subroutine IBZKPT\n' + content['vasp_output']
    process = chain(options={'max_wallclock_seconds': 1000})
    assert inspect(process, ended_job(aiida_localhost, content, RESPONSE)).status == 0
    assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == 2000
    assert 'symprec' not in process.ctx.inputs.parameters


def test_error_box_aborts_with_its_text(chain, inspect_run, files, aiida_localhost):
    process = chain()
    code = inspect(process, ended_job(aiida_localhost, files('', gga='AM'), RESPONSE))
    assert code.status == CODES.ERROR_REFUSED_BY_VASP.status
    assert 'ClNa' in code.message


@pytest.mark.slow
def test_walltime_is_doubled_up_to_the_limit_before_the_ionic_part_is_dropped(chain, inspect_run):
    process = chain(options={'max_wallclock_seconds': 1000}, limit=3000)
    for seconds in (2000, 3000):
        assert inspect_run(process, 'walltime') == 0
        assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == seconds
        assert process.ctx.inputs.parameters['ibrion'] == 8
    assert inspect_run(process, 'walltime') == 0
    assert process.ctx.inputs.parameters['ibrion'] == -1
    assert 'nsw' not in process.ctx.inputs.parameters
    assert inspect_run(process, 'walltime') == CODES.ERROR_WALLTIME.status


def test_walltime_is_taken_from_the_job_info(chain, inspect_run, files, aiida_localhost):
    process = chain(options={'max_wallclock_seconds': 1000})
    node = ended_job(aiida_localhost, files('killed'), RESPONSE, {'max_wallclock_seconds': 1000}, seconds=990)
    assert inspect(process, node).status == 0
    assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == 2000


@pytest.mark.slow
def test_memory(chain, inspect_run):
    process = chain(kpar=4)
    assert inspect_run(process, 'memory') == 0
    assert process.ctx.inputs.parameters['kpar'] == 1
    assert inspect_run(process, 'memory') == 0
    assert process.ctx.inputs.parameters['ibrion'] == -1
    assert inspect_run(process, 'memory') == CODES.ERROR_MEMORY.status


@pytest.mark.parametrize('fault', ['killed', 'dead'])
def test_unexplained_termination(chain, inspect_run, fault):
    process = chain()
    assert inspect_run(process, fault) == 0
    assert process.ctx.inputs.parameters['ibrion'] == 8
    assert inspect_run(process, fault) == 0
    assert process.ctx.inputs.parameters['ibrion'] == -1
    assert inspect_run(process, fault) == CODES.ERROR_DIED.status


def test_second_termination_without_ionic_part_aborts(chain, inspect_run, files, aiida_localhost):
    """With the last line of the error stream, which may explain it."""
    process = chain(ibrion=-1)
    assert inspect_run(process, 'killed') == 0
    content = {**files('killed'), '_scheduler-stderr.txt': b'vasp: error while loading libmkl.so\n\n'}
    code = inspect(process, ended_job(aiida_localhost, content, RESPONSE))
    assert code.status == CODES.ERROR_DIED.status
    assert code.message.endswith(': vasp: error while loading libmkl.so')


@pytest.mark.parametrize('fault', ['electronic', 'hidden', 'critical'])
def test_ground_state(chain, inspect_run, fault):
    """Also if the last loop converged, so that the parser reports no error."""
    process = chain()
    assert inspect_run(process, fault) == 0
    assert process.ctx.inputs.parameters['algo'] == 'all'
    assert process.ctx.inputs.parameters['nelm'] == 400
    assert inspect_run(process, fault) == 0
    tags = process.ctx.inputs.parameters
    assert (tags['algo'], tags['amix'], tags['bmix'], tags['nelm']) == ('normal', 0.1, 0.01, 800)
    assert inspect_run(process, fault) == CODES.ERROR_NO_CONVERGENCE.status


def test_response(chain, inspect_run):
    process = chain()
    assert inspect_run(process, 'response') == 0
    assert 'algo' not in process.ctx.inputs.parameters
    assert process.ctx.inputs.parameters['nelm'] == 400
    assert inspect_run(process, 'response') == 0
    assert process.ctx.inputs.parameters['ediff'] == pytest.approx(1e-6)
    assert inspect_run(process, 'response') == CODES.ERROR_NO_CONVERGENCE.status


def test_missing_tensor_in_a_successful_run(chain, inspect_run):
    process = chain()
    assert inspect_run(process, 'no_dielectrics') == 0
    assert inspect_run(process, 'no_dielectrics') == CODES.ERROR_NO_TENSOR.status


def test_truncated_vasprun_causes_no_restart(chain, inspect_run):
    process = chain()
    assert inspect_run(process, 'truncated') is None
    assert process.ctx.is_finished


@pytest.mark.slow
def test_changes_accumulate(chain, inspect_run):
    process = chain(options={'max_wallclock_seconds': 1000})
    for fault in ('symmetry', 'walltime', 'electronic', 'killed'):
        assert inspect_run(process, fault) == 0
    tags = process.ctx.inputs.parameters
    assert (tags['symprec'], tags['algo'], tags['ibrion']) == (1e-8, 'all', 8)
    assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == 2000
    assert inspect_run(process, '') is None


def test_interrupted_relaxation_continues_from_its_last_structure(chain, inspect_run, files, aiida_localhost, row):
    tags = {'lepsilon': False, 'ibrion': 2, 'nsw': 60}
    process = chain(VaspBaseWorkChain, options={'max_wallclock_seconds': 1000}, **tags)
    content = dict(files('', **tags))  # the first step is complete
    content['OUTCAR'] = content['OUTCAR'][: content['OUTCAR'].index(b' General timing')]
    content['vasp_output'] += b'slurmstepd: error: *** JOB 1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n'
    node = ended_job(aiida_localhost, content, {**RESPONSE, **tags})
    assert node.exit_status == 700
    assert inspect(process, node).status == 0
    assert process.ctx.inputs.structure.uuid == node.outputs.structure.uuid
    assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == 2000


@pytest.mark.parametrize(
    ('tags', 'word'),
    [
        ({'ncore': 4}, 'NCORE'),
        ({'npar': 2}, 'NPAR'),
        ({'nelm': 60}, 'NELM'),
        ({'ismear': 1}, 'metals'),
        ({'lepsilon': False}, 'LEPSILON'),
        ({}, None),
        ({'kpar': 4, 'ncore': 1}, None),
    ],
)
def test_unsuitable_tags_are_refused(aiida_profile, tags, word):
    message = validate_response({'parameters': orm.Dict({'incar': {**RESPONSE, **tags}})}, _Context())
    assert message is None if word is None else word in message


def test_documentation_lists_all_handlers_and_exit_codes():
    page = (Path(__file__).parents[4] / 'docs' / 'reference' / 'dfpt-vasp.md').read_text(encoding='utf-8')
    for process in (VaspBaseWorkChain, VaspResponseBaseWorkChain, VaspRelaxBaseWorkChain):
        for name in (key for key in dir(process) if key.startswith('handle_')):
            assert f'| `{name}` |' in page, name
        for code in process.spec().exit_codes.values():
            if 520 <= code.status < 550:
                assert f'| {code.status} |' in page, code


class _Context:
    """Namespace without ports."""

    def get_port(self, name):
        raise ValueError(name)


def test_a_step_that_is_executed_twice_submits_one_job(chain):
    process = chain()
    with process._process_scope():
        for _ in range(2):  # as by a second worker after the death of the first one
            process.ctx.iteration = 0
            assert process.prepare_inputs() is None
            (awaited,) = process.run_process().values()
    assert [node.pk for node in process.node.called] == [awaited.pk]


def test_a_relaxation_continues_with_the_kinds_of_its_input(chain, monkeypatch):
    process = chain(VaspBaseWorkChain, lepsilon=False, ibrion=2, nsw=60)
    given = process.inputs.structure
    parsed = orm.StructureData(cell=(2 * np.array(given.cell)).tolist())
    for site in given.sites:
        parsed.append_atom(position=site.position, symbols=site.kind_name, name=f'{site.kind_name}9')
    process.ctx.inputs.structure = parsed.store()
    monkeypatch.setattr(RestartMixin, 'run_process', lambda self: self.ctx.inputs.structure)
    structure = process.run_process()
    assert structure.get_site_kindnames() == given.get_site_kindnames()
    assert structure.cell == parsed.cell

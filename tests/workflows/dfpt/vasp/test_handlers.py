"""Every handler of a VASP run: what it sees, what it does, when it gives up."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiida import orm

from aiida_goectp.workflows.dfpt.vasp.handlers import VaspBaseWorkChain, VaspResponseBaseWorkChain, validate_response
from aiida_goectp.workflows.dfpt.vasp.relax import VaspRelaxBaseWorkChain
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.replay_vasp.fixtures import structure_of
from tests.workflows.dfpt.vasp.nodes import begun, crystal, ended_job, inspect, replay

RESPONSE = {'encut': 600, 'ediff': 1e-7, 'nelm': 200, 'ismear': 0, 'gga': 'ps', 'lepsilon': True, 'ibrion': 8, 'nsw': 1}
CODES = VaspResponseBaseWorkChain.spec().exit_codes


@pytest.fixture(scope='module')
def row(shared):
    import gzip
    import json

    with gzip.open(shared / 'data' / 'phonondb_born.jsonl.gz', 'rt') as stream:
        return next(found for found in map(json.loads, stream) if found['id'] == 'mp-22862')  # NaCl


@pytest.fixture(scope='module')
def files(row, tmp_path_factory):
    """Return a function that gives the files of a run that failed in some way; each way is run once."""
    known = {}

    def made(fault='', **tags):
        key = (fault, *sorted(tags.items()))
        if key not in known:
            folder = tmp_path_factory.mktemp('run')
            known[key] = replay(folder, crystal(row), {**RESPONSE, **tags}, fault, ('Na', 'Cl'))
        return known[key]

    return made


@pytest.fixture
def chain(aiida_profile, replay_code, potcar_family, row):
    """Return a function that begins a work chain with some tags changed."""

    def begin(process=VaspResponseBaseWorkChain, options=None, limit=None, **tags):
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
        found = begun(process, inputs)
        found.setup()
        assert found.init_inputs() is None
        return found

    return begin


@pytest.fixture
def judge(aiida_localhost, files):
    """Return a function that lets a work chain judge a run; it gives the exit code, ``None`` if it is content."""

    def judged(process, fault, options=None, content=None):
        found = files(fault) if content is None else content
        code = inspect(process, ended_job(aiida_localhost, found, RESPONSE, options))
        return None if code is None else code.status

    return judged


def test_a_good_run_is_content(chain, judge):
    process = chain()
    assert judge(process, '') is None
    assert process.ctx.is_finished
    assert process.ctx.inputs.parameters['ibrion'] == 8


def test_symmetry(chain, judge):
    process = chain()
    assert judge(process, 'symmetry') == 0
    assert process.ctx.inputs.parameters['symprec'] == 1e-8
    assert judge(process, 'symmetry') == 0
    assert process.ctx.inputs.parameters['isym'] == 0
    assert 'symprec' not in process.ctx.inputs.parameters
    assert judge(process, 'symmetry') == CODES.ERROR_SYMMETRY.status


def test_a_change_of_the_k_points_needs_isym_0_at_once(chain, judge):
    process = chain()
    assert judge(process, 'kpoints') == 0
    assert process.ctx.inputs.parameters['isym'] == 0
    assert judge(process, 'kpoints') == CODES.ERROR_SYMMETRY.status


def test_a_warning_about_symmetry_is_not_why_a_run_was_stopped(chain, judge, files):
    content = dict(files('walltime'))
    content['vasp_output'] = b' VERY BAD NEWS! internal error in subroutine IBZKPT\n' + content['vasp_output']
    process = chain(options={'max_wallclock_seconds': 1000})
    assert judge(process, 'walltime', content=content) == 0
    assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == 2000
    assert 'symprec' not in process.ctx.inputs.parameters


def test_a_refusal_is_final_and_says_why(chain, judge, files, aiida_localhost):
    process = chain()
    code = inspect(process, ended_job(aiida_localhost, files('', gga='AM'), RESPONSE))
    assert code.status == CODES.ERROR_REFUSED_BY_VASP.status
    assert 'no published tensor of ClNa' in code.message


def test_walltime_is_doubled_up_to_the_limit_then_the_ionic_part_goes(chain, judge):
    process = chain(options={'max_wallclock_seconds': 1000}, limit=3000)
    for seconds in (2000, 3000):
        assert judge(process, 'walltime') == 0
        assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == seconds
        assert process.ctx.inputs.parameters['ibrion'] == 8
    assert judge(process, 'walltime') == 0
    assert process.ctx.inputs.parameters['ibrion'] == -1
    assert 'nsw' not in process.ctx.inputs.parameters
    assert judge(process, 'walltime') == CODES.ERROR_WALLTIME.status


def test_walltime_that_only_the_scheduler_knows_of(chain, judge, files, aiida_localhost):
    process = chain(options={'max_wallclock_seconds': 1000})
    node = ended_job(aiida_localhost, files('killed'), RESPONSE, {'max_wallclock_seconds': 1000}, seconds=990)
    assert inspect(process, node).status == 0
    assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == 2000


def test_memory(chain, judge):
    process = chain(kpar=4)
    assert judge(process, 'memory') == 0
    assert process.ctx.inputs.parameters['kpar'] == 1
    assert judge(process, 'memory') == 0
    assert process.ctx.inputs.parameters['ibrion'] == -1
    assert judge(process, 'memory') == CODES.ERROR_MEMORY.status


@pytest.mark.parametrize('fault', ['killed', 'dead'])
def test_death(chain, judge, fault):
    process = chain()
    assert judge(process, fault) == 0
    assert process.ctx.inputs.parameters['ibrion'] == 8
    assert judge(process, fault) == 0
    assert process.ctx.inputs.parameters['ibrion'] == -1
    assert judge(process, fault) == CODES.ERROR_DIED.status


def test_a_run_without_ionic_part_has_nothing_to_do_without(chain, judge):
    process = chain(ibrion=-1)
    assert judge(process, 'killed') == 0
    assert judge(process, 'killed') == CODES.ERROR_DIED.status


@pytest.mark.parametrize('fault', ['electronic', 'hidden', 'critical'])
def test_ground_state(chain, judge, fault):
    """Also when the last loop converged and the parser is content."""
    process = chain()
    assert judge(process, fault) == 0
    assert process.ctx.inputs.parameters['algo'] == 'all'
    assert process.ctx.inputs.parameters['nelm'] == 400
    assert judge(process, fault) == 0
    tags = process.ctx.inputs.parameters
    assert (tags['algo'], tags['amix'], tags['bmix'], tags['nelm']) == ('normal', 0.1, 0.01, 800)
    assert judge(process, fault) == CODES.ERROR_NO_CONVERGENCE.status


def test_response(chain, judge):
    process = chain()
    assert judge(process, 'response') == 0
    assert 'algo' not in process.ctx.inputs.parameters
    assert process.ctx.inputs.parameters['nelm'] == 400
    assert judge(process, 'response') == 0
    assert process.ctx.inputs.parameters['ediff'] == pytest.approx(1e-6)
    assert judge(process, 'response') == CODES.ERROR_NO_CONVERGENCE.status


def test_no_tensor_in_a_good_run(chain, judge):
    process = chain()
    assert judge(process, 'no_dielectrics') == 0
    assert judge(process, 'no_dielectrics') == CODES.ERROR_NO_TENSOR.status


def test_a_torn_vasprun_is_no_reason_to_run_again(chain, judge):
    process = chain()
    assert judge(process, 'truncated') is None
    assert process.ctx.is_finished


def test_remedies_add_up(chain, judge):
    process = chain(options={'max_wallclock_seconds': 1000})
    for fault in ('symmetry', 'walltime', 'electronic', 'killed'):
        assert judge(process, fault) == 0
    tags = process.ctx.inputs.parameters
    assert (tags['symprec'], tags['algo'], tags['ibrion']) == (1e-8, 'all', 8)
    assert process.ctx.inputs.metadata['options']['max_wallclock_seconds'] == 2000
    assert judge(process, '') is None


def test_a_relaxation_that_runs_out_of_time_goes_on(chain, judge, files, aiida_localhost, row):
    tags = {'lepsilon': False, 'ibrion': 2, 'nsw': 60}
    process = chain(VaspBaseWorkChain, options={'max_wallclock_seconds': 1000}, **tags)
    content = dict(files('', **tags))  # a whole first step, then the end
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
def test_what_a_response_cannot_have_is_refused_before_it_runs(aiida_profile, tags, word):
    message = validate_response({'parameters': orm.Dict({'incar': {**RESPONSE, **tags}})}, _Context())
    assert message is None if word is None else word in message


def test_the_manual_lists_every_handler_and_exit_code():
    page = (Path(__file__).parents[4] / 'docs' / 'reference' / 'dfpt-vasp.md').read_text(encoding='utf-8')
    for process in (VaspBaseWorkChain, VaspResponseBaseWorkChain, VaspRelaxBaseWorkChain):
        for name in (key for key in dir(process) if key.startswith('handle_')):
            assert f'| `{name}` |' in page, name
        for code in process.spec().exit_codes.values():
            if 520 <= code.status < 550:
                assert f'| {code.status} |' in page, code


class _Context:
    """A name space without code."""

    def get_port(self, name):
        raise ValueError(name)

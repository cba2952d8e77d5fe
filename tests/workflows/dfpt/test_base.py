"""The interface of the engines, proven on one that looks its answers up."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from tests.workflows.dfpt.table_engine import TableDfptWorkChain, key_of

GOOD = {
    'electronic': (3.2 * np.eye(3)).tolist(),
    'ionic': (7.0 * np.eye(3)).tolist(),
    'born_charges': [(2 * np.eye(3)).tolist(), (-2 * np.eye(3)).tolist()],
    'frequencies': [0, 0, 0, 12.0, 12.0, 12.0],
    'band_gap': 4.5,
    'max_force': 0.0,
}


@pytest.fixture
def mgo(aiida_profile, crystal_set):
    return structure_from_crystal(crystal_set[1]).store()


def compute(structure, answer, thresholds=None, engine=TableDfptWorkChain, **arguments):
    table = {} if answer is None else {key_of(structure): answer}
    builder = engine.get_builder_from_protocol(structure, arguments.pop('table', table), **arguments)
    if thresholds is not None:
        builder.thresholds = orm.Dict(thresholds)
    return run_get_node(builder)


def test_a_response_with_its_verdict_and_its_origin(mgo):
    results, node = compute(mgo, GOOD)
    assert node.is_finished_ok, node.exit_message
    quality = results['quality'].get_dict()
    assert quality['label'] == 'accepted'
    assert quality['reason'] == ''
    assert {gate['name']: gate['value'] for gate in quality['gates']}['insulating'] == 4.5
    response = results['dielectric']
    assert response.base.attributes.get('formula') == 'MgO'
    np.testing.assert_allclose(response.dielectric.total, 10.2 * np.eye(3))
    assert response.creator.inputs.structure.uuid == mgo.uuid
    assert results['quality'].creator.inputs.dielectric.uuid == response.uuid
    assert [link.link_label for link in node.base.links.get_outgoing().all()][:1] == ['dfpt_01']
    assert 'relaxed_structure' not in results


def test_the_response_stands_in_the_relaxed_cell(mgo):
    stretched = structure_from_crystal(_stretched(mgo, 1.02))
    table = {key_of(stretched): GOOD}
    results, node = compute(mgo, None, table=table, relax=True, factor=1.02)
    assert node.is_finished_ok, node.exit_message
    relaxed = results['relaxed_structure']
    np.testing.assert_allclose(relaxed.cell, 1.02 * np.array(mgo.cell))
    np.testing.assert_allclose(results['dielectric'].dielectric.crystal.lattice, relaxed.cell)
    assert results['dielectric'].creator.inputs.structure.uuid == relaxed.uuid


def _stretched(structure, factor):
    from aiida_goectp.data.crystals import crystal_from_structure

    crystal = crystal_from_structure('stretched', structure)
    return crystal._replace(lattice=crystal.lattice * factor)


def test_a_failed_gate_is_no_failure(mgo):
    results, node = compute(mgo, GOOD | {'frequencies': [-2.0, -2.0, -2.0, 0, 0, 0]})
    assert node.is_finished_ok
    assert results['quality']['label'] == 'electronic-only'
    assert results['quality']['reason'].startswith('no_imaginary_mode: lowest optical frequency -2.00 THz')
    results, node = compute(mgo, GOOD | {'band_gap': 0.0})
    assert node.is_finished_ok
    assert results['quality']['label'] == 'refused'
    assert 'dielectric' in results


def test_thresholds_are_inputs(mgo):
    results, _ = compute(mgo, GOOD, {'insulating': 5.0})
    assert results['quality']['label'] == 'refused'
    assert results['quality'].creator.inputs.thresholds.get_dict() == {'insulating': 5.0}
    results, _ = compute(mgo, GOOD | {'frequencies': None}, {'no_imaginary_mode': None})
    assert results['quality']['label'] == 'accepted'


def test_a_metal_is_refused_without_a_response(mgo):
    results, node = compute(mgo, {'band_gap': 0.0})
    assert node.is_finished_ok, node.exit_message
    assert results['quality']['label'] == 'refused'
    assert results['quality']['reason'] == 'insulating: band gap 0.000 eV (must be > 0)'
    assert 'dielectric' not in results


@pytest.mark.parametrize(
    ('answer', 'arguments', 'status', 'message'),
    [
        (GOOD, {'relax': True, 'factor': -1.0}, 401, '[310] The factor is negative.'),
        (GOOD, {'relax': True, 'factor': 0.0}, 410, 'there is no output structure'),
        (None, {}, 402, '[310] The table has no answer.'),
        (GOOD | {'electronic': [[1.0]]}, {}, 411, "array 'electronic' has shape (1, 1)"),
    ],
)
def test_exit_codes(mgo, answer, arguments, status, message):
    results, node = compute(mgo, answer, **arguments)
    assert node.exit_status == status
    assert message in node.exit_message
    assert 'quality' not in results


class EndlessDfptWorkChain(TableDfptWorkChain):
    defaults = TableDfptWorkChain.defaults | {'max_processes': 2}

    def inspect_dfpt(self):
        return None


def test_an_engine_that_never_ends_is_stopped(mgo):
    _, node = compute(mgo, GOOD, engine=EndlessDfptWorkChain)
    assert node.exit_status == 403
    assert len(node.called) == 2


@pytest.mark.usefixtures('aiida_profile')
def test_what_is_no_crystal_is_refused_before_anything_runs():
    builder = TableDfptWorkChain.get_builder()
    slab = orm.StructureData(cell=np.eye(3) * 4, pbc=(True, True, False))
    slab.append_atom(position=(0, 0, 0), symbols='Si')
    with pytest.raises(ValueError, match='periodic in 2 directions only'):
        builder.structure = slab
    close = orm.StructureData(cell=np.eye(3) * 4)
    close.append_atom(position=(0, 0, 0), symbols='Si')
    close.append_atom(position=(0, 0, 0.1), symbols='Si')
    with pytest.raises(ValueError, match='Å'):
        builder.structure = close
    with pytest.raises(ValueError, match="no gate is named 'beauty'"):
        builder.thresholds = {'beauty': 1.0}


def test_the_interface_itself_cannot_be_run():
    assert DfptWorkChain.__abstractmethods__ == {
        'collect_dielectric',
        'dfpt_process',
        'relax_process',
        'relaxed_structure',
    }


def test_what_jobs_cost(mgo, aiida_localhost, aiida_code_installed):
    code = aiida_code_installed(label='bash', filepath_executable='/bin/bash')
    aiida_localhost.set_minimum_job_poll_interval(0.0)
    results, node = compute(mgo, GOOD, code=code)
    assert node.is_finished_ok, node.exit_message
    assert results['quality']['label'] == 'accepted'
    job = next(child for child in node.called_descendants if isinstance(child, orm.CalcJobNode))
    hours = TableDfptWorkChain.core_hours(node)
    assert 0 < hours <= 2 * (job.mtime - job.ctime).total_seconds() / 3600 + 1

"""Base class of the engines, tested with an engine that reads its results from a table."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.data.crystals import crystal_from_structure, structure_from_crystal
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


def test_response_with_quality_and_provenance(mgo):
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


def test_response_belongs_to_the_relaxed_cell(mgo):
    crystal = crystal_from_structure('MgO', mgo)
    expanded = structure_from_crystal(crystal._replace(lattice=1.02 * crystal.lattice))
    table = {key_of(expanded): GOOD}
    results, node = compute(mgo, None, table=table, relax=True, factor=1.02)
    assert node.is_finished_ok, node.exit_message
    relaxed = results['relaxed_structure']
    np.testing.assert_allclose(relaxed.cell, 1.02 * np.array(mgo.cell))
    np.testing.assert_allclose(results['dielectric'].dielectric.crystal.lattice, relaxed.cell)
    assert results['dielectric'].creator.inputs.structure.uuid == relaxed.uuid


def test_failed_gate_is_not_a_failure(mgo):
    results, node = compute(mgo, GOOD | {'frequencies': [-2.0, -2.0, -2.0, 0, 0, 0]})
    assert node.is_finished_ok
    assert results['quality']['label'] == 'electronic-only'
    assert results['quality']['reason'].startswith('no_imaginary_mode: ')
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


def test_metal_is_refused_without_a_response(mgo):
    results, node = compute(mgo, {'band_gap': 0.0})
    assert node.is_finished_ok, node.exit_message
    assert results['quality']['label'] == 'refused'
    assert [gate['name'] for gate in results['quality']['gates']] == ['insulating']
    assert 'dielectric' not in results


@pytest.mark.parametrize(
    ('answer', 'arguments', 'status', 'message'),
    [
        (GOOD, {'relax': True, 'factor': -1.0}, 401, '[310]'),
        (GOOD, {'relax': True, 'factor': 0.0}, 410, 'no structure'),
        (None, {}, 402, '[310]'),
        (GOOD | {'electronic': [[1.0]]}, {}, 411, 'electronic'),
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


def test_endless_engine_is_stopped(mgo):
    _, node = compute(mgo, GOOD, engine=EndlessDfptWorkChain)
    assert node.exit_status == 403
    assert len(node.called) == 2


def test_abstract_methods():
    assert DfptWorkChain.__abstractmethods__ == {
        'collect_dielectric',
        'dfpt_process',
        'relax_process',
        'relaxed_structure',
    }


def test_core_hours_of_jobs(mgo, aiida_localhost, aiida_code_installed):
    code = aiida_code_installed(label='bash', filepath_executable='/bin/bash')
    results, node = compute(mgo, GOOD, code=code)
    assert node.is_finished_ok, node.exit_message
    assert results['quality']['label'] == 'accepted'
    job = next(child for child in node.called_descendants if isinstance(child, orm.CalcJobNode))
    elapsed = (job.mtime - job.ctime).total_seconds()
    assert 0 < 3600 * TableDfptWorkChain.core_hours(node) <= elapsed + 1

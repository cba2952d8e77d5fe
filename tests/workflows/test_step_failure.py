"""A step that raises an exception after a child has finished: nothing that was computed is lost."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.workflows.aiida_private import STEP_RAISED
from aiida_goectp.workflows.failures import ended_within_step
from aiida_goectp.workflows.submit_once import SubmitOnceMixin
from tests.conftest import textbook
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import ReadTable, TableDfptWorkChain, key_of
from tests.workflows.test_verify import calculations, verify

VERIFY_ALL_FAILED = 420


class RaisingWorkChain(SubmitOnceMixin):
    """Work chain with a finished child, of which the second step raises an exception."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData)
        spec.input('table', valid_type=orm.Dict)
        spec.output('answer', valid_type=orm.Dict, required=False)
        spec.output('missing', valid_type=orm.Dict)
        spec.outline(cls.read, cls.take)

    def read(self):
        self.to_context(child=self.submit_once('child', ReadTable, dict(self.inputs)))

    def take(self):
        self._look_up()

    def _look_up(self):
        raise KeyError('no such kind\nsecond line')

    def attach_partial_results(self):
        self.out('answer', self.ctx.child.outputs.answer)


def test_the_exit_code_names_step_exception_and_finished_child(aiida_profile, crystals):
    structure = crystals.structure(0)
    table = orm.Dict({key_of(structure): {'band_gap': 1.0}})
    results, node = run_get_node(RaisingWorkChain, structure=structure, table=table)
    assert node.exit_status == STEP_RAISED
    assert ended_within_step(node)
    (child,) = [called for called in node.called if called.process_label == 'ReadTable']
    assert child.is_finished_ok
    for part in ('step take raised', 'KeyError', 'no such kind', f'ReadTable<{child.pk}>'):
        assert part in node.exit_message
    assert results['answer'].uuid == child.outputs.answer.uuid
    assert any('Traceback' in log.message for log in orm.Log.collection.get_logs_for(node))


def number_of_runs():
    return orm.QueryBuilder().append(ReadTable).count()


@pytest.fixture(scope='module')
def one_crystal(empty_profile):
    """Return inputs of a verification of one crystal, and the table of DFPT results."""
    inputs, table = screened(textbook())
    first = inputs['selection'].get_list()[:1]
    names = [item['structure'] for item in first]
    structures = {name: inputs['structures'][name] for name in names}
    return inputs | {'selection': orm.List(first), 'structures': structures}, table


def test_a_verification_collects_what_was_finished_before_the_exception(one_crystal, monkeypatch):
    inputs, table = one_crystal
    with monkeypatch.context() as patched:
        patched.setattr(TableDfptWorkChain, 'collect_dielectric', lambda self: {}['charges'])
        results, node = verify(inputs, table, reuse=True)
    assert node.exit_status == VERIFY_ALL_FAILED
    (run,) = calculations(node)
    assert run.exit_status == STEP_RAISED
    assert f'ReadTable<{run.called[0].pk}>' in node.exit_message
    assert 'accepted' not in results
    before = number_of_runs()

    results, node = verify(inputs, table, reuse=True)
    assert node.is_finished_ok, node.exit_message
    assert len(results['accepted']) == 1
    assert number_of_runs() == before
    (again,) = calculations(node)
    creator = next(iter(results['accepted'].values())).creator
    assert creator.inputs.answer.uuid == run.called[0].outputs.answer.uuid
    assert 'ReadTable' not in [called.process_label for called in again.called]

    _, node = verify(inputs, table, reuse=True)  # now it is an earlier response
    assert not calculations(node)
    _, node = verify(inputs, table, reuse=False)
    assert number_of_runs() == before + 1


@pytest.mark.slow
def test_a_process_is_found_again_after_the_run_that_used_it_was_interrupted_too(one_crystal, monkeypatch):
    inputs, table = one_crystal
    table = table | {'of this test': {}}
    before = number_of_runs()
    with monkeypatch.context() as patched:
        patched.setattr(TableDfptWorkChain, 'collect_dielectric', lambda self: {}['charges'])
        for _ in range(2):  # the second one takes the process of the first one, without a link to it
            verify(inputs, table, reuse=True)
    assert number_of_runs() == before + 1
    results, _ = verify(inputs, table, reuse=True)
    assert len(results['accepted']) == 1
    assert number_of_runs() == before + 1


@pytest.mark.slow
def test_finished_processes_of_a_run_that_ended_by_itself_are_not_used_again(one_crystal):
    inputs, table = one_crystal
    answers = {key: {**answer, 'electronic': [[1.0]]} for key, answer in table.items()}
    before = number_of_runs()
    for count in (1, 2):
        _, node = verify(inputs, answers, reuse=True)
        assert calculations(node)[0].exit_status == 411
        assert number_of_runs() == before + count


@pytest.mark.parametrize('wrong', ['nothing', 'the structure'])
def test_only_a_run_of_the_engine_can_be_continued(one_crystal, wrong):
    inputs, _ = one_crystal
    structure = next(iter(inputs['structures'].values()))
    builder = TableDfptWorkChain.get_builder_from_protocol(structure, {})
    with pytest.raises(ValueError, match='continue_from'):
        builder.continue_from = structure.uuid if wrong == 'the structure' else 'no uuid'

"""Earlier runs that a new one need not repeat, with an engine that reads its results from a table."""

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.dfpt.reuse import find_usable_runs, gap_of_metal
from tests.workflows.dfpt.table_engine import TableDfptWorkChain, key_of
from tests.workflows.dfpt.test_base import GOOD, compute


class OtherPotentials(TableDfptWorkChain):
    """Engine whose potentials have changed."""

    @classmethod
    def has_same_potentials(cls, node, inputs):
        return False


@pytest.fixture
def mgo(aiida_profile, crystal_set):
    return structure_from_crystal(crystal_set[1]).store()


def usable(node, answer, thresholds=None, engine=TableDfptWorkChain, **arguments):
    structure = node.inputs.structure
    builder = engine.get_builder_from_protocol(structure, {key_of(structure): answer}, **arguments)
    if thresholds is not None:
        builder.thresholds = orm.Dict(thresholds)
    return find_usable_runs(engine, [node.pk], builder_inputs(builder))


def test_response_with_the_same_settings_and_potentials(mgo):
    _, node = compute(mgo, GOOD)
    assert usable(node, GOOD).finished.pk == node.pk
    assert usable(node, GOOD, {'insulating': 5.0}).finished.pk == node.pk
    assert usable(node, GOOD, factor=1.5) == (None, ())
    assert usable(node, GOOD, engine=OtherPotentials) == (None, ())


@pytest.mark.parametrize(('settings', 'reused'), [({'ionic_part_dropped': True}, False), ({'cutoff': 520}, True)])
def test_an_ionic_part_that_lacked_resources_is_computed_again(mgo, settings, reused):
    answer = {**GOOD, 'ionic': None, 'settings': settings}
    results, node = compute(mgo, answer)
    assert results['quality']['label'] == 'electronic-only'
    assert (usable(node, answer).finished is not None) is reused


@pytest.mark.parametrize(
    ('thresholds', 'reused'),
    [(None, True), ({'insulating': 0.5}, True), ({'insulating': None}, False), ({'insulating': -1.0}, False)],
)
def test_a_metal_is_reused_if_it_is_still_refused(mgo, thresholds, reused):
    answer = {'band_gap': 0.0}
    results, node = compute(mgo, answer)
    assert 'dielectric' not in results
    assert gap_of_metal(node).value == 0
    assert (usable(node, answer, thresholds).finished is not None) is reused


def test_gap_is_that_of_a_run_without_response(mgo):
    _, node = compute(mgo, {**GOOD, 'electronic': np.eye(3).tolist()})
    assert gap_of_metal(node) is None


def test_all_runs_that_were_interrupted_since_the_last_that_was_not(mgo, monkeypatch):
    _, failed = compute(mgo, GOOD | {'electronic': [[1.0]]})
    builder = TableDfptWorkChain.get_builder_from_protocol(mgo, {key_of(mgo): GOOD})
    with monkeypatch.context() as patched:
        patched.setattr(TableDfptWorkChain, 'collect_dielectric', lambda self: {}['charges'])
        first, second = (compute(mgo, GOOD)[1] for _ in range(2))
    assert find_usable_runs(TableDfptWorkChain, [second.pk, first.pk], builder_inputs(builder)) == (
        None,
        (second, first),
    )
    bad = TableDfptWorkChain.get_builder_from_protocol(mgo, {key_of(mgo): GOOD | {'electronic': [[1.0]]}})
    assert find_usable_runs(TableDfptWorkChain, [failed.pk], builder_inputs(bad)) == (None, ())

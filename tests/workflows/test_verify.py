"""``VerifyWorkChain``: order, concurrency, budget, reuse, failures, comparison and the way back to the file."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.calculations.verification import content_hash
from aiida_goectp.workflows.dfpt.engines import load_engine
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import NAME

ORDER = ['GaAs', 'Si', 'TiO2', 'SrTiO3', 'AlN', 'MgO']


@pytest.fixture
def campaign(aiida_profile, crystal_set):
    """Return the inputs of a verification of all six crystals, and the table of the answers."""
    return screened(crystal_set)


def verify(inputs, table, arguments=None, reuse=False, **more):
    dfpt = {'table': orm.Dict(table)}
    for name, item in (arguments or {}).items():
        dfpt[name] = item if isinstance(item, orm.Data) else orm.to_aiida_type(item)
    return run_get_node(VerifyWorkChain, **inputs, engine=NAME, dfpt=dfpt, reuse=reuse, **more)


def key(inputs, name):
    """Return the key in the table of a crystal by its name."""
    item = next(item for item in inputs['selection'].get_list() if item['id'] == name)
    return content_hash(inputs['structures'][item['structure']])


def calculations(node):
    """Return the calculations of a verification in the order in which they were started."""
    called = [child for child in node.called if child.process_label == 'TableDfptWorkChain']
    return sorted(called, key=lambda child: child.pk)


def origins(node):
    """Return all that a node comes from."""
    found, waiting = {}, [node]
    while waiting:
        item = waiting.pop()
        if item.uuid not in found:
            found[item.uuid] = item
            if item.creator is not None:
                waiting += item.creator.base.links.get_incoming(node_class=orm.Data).all_nodes()
    return list(found.values())


def test_a_selection_is_computed_in_order_and_compared(campaign):
    inputs, table = campaign
    table[key(inputs, 'Si')]['band_gap'] = 0.0
    table[key(inputs, 'AlN')]['frequencies'][0:4] = [-3.0] * 4
    del table[key(inputs, 'TiO2')]
    results, node = verify(inputs, table, max_concurrent=2)
    assert node.is_finished_ok, node.exit_message

    names = {item['id']: item['structure'] for item in inputs['selection'].get_list()}
    assert list(names) == ORDER
    children = calculations(node)
    assert [child.inputs.structure.uuid for child in children] == [
        inputs['structures'][names[name]].uuid for name in ORDER
    ]
    # never more than two at a time, and the third began as soon as one had ended, whatever the other did
    for child in children:
        running = [other for other in children if other.ctime <= child.ctime < other.mtime]
        assert len(running) <= 2

    assert sorted(results['accepted']) == sorted(names[name] for name in ('GaAs', 'SrTiO3', 'MgO'))
    assert list(results['electronic_only']) == [names['AlN']]
    # a response that gates refuse is a result as well, with its verdict
    assert list(results['refused_responses']) == [names['Si']]
    assert set(results['verdicts']) == set(names.values()) - {names['TiO2']}
    assert results['verdicts'][names['Si']]['label'] == 'refused'
    refused = results['refused'].get_dict()
    assert set(refused) == {names['Si'], names['TiO2']}
    assert refused[names['Si']]['label'] == 'refused'
    assert refused[names['Si']]['reason'].startswith('insulating: band gap 0.000 eV')
    assert refused[names['TiO2']]['label'] == 'failed'
    assert 'The table has no answer' in refused[names['TiO2']]['reason']
    summary = results['summary'].get_dict()
    assert [row['id'] for row in summary['rows']] == ORDER
    assert summary['counts'] == {'accepted': 3, 'electronic-only': 1, 'failed': 1, 'refused': 1}
    assert summary['calculations'] == 6

    rows = {row['id']: row for row in results['comparison'].get_dict()['rows']}
    assert list(rows) == [name for name in ORDER if name != 'TiO2']
    assert rows['AlN']['electronic']['error'] == pytest.approx(0.1)
    assert rows['AlN']['electronic']['tensor_error'] == pytest.approx(0.1)
    np.testing.assert_allclose(rows['AlN']['electronic']['dfpt'], np.diag([4.6, 4.6, 4.8]))

    # from the label back to the imported file
    label = results['accepted'][names['GaAs']]
    files = [item for item in origins(label) if isinstance(item, orm.SinglefileData)]
    assert [item.filename for item in files] == ['textbook.npz']
    assert any(item.filename == 'textbook.npz' for item in origins(results['comparison']) if _is_file(item))


def _is_file(item):
    return isinstance(item, orm.SinglefileData)


def test_what_was_computed_before_is_taken_over(campaign, crystal_set):
    inputs, table = campaign
    table['of this test'] = {}  # the profile holds what other tests have computed
    _, first = verify(inputs, table, max_calculations=3)
    assert len(calculations(first)) == 3

    # another import of the same crystals: equal structures, other nodes
    again, _ = screened(crystal_set)
    results, node = verify(again, table, reuse=True)
    assert node.is_finished_ok, node.exit_message
    assert len(calculations(node)) == 3
    summary = results['summary'].get_dict()
    assert (summary['calculations'], summary['reused']) == (3, 3)
    assert len(results['accepted']) == 6
    reused = next(row for row in summary['rows'] if row['state'] == 'reused')
    assert reused['pk'] in {child.pk for child in calculations(first)}
    # both origins stand behind it: this import, and the one for which it was computed
    behind = {item.uuid for item in origins(results['accepted'][reused['structure']])}
    assert again['structures'][reused['structure']].uuid in behind
    assert inputs['structures'][reused['structure']].uuid in behind

    # other thresholds change the verdict, not the response
    results, node = verify(again, table, reuse=True, thresholds={'insulating': 5.0})
    assert calculations(node) == []
    assert results['summary']['counts'] == {'refused': 6}

    # other settings are another calculation
    _, node = verify(again, table, {'factor': 1.5}, reuse=True, max_calculations=1)
    assert len(calculations(node)) == 1
    # and it can be switched off
    _, node = verify(again, table, reuse=False, max_calculations=1)
    assert len(calculations(node)) == 1


def test_the_budget_of_calculations(campaign):
    inputs, table = campaign
    results, node = verify(inputs, table, max_calculations=2, max_concurrent=5)
    assert node.is_finished_ok, node.exit_message
    assert [row['state'] for row in results['summary']['rows']] == ['computed'] * 2 + ['not run'] * 4
    refused = results['refused'].get_dict()
    assert {item['reason'] for item in refused.values()} == {'the budget of 2 calculations is spent'}
    assert {item['label'] for item in refused.values()} == {'not run'}


def test_the_budget_of_core_hours(campaign, aiida_localhost, aiida_code_installed):
    inputs, table = campaign
    code = aiida_code_installed(label='bash', filepath_executable='/bin/bash')
    aiida_localhost.set_minimum_job_poll_interval(0.0)
    results, node = verify(inputs, table, {'code': code}, max_core_hours=1e-9, max_concurrent=1)
    assert node.is_finished_ok, node.exit_message
    summary = results['summary'].get_dict()
    assert summary['calculations'] == 1
    assert summary['core_hours'] > 1e-9
    assert summary['rows'][1]['reason'] == 'the budget of 1e-09 core-hours is spent'


def test_equal_crystals_are_computed_once(aiida_profile, crystal_set):
    from dataclasses import replace

    from aiida_goectp.core.crystals import CrystalSet

    twin = crystal_set[1]._replace(id='periclase')
    rows = [crystal_set[1], twin]
    doubled = CrystalSet.from_crystals(rows)
    from tests.workflows.campaign import campaign as module

    module.DIAGONALS['periclase'] = module.DIAGONALS['MgO']
    try:
        inputs, table = screened(replace(doubled), 2)
    finally:
        del module.DIAGONALS['periclase']
    results, node = verify(inputs, table)
    assert node.is_finished_ok, node.exit_message
    assert len(calculations(node)) == 1
    assert len(results['accepted']) == 2
    assert [row['state'] for row in results['summary']['rows']] == ['computed', 'duplicate']


def test_an_engine_that_refuses_a_structure_stops_nothing(campaign, crystal_set):
    inputs, table = campaign
    structure = orm.StructureData(cell=np.eye(3) * 4)
    structure.append_atom(position=(0, 0, 0), symbols='Xe')
    selection = [{'structure': 'xenon', 'id': 'Xe', 'rank': 1}, {'structure': 'rank_00006', 'id': 'MgO', 'rank': 2}]
    structures = {'xenon': structure, 'rank_00006': inputs['structures']['rank_00006']}
    results, node = verify({'selection': orm.List(selection), 'structures': structures}, table)
    assert node.is_finished_ok, node.exit_message
    assert results['refused']['xenon']['reason'] == 'not submitted: the table has no potential for Xe'
    assert list(results['accepted']) == ['rank_00006']
    # without predictions and without averages there is nothing to compare with, but the response
    (row,) = results['comparison']['rows']
    assert row['electronic']['dfpt_average'] == pytest.approx(3.2)
    assert row['electronic']['predicted'] is None


def test_if_all_fail_something_is_wrong(campaign):
    inputs, _ = campaign
    results, node = verify(inputs, {})
    assert node.exit_status == 420
    assert node.exit_message.startswith('All 6 calculations failed, first rank_00001: [402]')
    assert results['summary']['counts'] == {'failed': 6}


def test_a_ranking_will_do(campaign):
    inputs, table = campaign
    ranking = inputs['selection'].creator.inputs.ranking
    crystals = inputs['selection'].creator.inputs.crystals
    results, node = verify({'ranking': ranking, 'crystals': crystals, 'number': 1}, table)
    assert node.is_finished_ok, node.exit_message
    assert results['selection'].get_list()[0]['id'] == 'GaAs'
    assert list(results['accepted']) == ['rank_00001']


def test_the_relaxed_cell_is_compared_in_the_frame_of_the_prediction(campaign):
    inputs, table = campaign
    name = inputs['selection'].get_list()[4]['structure']  # AlN
    stretched = _stretched(inputs['structures'][name], 1.01)
    selection = orm.List([inputs['selection'].get_list()[4]])
    structures = {name: inputs['structures'][name]}
    answer = table[key(inputs, 'AlN')]
    results, node = verify(
        {'selection': selection, 'structures': structures, 'predictions': inputs['predictions']},
        {content_hash(stretched): answer},
        {'relax': True, 'factor': 1.01},
    )
    assert node.is_finished_ok, node.exit_message
    (row,) = results['comparison']['rows']
    assert row['strain'] == pytest.approx(0.01)
    assert row['angle'] == pytest.approx(0.0, abs=1e-5)


def _stretched(structure, factor):
    from tests.workflows.dfpt.table_engine import stretch

    return stretch(structure, orm.Float(factor))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'engine': 'goectp.dfpt.nothing'}, 'no engine'),
        ({'engine': 'goectp.screen'}, 'does not derive from DfptWorkChain'),
        ({'number': 3}, 'give either `selection`'),
        ({'max_concurrent': 0}, '0 is not positive'),
        ({'thresholds': {'beauty': 1}}, "no gate is named 'beauty'"),
        ({'selection': [{'id': 'x', 'structure': 'rank_00009'}]}, 'rank_00009 is missing'),
    ],
)
def test_what_cannot_be_followed_is_refused_at_once(campaign, change, message):
    inputs, table = campaign
    everything = {**inputs, 'engine': NAME, 'dfpt': {'table': orm.Dict(table)}, **change}
    if 'selection' in change:
        everything['selection'] = orm.List(change['selection'])
    with pytest.raises(ValueError, match=message):
        run_get_node(VerifyWorkChain, **everything)


def test_names_of_engines():
    assert load_engine(NAME).__name__ == 'TableDfptWorkChain'
    with pytest.raises(ValueError, match="no engine 'abinit'"):
        load_engine('abinit')

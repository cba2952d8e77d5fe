"""``VerifyWorkChain``: order, concurrency, budget, reuse, failures, comparison and provenance."""

import asyncio
from copy import deepcopy

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage import get_manager

from aiida_goectp.calculations.verification import content_hash
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.workflows.dfpt.engines import load_engine
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.conftest import textbook
from tests.workflows.campaign import campaign as small_campaign
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import NAME, stretch

ORDER = ['GaAs', 'Si', 'TiO2', 'SrTiO3', 'AlN', 'MgO']


@pytest.fixture(scope='module')
def selection(empty_profile):
    return screened(textbook())


@pytest.fixture
def campaign(selection):
    """Return the inputs of a verification of all six crystals, and the table of DFPT results."""
    inputs, table = selection
    return dict(inputs), deepcopy(table)


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
    """Return all ancestors of a node."""
    found, waiting = {}, [node]
    while waiting:
        item = waiting.pop()
        if item.uuid not in found:
            found[item.uuid] = item
            if item.creator is not None:
                waiting += item.creator.base.links.get_incoming(node_class=orm.Data).all_nodes()
    return list(found.values())


def test_selection_is_computed_in_order_and_compared(campaign):
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
    # at most two run at the same time
    for child in children:
        running = [other for other in children if other.ctime <= child.ctime < other.mtime]
        assert len(running) <= 2

    assert sorted(results['accepted']) == sorted(names[name] for name in ('GaAs', 'SrTiO3', 'MgO'))
    assert list(results['electronic_only']) == [names['AlN']]
    assert list(results['refused_responses']) == [names['Si']]
    assert set(results['verdicts']) == set(names.values()) - {names['TiO2']}
    assert results['verdicts'][names['Si']]['label'] == 'refused'
    refused = results['refused'].get_dict()
    assert set(refused) == {names['Si'], names['TiO2']}
    assert refused[names['Si']]['label'] == 'refused'
    assert refused[names['Si']]['reason'].startswith('insulating')
    assert refused[names['TiO2']]['label'] == 'failed'
    assert '[310]' in refused[names['TiO2']]['reason']
    summary = results['summary'].get_dict()
    assert [row['id'] for row in summary['rows']] == ORDER
    assert summary['counts'] == {'accepted': 3, 'electronic-only': 1, 'failed': 1, 'refused': 1}
    assert summary['calculations'] == 6

    rows = {row['id']: row for row in results['comparison'].get_dict()['rows']}
    assert list(rows) == [name for name in ORDER if name != 'TiO2']
    assert rows['AlN']['electronic']['error'] == pytest.approx(0.1)
    assert rows['AlN']['electronic']['tensor_error'] == pytest.approx(0.1)
    np.testing.assert_allclose(rows['AlN']['electronic']['dfpt'], np.diag([4.6, 4.6, 4.8]))

    # the imported file is an ancestor of the label and of the comparison
    label = results['accepted'][names['GaAs']]
    files = [item for item in origins(label) if isinstance(item, orm.SinglefileData)]
    assert [item.filename for item in files] == ['textbook.npz']
    assert {item.uuid for item in files} <= {item.uuid for item in origins(results['comparison'])}


@pytest.mark.slow
def test_earlier_responses_are_reused(crystal_set):
    inputs, table = screened(crystal_set, 4)
    table['of this test'] = {}  # other settings than those of other tests in this profile
    _, first = verify(inputs, table, max_calculations=2)
    assert len(calculations(first)) == 2

    # another import of the same crystals: equal structures in other nodes
    again, _ = screened(crystal_set, 4)
    results, node = verify(again, table, reuse=True)
    assert node.is_finished_ok, node.exit_message
    assert len(calculations(node)) == 2
    summary = results['summary'].get_dict()
    assert (summary['calculations'], summary['reused']) == (2, 2)
    assert len(results['accepted']) == 4
    reused = next(row for row in summary['rows'] if row['state'] == 'reused')
    assert reused['pk'] in {child.pk for child in calculations(first)}
    # both structures are ancestors: that of this import, and the one for which the response was computed
    behind = {item.uuid for item in origins(results['accepted'][reused['structure']])}
    assert again['structures'][reused['structure']].uuid in behind
    assert inputs['structures'][reused['structure']].uuid in behind

    # with other thresholds the gates are evaluated again, and the response is reused
    results, node = verify(again, table, reuse=True, thresholds={'insulating': 5.0})
    assert calculations(node) == []
    assert results['summary']['counts'] == {'refused': 4}

    # with other settings the response is not reused
    _, node = verify(again, table, {'factor': 1.5}, reuse=True, max_calculations=1)
    assert len(calculations(node)) == 1
    _, node = verify(again, table, reuse=False, max_calculations=1)
    assert len(calculations(node)) == 1


@pytest.mark.parametrize('fails', [False, True])
def test_a_crystal_that_another_verification_computes_is_waited_for(crystal_set, fails):
    """Its response is reused; if there is none, the crystal is computed."""
    runner = get_manager().get_runner()
    (inputs, table), (again, _) = screened(crystal_set, 2), screened(crystal_set, 2)
    table[f'of this test, {fails}'] = {}  # other settings than those of other tests in this profile
    if fails:
        del table[key(inputs, inputs['selection'].get_list()[0]['id'])]
    dfpt = {'table': orm.Dict(table)}
    first = runner.submit(VerifyWorkChain, **inputs, engine=NAME, dfpt=dfpt, reuse=orm.Bool(False))
    results, second = verify(again, table, reuse=True)
    while not first.is_terminated:
        runner.loop.run_until_complete(asyncio.sleep(0.05))
    assert second.is_finished_ok, second.exit_message
    assert len(calculations(first)) == 2
    assert len(calculations(second)) == fails
    rows = results['summary'].get_dict()['rows']
    assert [row['state'] for row in rows] == ['failed' if fails else 'reused', 'reused']
    assert rows[1]['pk'] in {child.pk for child in calculations(first)}
    assert results['summary']['core_hours'] == sum(row['core_hours'] for row in rows)
    assert any('waits for process' in log.message for log in orm.Log.collection.get_logs_for(second))


def test_gates_of_a_reused_metal_are_evaluated_again(campaign):
    inputs, _ = campaign
    item = inputs['selection'].get_list()[0]
    selected = {
        'selection': orm.List([item]),
        'structures': {item['structure']: inputs['structures'][item['structure']]},
    }
    table = {key(inputs, item['id']): {'band_gap': 0.0}}
    verify(selected, table)
    results, node = verify(selected, table, reuse=True, thresholds={'insulating': 0.5})
    assert calculations(node) == []
    assert results['summary']['rows'][0]['state'] == 'reused'
    (gate,) = results['verdicts'][item['structure']]['gates']
    assert (gate['name'], gate['threshold'], gate['passed']) == ('insulating', 0.5, False)


def test_budget_of_calculations(campaign):
    inputs, table = campaign
    results, node = verify(inputs, table, max_calculations=2, max_concurrent=5)
    assert node.is_finished_ok, node.exit_message
    assert [row['state'] for row in results['summary']['rows']] == ['computed'] * 2 + ['not run'] * 4
    refused = results['refused'].get_dict()
    assert {item['label'] for item in refused.values()} == {'not run'}


def test_budget_of_core_hours(campaign, aiida_localhost, aiida_code_installed):
    inputs, table = campaign
    code = aiida_code_installed(label='bash', filepath_executable='/bin/bash')
    results, node = verify(inputs, table, {'code': code}, max_core_hours=1e-9, max_concurrent=1)
    assert node.is_finished_ok, node.exit_message
    summary = results['summary'].get_dict()
    assert summary['calculations'] == 1
    assert summary['core_hours'] > 1e-9
    assert [row['state'] for row in summary['rows']] == ['computed'] + ['not run'] * 5
    assert '1e-09' in summary['rows'][1]['reason']


def test_equal_crystals_are_computed_once(aiida_profile, crystal_set, monkeypatch):
    monkeypatch.setitem(small_campaign.DIAGONALS, 'periclase', small_campaign.DIAGONALS['MgO'])
    twins = CrystalSet.from_crystals([crystal_set[1], crystal_set[1]._replace(id='periclase')])
    inputs, table = screened(twins, 2)
    results, node = verify(inputs, table)
    assert node.is_finished_ok, node.exit_message
    assert len(calculations(node)) == 1
    assert len(results['accepted']) == 2
    assert [row['state'] for row in results['summary']['rows']] == ['computed', 'duplicate']


def test_structure_that_the_engine_refuses(campaign, crystal_set):
    inputs, table = campaign
    structure = orm.StructureData(cell=np.eye(3) * 4)
    structure.append_atom(position=(0, 0, 0), symbols='Xe')
    selection = [{'structure': 'xenon', 'id': 'Xe', 'rank': 1}, {'structure': 'rank_00006', 'id': 'MgO', 'rank': 2}]
    structures = {'xenon': structure, 'rank_00006': inputs['structures']['rank_00006']}
    results, node = verify({'selection': orm.List(selection), 'structures': structures}, table)
    assert node.is_finished_ok, node.exit_message
    assert results['refused']['xenon']['label'] == 'failed'
    assert 'Xe' in results['refused']['xenon']['reason']
    assert list(results['accepted']) == ['rank_00006']
    # without predictions and averages the comparison holds the response only
    (row,) = results['comparison']['rows']
    assert row['electronic']['dfpt_average'] == pytest.approx(3.2)
    assert row['electronic']['predicted'] is None


def test_all_calculations_fail(campaign):
    inputs, _ = campaign
    first = inputs['selection'].get_list()[:2]
    structures = {item['structure']: inputs['structures'][item['structure']] for item in first}
    results, node = verify({'selection': orm.List(first), 'structures': structures}, {})
    assert node.exit_status == 420
    assert 'rank_00001 (GaAs): [402]' in node.exit_message
    assert results['summary']['counts'] == {'failed': 2}


def test_selection_from_a_ranking(campaign):
    inputs, table = campaign
    ranking = inputs['selection'].creator.inputs.ranking
    crystals = inputs['selection'].creator.inputs.crystals
    results, node = verify({'ranking': ranking, 'crystals': crystals, 'number': 1}, table)
    assert node.is_finished_ok, node.exit_message
    assert results['selection'].get_list()[0]['id'] == 'GaAs'
    assert list(results['accepted']) == ['rank_00001']


def test_comparison_of_a_relaxed_cell(campaign):
    inputs, table = campaign
    name = inputs['selection'].get_list()[4]['structure']  # AlN
    stretched = stretch(inputs['structures'][name], orm.Float(1.01))
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


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'engine': 'goectp.dfpt.nothing'}, r'goectp\.dfpt\.nothing'),
        ({'engine': 'goectp.screen'}, 'DfptWorkChain'),
        ({'number': 3}, 'selection'),
        ({'max_concurrent': 0}, 'max_concurrent'),
        ({'thresholds': {'beauty': 1}}, 'beauty'),
        ({'selection': [{'id': 'x', 'structure': 'rank_00009'}]}, 'rank_00009'),
        ({'selection': [{'id': 'x'}]}, 'structure'),
    ],
)
def test_invalid_inputs(campaign, change, name):
    inputs, table = campaign
    everything = {**inputs, 'engine': NAME, 'dfpt': {'table': orm.Dict(table)}, **change}
    if 'selection' in change:
        everything['selection'] = orm.List(change['selection'])
    with pytest.raises(ValueError, match=name):
        run_get_node(VerifyWorkChain, **everything)


def test_names_of_engines():
    assert load_engine(NAME).__name__ == 'TableDfptWorkChain'
    with pytest.raises(ValueError, match="'abinit'"):
        load_engine('abinit')

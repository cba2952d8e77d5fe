"""``aiida-goectp verify``, and ``show`` on verifications and responses."""

import json
from copy import deepcopy

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from click.testing import CliRunner

from aiida_goectp.calculations.select import select_crystals
from aiida_goectp.cli import main
from aiida_goectp.cli.queries import latest_screen
from aiida_goectp.cli.views.responses import tensor_text
from aiida_goectp.data.crystals import structure_from_crystal
from tests import tiny
from tests.cli.runner import flat, invoke, line_with
from tests.conftest import textbook
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import NAME


@pytest.fixture(scope='module')
def selection(empty_profile):
    return screened(textbook())


@pytest.fixture
def campaign(selection):
    inputs, table = selection
    return dict(inputs), deepcopy(table)


def test_verification_runs_and_is_shown(campaign):
    inputs, table = campaign
    hashes = {item['id']: item['hash'] for item in inputs['selection'].get_list()}
    table[hashes['Si']]['band_gap'] = 0.0
    output = invoke(
        *('verify', inputs['selection'].pk, '--engine', NAME, '--number', 3, '--no-reuse'),
        *('--set', 'table', json.dumps(table), '--set', 'factor', 1.0, '--threshold', 'residual_forces', 'off'),
    )
    assert line_with(output, 'GaAs') == '1 GaAs ε∞ 15.95 15.95 15.95 14.50 14.50 14.50 +10% 10% accepted'
    assert 'ε total 12.38 12.38 14.69 11.25 11.25 13.35 +10% 10%' in flat(output)  # TiO2
    assert '2 Si refused insulating:' in flat(output)
    assert '2 accepted, 1 refused; 3 calculations, 0 reused, 0.00 core-hours' in flat(output)

    node = orm.QueryBuilder().append(orm.WorkChainNode, filters={'attributes.process_label': 'VerifyWorkChain'})
    node = node.order_by({orm.WorkChainNode: {'id': 'desc'}}).first(flat=True)
    assert len(node.inputs.selection) == 3
    assert node.inputs.thresholds.get_dict() == {'residual_forces': None}
    shown = invoke('show', node.pk)
    assert f'VerifyWorkChain<{node.pk}> finished, 3 calculations finished for 3 crystals' in shown
    assert 'accepted' in shown
    response = node.outputs.accepted[inputs['selection'].get_list()[0]['structure']]
    shown = flat(invoke('show', response.pk))
    for text in ('AsGa, PBE by table', 'band gap (eV) 4.5', 'Gates: accepted'):
        assert text in shown
    child = response.creator.caller
    assert line_with(invoke('show', child.pk), 'point_group').startswith('point_group electronic passed')
    assert 'Gates: accepted' in invoke('show', child.outputs.quality.pk)


@pytest.mark.parametrize(
    ('arguments', 'names'),
    [
        (('--engine', 'nothing'), ["'nothing'"]),
        (('--engine', NAME, '--set', 'beauty', '1'), ['beauty', 'table, code, relax, factor, seconds']),
        (('--engine', NAME, '--set', 'table', '{'), ['--set table']),
        (('--engine', NAME, '--threshold', 'insulating', 'high'), ['--threshold insulating', "'high'"]),
        (('--engine', NAME, '--threshold', 'insulatin', '1'), ['thresholds.insulatin: ', "'insulating'"]),
        (('--engine', NAME, '--potentials', 'PBE'), ['--potentials']),
        (('--engine', NAME, '--code', 'pw=pw@localhost'), ['pw: unknown role', 'TableDfptWorkChain']),
        (('--engine', 'quantumespresso'), ['pw@localhost']),
    ],
)
def test_invalid_values_are_named(campaign, arguments, names):
    output = flat(invoke('verify', campaign[0]['selection'].pk, *arguments, status=2))
    for name in names:
        assert name in output


def test_selection_is_required(campaign):
    predictions = campaign[0]['predictions']
    assert f'node {predictions.pk}' in flat(invoke('verify', predictions.pk, '--engine', NAME, status=2))


def test_latest_screen_with_a_selection_is_the_default(campaign):
    inputs, _ = campaign
    screens = []
    for _ in range(2):
        screen = orm.WorkChainNode(process_type='aiida.workflows:goectp.screen').store()
        inputs['selection'].base.links.add_incoming(screen, LinkType.RETURN, 'selection')
        screens.append(screen)
    orm.WorkChainNode(process_type='aiida.workflows:goectp.screen').store()  # without selection
    assert latest_screen().pk == screens[1].pk


def test_tensor_text():
    assert tensor_text([[3.0, 0.001, 0], [0.001, 3.0, 0], [0, 0, 4.0]]) == '3.00  3.00  4.00'
    assert tensor_text([[3.0, 0.5, 0], [0.5, 3.0, 0], [0, 0, 4.0]]).splitlines()[0] == '  3.00    0.50    0.00'
    assert tensor_text(None) == ''


def nodes():
    return orm.QueryBuilder().append(orm.Node).count()


def dry_run(*arguments):
    result = CliRunner().invoke(main, ['verify', *map(str, arguments), '--engine', NAME, '--dry-run', '--json'])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_dry_run_gives_crystals_inputs_and_cost(campaign):
    inputs, table = campaign
    before = nodes()
    plan = dry_run(inputs['selection'].pk, '--set', 'table', json.dumps(table), '--max-calculations', 2, '-n', 3)
    assert nodes() == before
    items = inputs['selection'].get_list()
    assert [row['id'] for row in plan['crystals']] == [item['id'] for item in items[:3]]
    assert [row['state'] for row in plan['crystals']].count('not run') <= 1
    assert plan['cost']['max_calculations'] == 2
    assert plan['cost']['calculations'] == [row['state'] for row in plan['crystals']].count('computed')
    text = invoke('verify', inputs['selection'].pk, '--engine', NAME, '--dry-run', '--set', 'table', json.dumps(table))
    assert 'cost: ' in text


def test_single_crystals_of_a_screen(campaign):
    """With the predictions of the screen, in the order of their rank."""
    inputs, table = campaign
    selection, options = inputs['selection'], ['--set', 'table', json.dumps(table)]
    ids = [item['id'] for item in selection.get_list()]
    wanted = ['--id', ids[2], '--id', ids[0]]
    before = nodes()
    assert [row['id'] for row in dry_run(selection.pk, *wanted, *options)['crystals']] == [ids[0], ids[2]]
    assert [row['id'] for row in dry_run(selection.pk, *wanted, '-n', 1, *options)['crystals']] == [ids[0]]
    text = flat(invoke('verify', selection.pk, '--id', 'X', '--engine', NAME, '--dry-run', *options, status=2))
    assert f'X: not in the selection, which has {ids[0]}' in text
    assert f'aiida-goectp verify {selection.creator.inputs.crystals.pk} --id' in text
    assert nodes() == before
    invoke('verify', selection.pk, *wanted, '--engine', NAME, '--run', *options)
    taken = orm.QueryBuilder().append(orm.CalcFunctionNode, filters={'attributes.process_label': 'take_named'})
    (call,) = taken.all(flat=True)
    assert call.inputs.selection.uuid == selection.uuid
    assert [item['id'] for item in call.outputs.result.get_list()] == [ids[0], ids[2]]
    (process,) = call.outputs.result.base.links.get_outgoing(node_class=orm.WorkChainNode).all_nodes()
    assert process.is_finished_ok
    assert 'predictions' in process.inputs


def test_crystals_without_a_screen(campaign, crystals, tmp_path):
    _, table = campaign
    options = ['--set', 'table', json.dumps(table)]
    before = nodes()
    assert [row['id'] for row in dry_run(crystals.pk, '--id', 'MgO', *options)['crystals']] == ['MgO']
    (tmp_path / 'one.cif').write_text(tiny.CIF)
    assert [row['id'] for row in dry_run(tmp_path / 'one.cif', *options)['crystals']] == ['one']
    structure = structure_from_crystal(crystals.crystals[1])
    invoke('verify', crystals.pk, '--engine', NAME, '--dry-run', *options, status=2)  # which of them?
    invoke('verify', crystals.pk, '--id', 'X', '--engine', NAME, '--dry-run', *options, status=2)
    assert nodes() == before
    assert dry_run(structure.store().pk, *options)['crystals'][0]['formula'] == 'MgO'


def test_a_structure_is_predicted_and_computed(campaign, crystals, tmp_path_factory):
    _, table = campaign
    structure = structure_from_crystal(crystals.crystals[1]).store()
    model = tiny.write_model(tmp_path_factory.mktemp('models') / 'tiny.safetensors')
    arguments = ['verify', structure.pk, '--engine', NAME, '--set', 'table', json.dumps(table), '--no-reuse']
    result = CliRunner().invoke(main, [*map(str, arguments), '--model', str(model), '--json'])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    (row,) = content['results']['comparison']['content']['rows']
    node = orm.load_node(content['pk'])
    np.testing.assert_allclose(row['total']['predicted'], node.inputs.predictions.predictions.total[0])
    selected = node.inputs.selection.creator
    assert selected.process_label == 'select_crystals'
    assert selected.inputs.crystals.creator.inputs[f'MgO_{structure.pk}'].pk == structure.pk


def test_a_code_that_cannot_run_is_refused(campaign, aiida_code_installed):
    inputs, table = campaign
    code = aiida_code_installed(label='gone', filepath_executable='/no/such/program')
    before = nodes()
    output = invoke(
        *('verify', inputs['selection'].pk, '--engine', NAME, '--set', 'table', json.dumps(table)),
        *('--code', code.full_label),
        status=2,
    )
    assert '/no/such/program' in flat(output)
    assert nodes() == before


def test_a_selection_without_a_screen_is_shown(crystals):
    _, node = select_crystals.run_get_node(crystals)
    output = invoke('show', node.pk)
    assert 'SrTiO3' in output
    assert str(node.outputs.selection.pk) in output

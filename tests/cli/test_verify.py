"""``aiida-goectp verify``, and ``show`` on verifications and responses."""

import json
from copy import deepcopy

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.cli.queries import latest_screen
from aiida_goectp.cli.views.responses import tensor_text
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

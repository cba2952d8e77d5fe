"""``aiida-goectp verify``, and what ``show`` says of its nodes."""

import json
import re

import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.views.responses import tensor_text
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import NAME


@pytest.fixture
def campaign(aiida_profile, crystal_set):
    return screened(crystal_set)


def invoke(*arguments):
    return CliRunner().invoke(main, [str(item) for item in arguments])


def test_side_by_side_with_the_verdict(campaign):
    inputs, table = campaign
    hashes = {item['id']: item['hash'] for item in inputs['selection'].get_list()}
    table[hashes['Si']]['band_gap'] = 0.0
    result = invoke(
        *('verify', inputs['selection'].pk, '--engine', NAME, '--number', 3, '--no-reuse'),
        *('--set', 'table', json.dumps(table), '--set', 'factor', 1.0, '--threshold', 'residual_forces', 'off'),
    )
    assert result.exit_code == 0, result.output
    lines = [re.sub(r'\s+', ' ', line).strip() for line in result.output.splitlines()]
    assert '1 GaAs ε∞ 15.95 15.95 15.95 14.50 14.50 14.50 +10% 10% accepted' in lines
    assert 'ε total 12.38 12.38 14.69 11.25 11.25 13.35 +10% 10%' in lines  # TiO2
    assert any(line.startswith('2 Si refused insulating: band gap 0.000 eV') for line in lines)
    assert '2 accepted, 1 refused; 3 calculations, 0 taken over, 0.00 core-hours' in lines

    node = orm.QueryBuilder().append(orm.WorkChainNode, filters={'attributes.process_label': 'VerifyWorkChain'})
    node = node.order_by({orm.WorkChainNode: {'id': 'desc'}}).first(flat=True)
    assert len(node.inputs.selection) == 3
    assert node.inputs.thresholds.get_dict() == {'residual_forces': None}
    again = invoke('show', node.pk).output
    assert f'VerifyWorkChain<{node.pk}> finished, 3 calculations done for 3 crystals' in again
    assert 'accepted' in again
    response = node.outputs.accepted[inputs['selection'].get_list()[0]['structure']]
    shown = invoke('show', response.pk).output
    assert 'AsGa, PBE by table' in shown
    assert 'band gap (eV) 4.5' in shown
    assert 'Gates: accepted' in shown
    child = response.creator.caller
    assert 'point_group' in invoke('show', child.pk).output
    assert 'Gates: accepted' in invoke('show', child.outputs.quality.pk).output


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--engine', 'nothing'), "'nothing'"),
        (('--engine', NAME, '--set', 'beauty', '1'), 'takes no beauty; it takes table, code, relax, factor, seconds'),
        (('--engine', NAME, '--set', 'table', '{'), '--set table: not JSON'),
        (('--engine', NAME, '--threshold', 'insulating', 'high'), "'high' is neither a number nor off"),
        (('--engine', NAME, '--threshold', 'beauty', '1'), "no gate is named 'beauty'"),
        (('--engine', NAME, '--potentials', 'PBE'), 'takes no --potentials'),
        (('--engine', NAME, '--code', 'pw=pw@localhost'), 'say for which role: TableDfptWorkChain=…'),
    ],
)
def test_what_is_wrong_is_said_at_once(campaign, arguments, message):
    result = invoke('verify', campaign[0]['selection'].pk, *arguments)
    assert result.exit_code == 2
    assert message in re.sub(r'\s+', ' ', result.output)


def test_a_selection_is_needed(campaign):
    result = invoke('verify', campaign[0]['predictions'].pk, '--engine', NAME)
    assert result.exit_code == 2
    assert 'is neither a screen that selected something nor such a selection' in result.output


def test_the_newest_screen_is_taken(campaign):
    from aiida.common.links import LinkType

    from aiida_goectp.cli.params import latest_screen

    other, _ = campaign
    screens = []
    for _ in range(2):
        screen = orm.WorkChainNode(process_type='aiida.workflows:goectp.screen').store()
        other['selection'].base.links.add_incoming(screen, LinkType.RETURN, 'selection')
        screens.append(screen)
    orm.WorkChainNode(process_type='aiida.workflows:goectp.screen').store()  # one that selected nothing
    assert latest_screen().pk == screens[1].pk


def test_a_missing_code_is_named(campaign):
    result = invoke('verify', campaign[0]['selection'].pk, '--engine', 'quantumespresso')
    assert result.exit_code == 2
    assert 'no code pw@localhost for pw' in re.sub(r'\s+', ' ', result.output)


def test_tensors_for_people():
    assert tensor_text([[3.0, 0.001, 0], [0.001, 3.0, 0], [0, 0, 4.0]]) == '3.00  3.00  4.00'
    assert tensor_text([[3.0, 0.5, 0], [0.5, 3.0, 0], [0, 0, 4.0]]).splitlines()[0] == '  3.00    0.50    0.00'
    assert tensor_text(None) == ''

"""``aiida-goectp screen`` and ``show``."""

import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.workflows.screen import ScreenWorkChain


def invoke(*arguments):
    return CliRunner().invoke(main, [str(item) for item in arguments])


def test_the_newest_crystals_with_options(code, crystals, model):
    options = '--min-gap 1.2 --without N,As --select 2 --merit gap_total --range e_above_hull 0 0.01 --device cpu'
    result = invoke('screen', '--code', code.full_label, *options.split(), '--label', 'mine', '--protocol', 'fast')
    assert result.exit_code == 0, result.output
    node = (
        orm.QueryBuilder()
        .append(ScreenWorkChain, filters={'label': 'mine'})
        .order_by({ScreenWorkChain: {'id': 'desc'}})
        .first(flat=True)
    )
    assert node.inputs.crystals.uuid == crystals.uuid
    assert node.inputs.filters.get_dict() == {
        'min_gap': 1.2,
        'elements_none': ['N', 'As'],
        'ranges': {'e_above_hull': [0.0, 0.01]},
    }
    assert sorted(item['id'] for item in node.outputs.selection.get_list()) == ['MgO', 'SrTiO3']
    assert 'Selection, 2' in result.output
    assert 'e_above_hull > 0.01' in result.output
    # the newest node is now the filtered one; what was imported is meant
    from aiida_goectp.cli.screen import _latest_crystals

    assert _latest_crystals().uuid == crystals.uuid
    selection = invoke('show', node.outputs.selection.pk).output
    assert str(node.outputs.structures.rank_00001.pk) in selection
    job = next(item for item in node.called_descendants if item.process_label == 'PredictCalculation')
    assert f'PredictCalculation<{job.pk}> finished, 2 of 2 crystals, took' in invoke('show', job.pk).output
    assert '2 of 2 crystals' in invoke('show', job.caller.pk).output


@pytest.fixture
def tiny_setup(aiida_profile, aiida_code_installed, write_model):
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    return ['--code', code.full_label, '--model', str(write_model())]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--merit', 'beauty'], "'beauty'"),
        (['--elements', 'Qq'], "'Qq'"),
        (['--min-gap', '-1'], 'min_gap'),
        (['--range', 'price', '0', '1'], "'price'"),
        (['--protocol', 'quick'], "no protocol is named 'quick'"),
        (['--device', 'gpu'], "device 'gpu': give auto, cpu, cuda or cuda:N"),
        (['--code', 'none@nowhere'], 'none@nowhere'),
        (['--model', 'no-such-model'], 'no-such-model'),
        (['999999'], '999999'),
    ],
)
def test_what_is_wrong_is_said(tiny_setup, crystals, arguments, message):
    before = orm.QueryBuilder().append(ScreenWorkChain).count()
    target = [] if arguments[0].isdigit() else [crystals.pk]
    result = invoke('screen', *target, *tiny_setup, *arguments)
    assert result.exit_code == 2, result.output
    assert message in ' '.join(result.output.split())
    assert orm.QueryBuilder().append(ScreenWorkChain).count() == before


def test_an_empty_node_is_refused(tiny_setup, crystal_set):
    empty = CrystalsData(crystal_set.take([], keep_failures=True)).store()
    result = invoke('screen', empty.pk, *tiny_setup)
    assert result.exit_code == 2
    assert 'the node holds none' in result.output


def test_nothing_is_there_yet(aiida_profile_clean):
    result = invoke('screen')
    assert result.exit_code == 2
    assert 'read some with `aiida-goectp import`' in result.output


def test_the_status_of_a_running_screen(tiny_setup, crystals, write_model):
    from aiida_goectp.data.model import ModelData

    builder = ScreenWorkChain.get_builder_from_protocol(
        tiny_setup[1], crystals, ModelData.get_or_create(write_model()), overrides={'shard_size': 4}
    )
    process = instantiate_process(get_manager().get_runner(), builder)
    output = invoke('show', process.node.pk).output
    assert f'ScreenWorkChain<{process.node.pk}> running, 0 of 2 shards, 0 of 6 crystals predicted, for 0:00:' in output


def test_what_show_does_not_know(aiida_profile):
    node = orm.Int(1).store()
    result = invoke('show', node.pk)
    assert result.exit_code == 2
    assert f'verdi node show {node.pk}' in result.output


def test_submit_needs_a_daemon(tiny_setup, crystals):
    before = orm.QueryBuilder().append(ScreenWorkChain).count()
    result = invoke('screen', crystals.pk, *tiny_setup, '--submit')
    assert result.exit_code == 2
    assert 'use --run' in result.output
    assert orm.QueryBuilder().append(ScreenWorkChain).count() == before

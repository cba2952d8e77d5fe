"""``aiida-goectp screen`` and ``show``."""

import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_goectp.cli.queries import latest_import
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.screen import ScreenWorkChain
from tests.cli.runner import flat, invoke


@pytest.mark.slow
def test_screen_of_the_latest_crystals(code, crystals, model):
    options = '--min-gap 1.2 --without N,As --select 2 --merit gap_total --range e_above_hull 0 0.01 --device cpu'
    output = invoke('screen', '--code', code.full_label, *options.split(), '--label', 'mine', '--protocol', 'fast')
    query = orm.QueryBuilder().append(ScreenWorkChain, filters={'label': 'mine'})
    node = query.order_by({ScreenWorkChain: {'id': 'desc'}}).first(flat=True)
    assert node.inputs.crystals.uuid == crystals.uuid
    assert node.inputs.filters.get_dict() == {
        'min_gap': 1.2,
        'elements_none': ['N', 'As'],
        'ranges': {'e_above_hull': [0.0, 0.01]},
    }
    assert sorted(item['id'] for item in node.outputs.selection.get_list()) == ['MgO', 'SrTiO3']
    assert 'Selection, 2' in output
    assert 'e_above_hull > 0.01' in output
    # the latest node is the output of the filter; a further screen must use the imported crystals
    assert latest_import().uuid == crystals.uuid
    assert str(node.outputs.structures.rank_00001.pk) in invoke('show', node.outputs.selection.pk)
    job = next(item for item in node.called_descendants if item.process_label == 'PredictCalculation')
    assert f'PredictCalculation<{job.pk}> finished, 2 of 2 crystals, took' in invoke('show', job.pk)
    assert '2 of 2 crystals' in invoke('show', job.caller.pk)


@pytest.fixture
def tiny_setup(aiida_profile, aiida_code_installed, write_model):
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    return ['--code', code.full_label, '--model', str(write_model())]


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (['--merit', 'beauty'], "'beauty'"),
        (['--elements', 'Qq'], "'Qq'"),
        (['--min-gap', '-1'], 'min_gap'),
        (['--range', 'price', '0', '1'], "'price'"),
        (['--range', 'band_gap', '0', '2', '--range', 'band_gap', '3', '4'], 'band_gap between 3.0 and 2.0'),
        (['--range', 'band_gap', 'inf', 'inf'], 'band_gap between inf and inf'),
        (['--range', 'band_gap', 'nan', '1', '--range', 'band_gap', '0', '2'], 'a bound of band_gap is NaN'),
        (['--protocol', 'quick'], "'quick'"),
        (['--device', 'gpu'], "'gpu'"),
        (['--code', 'none@nowhere'], 'none@nowhere'),
        (['--model', 'no-such-model'], 'no-such-model'),
        (['--stable'], 'min_stability: model tiny has preset goectp'),
        (['--stable', '0.9'], 'min_stability: model tiny has preset goectp'),
        (['--stable', '2'], '--stable'),
        (['--stable', 'nan'], '--stable'),
        (['999999'], '999999'),
    ],
)
def test_invalid_values_are_named(tiny_setup, crystals, arguments, name):
    before = orm.QueryBuilder().append(ScreenWorkChain).count()
    target = [] if arguments[0].isdigit() else [crystals.pk]
    assert name in flat(invoke('screen', *target, *tiny_setup, *arguments, status=2))
    assert orm.QueryBuilder().append(ScreenWorkChain).count() == before


@pytest.mark.parametrize(('option', 'threshold'), [(['--stable'], 0.5), (['--stable', '0.75'], 0.75), ([], None)])
def test_threshold_of_stability(tiny_setup, crystals, write_model, monkeypatch, option, threshold):
    launched = []
    monkeypatch.setattr('aiida_goectp.cli.jobs.launch', lambda builder, *_: launched.append(builder))
    model = write_model('lattice', preset='force_constants', uncertainty={'lowest_eigenvalue': [1.0, 0.1]})
    invoke('screen', crystals.pk, *tiny_setup[:2], '--model', model, *option)
    given = launched[0].min_stability
    assert (given.value if given is not None else None) == threshold


def test_ranges_of_one_column_are_combined(tiny_setup, crystals, monkeypatch):
    launched = []
    monkeypatch.setattr('aiida_goectp.cli.jobs.launch', lambda builder, *_: launched.append(builder))
    ranges = [('band_gap', 1, 9), ('e_above_hull', '-inf', 'inf'), ('band_gap', 0, 4), ('band_gap', 2, 'inf')]
    options = [item for name, low, high in ranges for item in ('--range', name, low, high)]
    invoke('screen', crystals.pk, *tiny_setup, *options)
    filters = launched[0].filters.store()
    assert filters.get_dict() == {'ranges': {'band_gap': [2.0, 4.0], 'e_above_hull': [None, None]}}


def test_the_message_names_the_node_that_was_taken(tiny_setup, crystals, monkeypatch):
    messages = []
    monkeypatch.setattr('aiida_goectp.cli.jobs.launch', lambda *arguments: messages.append(arguments[2]))
    crystals.label = 'mine'
    invoke('screen', *tiny_setup)
    assert f'the 6 crystals of node {crystals.pk} "mine"' in messages[0]


def test_node_without_crystals_is_refused(tiny_setup, crystal_set):
    empty = CrystalsData(crystal_set.take([], keep_failures=True)).store()
    assert 'crystals' in invoke('screen', empty.pk, *tiny_setup, status=2)


def test_screen_in_an_empty_profile(aiida_profile_clean):
    assert 'aiida-goectp import' in invoke('screen', status=2)


def test_status_of_a_running_screen(tiny_setup, crystals, write_model):
    builder = ScreenWorkChain.get_builder_from_protocol(
        tiny_setup[1], crystals, ModelData.get_or_create(write_model()), overrides={'shard_size': 4}
    )
    process = instantiate_process(get_manager().get_runner(), builder)
    output = invoke('show', process.node.pk)
    assert f'ScreenWorkChain<{process.node.pk}> running, 0 of 2 shards, 0 of 6 crystals predicted, for 0:00:' in output


def test_show_refuses_nodes_of_other_packages(aiida_profile):
    for node in (orm.Int(1).store(), orm.Dict({'a': 1}).store(), orm.List([1]).store()):
        assert f'verdi node show {node.pk}' in flat(invoke('show', node.pk, status=2))


def test_submission_requires_the_daemon(tiny_setup, crystals):
    before = orm.QueryBuilder().append(ScreenWorkChain).count()
    assert '--run' in invoke('screen', crystals.pk, *tiny_setup, '--submit', status=2)
    assert orm.QueryBuilder().append(ScreenWorkChain).count() == before

"""``ScreenWorkChain``: shards, merge, ranking and selection with real jobs, and their provenance."""

import io
from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from click.testing import CliRunner

from aiida_goectp.calculations.inprocess import predict_crystals
from aiida_goectp.calculations.structures import import_structures
from aiida_goectp.cli import main
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.selection.reasons import ReasonCode, parse_reasons
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.screen import ScreenWorkChain
from tests import tiny

SMALL = {'predict': {'goectp': {'device': 'cpu'}}}


def imported(crystals):
    """Return the crystals as imported from a stored file."""
    stream = io.BytesIO()
    crystals.save(stream)
    return import_structures(file_0=orm.SinglefileData(io.BytesIO(stream.getvalue()), filename='textbook.npz'))


@pytest.fixture
def screen(code, crystal_set, model):
    """Return a function that screens the textbook crystals."""

    def run(filters=None, crystals=None, protocol=None, **overrides):
        builder = ScreenWorkChain.get_builder_from_protocol(
            code, crystals or imported(crystal_set), model, protocol, SMALL | overrides, filters
        )
        return run_get_node(builder)

    return run


@pytest.fixture
def failing_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='false', filepath_executable='/bin/false')


def roots_of(node):
    """Return the ancestors of a node without a creator."""
    roots, passed, waiting = [], set(), [node]
    while waiting:
        item = waiting.pop()
        if item.uuid in passed:
            continue
        passed.add(item.uuid)
        if item.creator is None:
            roots.append(item)
        else:
            waiting += item.creator.base.links.get_incoming(node_class=orm.Data).all_nodes()
    return roots


def test_from_files_to_a_selection(screen, model, code):
    results, node = screen(
        {'min_gap': 1.2, 'elements_none': ['N']},
        shard_size=2,
        max_concurrent_shards=2,
        number=2,
        figure_of_merit='gap_total',
    )
    assert node.is_finished_ok, node.exit_message
    shards = {
        link.link_label: link.node for link in node.base.links.get_outgoing().all() if 'shard_' in link.link_label
    }
    assert sorted(shards) == ['shard_00000', 'shard_00001']
    rows = [
        (shard.inputs.goectp.shard.start.value, shard.inputs.goectp.shard.stop.value)
        for _, shard in sorted(shards.items())
    ]
    assert rows == [(0, 2), (2, 4)]

    # the order of the crystals is kept, and each has a rank or a reason
    assert list(results['predictions'].predictions.ids) == ['MgO', 'GaAs', 'SrTiO3', 'TiO2']
    ranking = results['ranking'].ranking
    assert list(ranking.ids) == ['Si', 'MgO', 'GaAs', 'SrTiO3', 'TiO2', 'AlN', 'broken.cif']
    assert ranking.reason[0] == 'band_gap < 1.2'
    assert ranking.reason[5] == 'contains N'
    assert ranking.reason[4] == 'soft mode (total > 1000)'  # rutile
    assert ranking.ranked_count == 3
    selection = results['selection'].get_list()
    assert [item['rank'] for item in selection] == [1, 2]
    assert [item['row'] for item in selection] == ranking.top(2).tolist()
    assert sorted(results['structures']) == ['rank_00001', 'rank_00002']
    assert results['predictions'].model_hash == model.content_hash

    # all ancestors of the selection have a creator, except files, model, code and plain values
    for output in (results['selection'], results['structures']['rank_00001'], results['ranking']):
        roots = roots_of(output)
        kinds = {type(root) for root in roots} - {orm.Dict, orm.Str, orm.Int, orm.Float, orm.Bool}
        assert kinds == {orm.SinglefileData, ModelData, orm.InstalledCode}
        assert [root.filename for root in roots if isinstance(root, orm.SinglefileData)] == ['textbook.npz']

    output = CliRunner().invoke(main, ['show', str(node.pk)]).output
    assert f'ScreenWorkChain<{node.pk}> finished' in output
    assert '2 of 2 shards, 4 of 4 crystals' in output
    assert 'band_gap < 1.2' in output
    assert str(results['structures']['rank_00001'].pk) in output


@pytest.mark.slow
def test_unstable_crystals_are_left_out(code, crystals, tmp_path):
    """The probabilities are those of the job; the threshold is the median of them."""
    path = tmp_path / 'lattice.safetensors'
    card = {'elements': list(range(1, 90)), 'uncertainty': {'lowest_eigenvalue': [1.0, 20.0]}}
    tiny.write_model(path, preset='force_constants', **card)
    model = ModelData.get_or_create(path)
    known = predict_crystals(crystals, model, orm.Str('cpu')).predictions.stability
    threshold = float(np.median(known))
    builder = ScreenWorkChain.get_builder_from_protocol(
        code, crystals, model, None, SMALL | {'min_stability': threshold}, {'unseen_elements': True}
    )
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    ranking = results['ranking'].ranking
    np.testing.assert_allclose(ranking.stability[:6], known, atol=1e-5)
    assert ranking.settings['min_stability'] == pytest.approx(threshold)
    codes = [[one.code for one in parse_reasons(text)] for text in ranking.reason[:6]]
    assert codes == [[ReasonCode.BELOW_STABILITY] if value < threshold else [] for value in known]
    assert sum(map(len, codes)) == 3
    assert results['ranking'].creator.inputs.min_stability.value == pytest.approx(threshold)
    stated = [item['stability'] for item in results['selection']]
    assert stated == pytest.approx(ranking.stability[ranking.top()].tolist())


@pytest.mark.slow
def test_too_many_failed_rows_keep_the_outputs(screen, crystal_set):
    close = Crystal('close', np.eye(3) * 4, np.array([14, 14], np.int16), np.array([[0, 0, 0], [0.01, 0, 0.0]]))
    crystals = CrystalsData(CrystalSet.from_crystals([crystal_set[0], close]))
    results, node = screen(crystals=crystals, protocol='stringent')
    assert node.exit_status == 410
    assert '1 of 2' in node.exit_message
    assert [item['id'] for item in results['selection'].get_list()] == ['Si']
    assert results['ranking'].ranking.reason[1]


def test_shards_that_fail(crystals, write_model, failing_code):
    model = ModelData.get_or_create(write_model())
    builder = ScreenWorkChain.get_builder_from_protocol(
        failing_code,
        crystals,
        model,
        overrides={'shard_size': 3, 'max_concurrent_shards': 1, 'predict': {'max_iterations': 1}},
    )
    results, node = run_get_node(builder)
    assert node.exit_status == 420
    assert 'shard_00000<' in node.exit_message
    assert results == {}
    output = CliRunner().invoke(main, ['show', str(node.pk)]).output
    assert f'ScreenWorkChain<{node.pk}> failed [420]' in output


def test_no_crystal_passes_the_filters(crystals, write_model, failing_code):
    model = ModelData.get_or_create(write_model())
    builder = ScreenWorkChain.get_builder_from_protocol(failing_code, crystals, model, filters={'min_gap': 50})
    _, node = run_get_node(builder)
    assert node.exit_status == 220
    assert '6 crystals' in node.exit_message


@pytest.mark.parametrize(
    ('filters', 'overrides', 'card', 'names'),
    [
        ({'min_gap': 1, 'minimal_gap': 2}, {}, {}, 'minimal_gap'),
        ({'ranges': {'price': [0, 1]}}, {}, {}, 'price.*band_gap'),
        ({}, {'figure_of_merit': 'beauty'}, {}, 'beauty'),
        ({}, {'figure_of_merit': 'cautious_gap_total'}, {}, 'cautious_gap_total.*tiny'),
        ({}, {'figure_of_merit': 'refractive_index'}, {'targets': ['total']}, 'electronic.*total'),
        ({}, {'shard_size': 0}, {}, '0'),
        ({}, {'min_stability': 0.5}, {}, 'min_stability.*tiny.*goectp.*force_constants'),
        ({}, {'min_stability': 0.5}, {'preset': 'force_constants'}, 'min_stability.*tiny.*calibration'),
        ({}, {'min_stability': 1.5}, {'preset': 'force_constants'}, r'1\.5'),
        ({}, {'min_stability': 'high'}, {}, 'min_stability.*high'),
    ],
)
def test_invalid_inputs(crystals, write_model, failing_code, filters, overrides, card, names):
    model = ModelData.get_or_create(write_model('tiny', value=3.0, **card))
    with pytest.raises(ValueError, match=names):
        run_get_node(ScreenWorkChain.get_builder_from_protocol(failing_code, crystals, model, None, overrides, filters))


def test_figure_of_merit_needs_a_missing_property(crystal_set, failing_code, write_model):
    bare = CrystalsData(replace(crystal_set, properties={}))
    builder = ScreenWorkChain.get_builder_from_protocol(
        failing_code, bare, ModelData.get_or_create(write_model()), overrides={'figure_of_merit': 'gap_total'}
    )
    with pytest.raises(ValueError, match=r'gap_total.*band_gap'):
        run_get_node(builder)

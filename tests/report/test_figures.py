"""Figures of nodes, and the command that writes them."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.figures.parity import Parity
from aiida_goectp.core.selection.merit import figure_of_merit
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.report import figures
from aiida_goectp.report.results import load_gaps, load_result
from tests import tiny
from tests.cli.runner import flat, invoke
from tests.conftest import textbook
from tests.report.conftest import HOSTILE
from tests.report.screens import stored_screen, uncertain


@pytest.fixture(scope='module')
def evaluation(empty_profile, predict_by_hand):
    data = tiny.some_dataset(6)
    node = orm.WorkChainNode()
    node.set_process_label('EvaluateWorkChain')
    node.base.links.add_incoming(DatasetData(data).store(), LinkType.INPUT_WORK, 'dataset')
    node.store()
    predictions = PredictionsData(uncertain(predict_by_hand(data.crystals))).store()
    predictions.base.links.add_incoming(node, LinkType.RETURN, 'predictions')
    return node


def test_gap_of_a_screen(screen):
    axis = figures.gap(screen).axes[0]
    labels = axis.get_legend_handles_labels()[1]
    assert 'selected (3)' in labels
    assert 'equal gap_total' in labels
    assert f'Screen {screen.pk}' in axis.get_title()
    assert figures.gap(screen.outputs.ranking).axes[0].get_title() == axis.get_title()


def test_gaps_are_those_of_the_candidates(screen, verification, campaign):
    for node in (screen, verification, campaign):
        points, rows = load_gaps(node).points, load_result(node).candidates
        ids = (rows if node is verification else node.outputs.ranking.ranking).ids
        order = [ids.tolist().index(name) for name in rows.ids.tolist()]
        assert points.labels[points.marked].tolist() == ids[points.marked].tolist()
        tensor = figure_of_merit(rows.figure_of_merit).tensor
        for ours, theirs in (
            (points.gap, rows.gap),
            (points.permittivity, rows.averages[tensor]),
            (points.deviation, rows.deviations[tensor]),
            (points.ranked, rows.rank > 0),
            (points.marked, rows.selected),
        ):
            np.testing.assert_array_equal(ours[order], theirs)


def test_predictions_of_a_screen(screen):
    for one in (screen, screen.outputs.predictions, screen.outputs.predictions.predictions):
        assert '5 crystals' in figures.distribution(one).axes[0].texts[0].get_text()
    assert len(figures.anisotropy(screen).axes[0].collections[0].get_offsets()) == 5


def test_parity_leaves_out_parts_that_are_not_accepted(verification, monkeypatch):
    result = load_result(verification)
    (row,) = (row for row, item in result.candidates.computed.items() if item.verdict == 'accepted')
    computed = {row: result.candidates.computed[row]._replace(verdict='electronic-only')}
    only = replace(result, candidates=replace(result.candidates, computed=computed))
    monkeypatch.setattr(figures, 'load_result', lambda *_, **__: only)
    monkeypatch.setattr(figures, 'parity_figure', lambda parts: parts)
    assert {part: np.isfinite(item.computed).tolist() for part, item in figures.parity(verification).items()} == {
        'electronic': [True],
        'ionic': [False],
        'total': [False],
    }


def test_elements(screen):
    for one in (screen, screen.inputs.crystals, screen.inputs.crystals.crystals):
        assert 'Ti' in {text.get_text() for text in figures.elements(one).axes[0].texts}
    with pytest.raises(ValueError, match='no crystals'):
        figures.elements(screen.outputs.selection)


def test_evaluation(evaluation):
    assert '6 crystals' in figures.parity(evaluation).axes[0].texts[0].get_text()
    assert len(figures.calibration(evaluation).axes) == 3


def test_arrays():
    values = np.array([2.0, 3.0])
    assert figures.parity({'total': Parity(values, values)}).axes
    assert figures.calibration({'average': {'total': np.linspace(0, 1, 11)}}).axes


def test_learning_curve(empty_profile, write_model):
    models = []
    for rows, error in ((100, 0.4), (400, 0.2)):
        card = {'training': {'rows': {'train': rows}}, 'metrics': {'test': {'total': {'mae': error}}}}
        models.append(ModelData(write_model(f'm{rows}', value=float(rows), **card)).store())
    line = figures.learning_curve(*models).axes[0].lines[-1]
    assert line.get_xydata().tolist() == [[100.0, 0.4], [400.0, 0.2]]
    with pytest.raises(ValueError, match='two or more'):
        figures.learning_curve(models[0])


@pytest.mark.parametrize('kind', ['gap', 'ellipsoid'])
def test_command(screen, tmp_path, kind):
    path = tmp_path / 'figure.svg'
    invoke('plot', kind, screen.pk, '-o', path)
    assert b'<svg' in path.read_bytes()
    assert HOSTILE.encode() not in path.read_bytes()
    assert '--force' in flat(invoke('plot', kind, screen.pk, '-o', path, status=2))


def test_an_ellipsoid_without_tensor_is_refused_with_its_reason(empty_profile, predict_by_hand, write_model):
    crystals = textbook()
    table = predict_by_hand(crystals)
    unknown = np.full_like(table.total, np.nan)
    crystals = replace(crystals, failures=(Failure('broken', 'unreadable_file', 'cut off'),))
    pk = stored_screen(crystals, replace(table, ionic=unknown, total=unknown), write_model(), 'electronic').pk
    assert 'are electronic' in flat(invoke('plot', 'ellipsoid', pk, '--crystal', 'GaAs', status=2))
    arguments = ['plot', 'ellipsoid', pk, '--tensor', 'electronic', '--crystal']
    assert 'unreadable_file' in flat(invoke(*arguments, 'broken', status=2))
    invoke(*arguments, 'GaAs', '-o', '-')


def test_standard_output_is_png(screen):
    result = CliRunner().invoke(main, ['plot', 'gap', str(screen.pk), '-o', '-'])
    assert result.stdout_bytes.startswith(b'\x89PNG')


def test_the_newest_of_several_labels_is_drawn(screen, tmp_path):
    screen.label = 'twice'
    newer = orm.WorkChainNode(label='twice').store()
    result = CliRunner().invoke(main, ['plot', 'gap', 'twice', '-o', str(tmp_path / 'x.png')])
    assert result.exit_code == 2
    assert str(newer.pk) in result.stderr
    assert str(screen.pk) in result.stderr


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (['beauty', 1], 'beauty'),
        (['gap', 'SCREEN', '-o', 'x.gif'], '.gif'),
        (['gap', 'SCREEN', 'SCREEN'], 'one node'),
        (['rounds', 'SCREEN'], 'no campaign'),
        (['calibration', 'SCREEN'], 'no evaluation'),
        (['parity', 'SCREEN'], 'no accepted DFPT result'),
        (['ellipsoid', 'SCREEN', '--crystal', 'nothing'], "'nothing'"),
        (['ellipsoid', 'SCREEN', '--crystal', 'GaAs'], 'prediction failed: '),
        (['infrared', 'SCREEN', '--crystal', 'MgO'], 'no phonons'),
    ],
)
def test_invalid_values_are_named(screen, arguments, name):
    given = [screen.pk if item == 'SCREEN' else item for item in arguments]
    assert name in flat(invoke('plot', *given, status=2))

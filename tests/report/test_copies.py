"""Exact copies of a crystal: each has its own selection and DFPT result."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.report import figures
from aiida_goectp.report.page import report_html
from aiida_goectp.report.results import load_gaps, load_result
from aiida_goectp.report.tables import summary
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.conftest import textbook
from tests.report.screens import data_of, stored_screen, uncertain
from tests.workflows.campaign.campaign import DIAGONALS, answer
from tests.workflows.dfpt.table_engine import NAME


@pytest.fixture(scope='module')
def screened(empty_profile, predict_by_hand, write_model):
    """Function of the number to select, which returns a screen of Si, MgO and a copy, and its verification."""
    silicon, magnesia = textbook().take([0, 1])
    crystals = CrystalSet.from_crystals([silicon, magnesia, magnesia._replace(id='copy')])
    table = {str(crystals.hashes[1]): answer(DIAGONALS['MgO'], 2)}

    def verified(number):
        predictions = uncertain(predict_by_hand(crystals))
        screen = stored_screen(crystals, predictions, write_model(), merit='total', number=number)
        selection = screen.outputs.selection
        _, node = run_get_node(
            VerifyWorkChain,
            selection=selection,
            structures=dict(selection.creator.outputs.structures),
            predictions=screen.outputs.predictions,
            engine=orm.Str(NAME),
            dfpt={'table': orm.Dict(table)},
        )
        assert node.is_finished_ok, node.exit_message
        return screen, node

    return verified


def test_a_copy_of_the_selected_crystal_is_not_selected(screened):
    screen, _ = screened(1)
    result = load_result(screen)
    assert dict(summary(result))['selected'] == '1'
    rows = result.candidates
    assert rows.ids[rows.selected].tolist() == ['copy']
    assert [rows.ids[row] for row in rows.computed] == ['copy']
    assert load_result(screen, limit=0).candidates.ids.tolist() == ['copy']
    points = load_gaps(screen).points
    assert points.labels[points.marked].tolist() == ['copy']
    (ticks,) = (line for line in figures.distribution(screen).axes[2].lines if line.get_label() == 'selected')
    assert ticks.get_xdata().tolist() == pytest.approx([6.0])
    assert sum(data_of(report_html(screen))['columns']['selected']) == 1


def test_both_copies_of_a_selection_have_their_result(screened):
    screen, verification = screened(2)
    for node in (screen, verification):
        rows = load_result(node).candidates
        found = {str(rows.ids[row]): item.averages['electronic'] for row, item in rows.computed.items()}
        assert found == pytest.approx({'copy': 3.2, 'MgO': 3.2})
        np.testing.assert_allclose([rows.averages['electronic'][row] for row in rows.computed], [4, 3])

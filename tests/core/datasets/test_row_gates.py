"""Gates of dataset rows, and the meaning of their names."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.datasets.row_gates import IONIC_GATES, failed_names, failed_row_gates, is_refused, join_names
from aiida_goectp.core.dielectric.gate_codes import GateCode
from aiida_goectp.core.dielectric.gates import DEFAULT_THRESHOLDS, judge
from tests.core.datasets.equivalent_crystals import rutile
from tests.rows import PETOUSIS, PHONONDB, read_rows, response_of

GOOD, IONIC = np.diag([6.0, 6.0, 9.0]), np.diag([90.0, 90.0, 150.0])


def with_entry(tensor, place, value):
    result = tensor.copy()
    result[place] = value
    return result


@pytest.mark.parametrize(
    ('row', 'failed', 'refused'),
    [
        ((GOOD, IONIC), '', False),
        ((GOOD, None), '', False),
        ((None, IONIC), '', False),
        ((None, None), '', False),
        ((np.eye(3), IONIC), 'electronic_not_identity', True),
        ((with_entry(GOOD, (0, 0), 0.5), IONIC), 'point_group, electronic_at_least_one', True),
        ((with_entry(GOOD, (0, 1), 0.5), IONIC), 'symmetric', True),
        ((GOOD * 200, None), 'below_limit', True),
        ((GOOD, IONIC * 9), 'ionic_below_limit', False),
        ((None, IONIC * 9), 'ionic_below_limit', False),
        ((GOOD, -IONIC / 90), 'ionic_not_negative', False),
        ((None, -IONIC / 90), 'ionic_not_negative', False),
        # the fourfold axis is along z: a tensor in another frame violates the point group
        ((np.diag([9.0, 6.0, 6.0]), None), 'point_group', True),
        ((GOOD, np.diag([150.0, 90.0, 90.0])), 'ionic_point_group', False),
        ((None, np.diag([150.0, 90.0, 90.0])), 'ionic_point_group', False),
        ((GOOD, IONIC, np.tile(np.eye(3), (6, 1, 1))), 'neutral_born_charges', False),
        ((GOOD, None, np.tile(np.eye(3), (6, 1, 1))), 'neutral_born_charges', False),
        ((None, None, np.tile(np.eye(3), (6, 1, 1))), 'neutral_born_charges', False),
        ((GOOD, None, np.zeros((6, 3, 3))), '', False),
        ((GOOD, IONIC, None, 0.0), 'insulating', True),
        ((GOOD, IONIC, None, 1.2), '', False),
    ],
)
def test_failed_gates_of_rows(row, failed, refused):
    assert failed_row_gates(rutile(), *row) == failed
    assert is_refused(failed) == refused


def test_gates_of_the_electronic_part_refuse_the_row():
    """A failed gate of the electronic part refuses the row, any other does not."""
    response = response_of(
        {
            'id': 'x',
            'lattice': rutile().lattice,
            'species': ['Ti', 'Ti', 'O', 'O', 'O', 'O'],
            'frac_coords': rutile().fractional_positions,
            'eps_electronic': GOOD,
            'eps_ionic': IONIC,
            'born': np.zeros((6, 3, 3)),
        },
        band_gap=1.0,
        frequencies=np.arange(18.0),
        max_force=0.0,
    )
    gates = judge(response).gates
    assert {gate.name for gate in gates} == set(DEFAULT_THRESHOLDS)
    for gate in gates:
        assert is_refused(failed_names([gate._replace(passed=False)])) == (gate.part == 'electronic'), gate.name
        assert failed_names([gate._replace(passed=True), gate._replace(passed=None)]) == ''
    assert IONIC_GATES - {GateCode.IONIC_OK, GateCode.IONIC_BELOW_LIMIT} <= set(DEFAULT_THRESHOLDS)


def test_one_name_refuses_the_row():
    assert is_refused('ionic_ok, insulating')
    assert is_refused('an unknown gate')
    assert not is_refused('ionic_ok, no_imaginary_mode')
    assert join_names('a, b', '', 'b, c') == 'a, b, c'


def test_published_rows():
    """Rows of published tables that fail a gate; see docs/explanation/gates.md."""
    cases = {
        PETOUSIS: {'mp-871': 'symmetric', 'mp-441': ''},
        PHONONDB: {
            'mp-10175': 'ionic_not_negative',
            'mp-12010': 'ionic_below_limit',
            'mp-675022': 'ionic_point_group',
            'mp-190': 'below_limit',
            'mp-1000': '',
        },
    }
    for file, wanted in cases.items():
        rows = read_rows(file)
        for name in wanted:
            response = response_of(rows[name])
            found = failed_row_gates(response.crystal, response.electronic, response.ionic, response.born_charges)
            assert wanted[name] in found.split(', '), (name, found)

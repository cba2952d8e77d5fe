"""Datasets from computed responses and verdicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.responses import JudgedResponse, dataset_from_responses
from aiida_goectp.core.dielectric.gates import judge
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.errors import FormatError
from tests.core.datasets.equivalent_crystals import equivalent_crystal, rotation, rutile

GOOD, IONIC = np.diag([6.0, 6.0, 9.0]), np.diag([90.0, 90.0, 150.0])


def response(name='rutile', **more):
    charges = np.repeat([6.0, 6.0, -3.0, -3.0, -3.0, -3.0], 9).reshape(6, 3, 3) * np.eye(3)
    values = {'ionic': IONIC, 'born_charges': charges, 'frequencies': np.r_[0, 0, 0, np.full(15, 5.0)], 'band_gap': 1.8}
    return DielectricResponse(rutile(name=name), GOOD, **{**values, 'functional': 'PBEsol', **more})


def judged(item, origin='uuid'):
    return JudgedResponse(item, judge(item).as_dict(), origin)


def test_labels_depend_on_the_verdict():
    modes = np.r_[-4.0, 0, 0, 0, np.full(14, 5.0)]
    data = dataset_from_responses(
        [
            judged(response('accepted'), 'u1'),
            judged(response('saddle', frequencies=modes), 'u2'),
            judged(response('metal', band_gap=0.0), 'u3'),
            judged(response('electronic', ionic=None, functional=''), 'u4'),
        ]
    )
    assert data.crystals.ids.tolist() == ['accepted', 'saddle', 'metal', 'electronic']
    assert data.trainable.tolist() == [True, True, False, True]
    assert np.isfinite(data.ionic).all(axis=(1, 2)).tolist() == [True, False, True, False]
    np.testing.assert_array_equal(data.electronic[2], GOOD)  # stored, but not trainable
    assert data.failed_gates.tolist() == ['', 'no_imaginary_mode', 'insulating', '']
    assert data.origin.tolist() == ['u1', 'u2', 'u3', 'u4']
    assert data.functional.tolist() == ['PBEsol'] * 3 + ['unknown']
    assert data.crystals.properties['band_gap'].tolist() == [1.8, 1.8, 0.0, 1.8]
    assert np.isfinite(data.born_charges).all()
    parts = data.with_split('s', fractions=(1.0, 0.0, 0.0))
    assert parts.part('s', 'train').crystals.ids.tolist() == ['accepted', 'saddle', 'electronic']


def test_force_constants_are_labels_of_unstable_crystals_too():
    matrix = np.arange(324.0).reshape(18, 18)
    modes = np.r_[-4.0, 0, 0, 0, np.full(14, 5.0)]
    skew = np.diag([90.0, 90.0, 150.0]) + np.array([[0, 20, 0], [-20, 0, 0], [0, 0, 0]])
    rows = [
        response('a', force_constants=matrix),
        response('b', force_constants=matrix, frequencies=modes),
        response('c'),
        response('d', force_constants=matrix, ionic=skew),
    ]
    data = dataset_from_responses([judged(item) for item in rows])
    assert data.failed_gates.tolist() == ['', 'no_imaginary_mode', '', 'ionic_symmetric, ionic_point_group']
    assert data.has_force_constants.tolist() == [True, True, False, False]
    blocks = data.force_constants[: 6 * 6].reshape(6, 6, 3, 3)
    np.testing.assert_array_equal(blocks[1, 4], matrix[3:6, 12:15])
    assert dataset_from_responses([judged(rows[2])]).force_constants is None


def test_tensors_are_in_the_frame_of_the_cell():
    turn = rotation(2)
    crystal, _ = equivalent_crystal(rutile(), turn)
    tilted = turn @ (GOOD + 0.01 * np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 0]])) @ turn.T
    item = DielectricResponse(crystal, tilted, band_gap=1.8)
    data = dataset_from_responses([judged(item)])
    np.testing.assert_array_equal(data.crystals.lattices[0], crystal.lattice)
    np.testing.assert_allclose(data.electronic[0], turn @ GOOD @ turn.T, atol=1e-12)  # symmetrised
    assert np.isnan(data.born_charges).all()


def test_duplicate_ids_are_numbered():
    data = dataset_from_responses([judged(response()), judged(response())])
    assert data.crystals.ids.tolist() == ['rutile', 'rutile#2']


def test_a_refused_verdict_without_gates_refuses_the_row():
    data = dataset_from_responses([JudgedResponse(response(), {'label': 'refused', 'gates': []}, 'u')])
    assert data.failed_gates.tolist() == ['refused']
    assert not data.trainable.any()


@pytest.mark.parametrize(
    ('verdict', 'found'),
    [
        ({}, 'label'),
        ({'label': 'splendid', 'gates': []}, 'splendid'),
        ({'label': 'accepted'}, 'gates'),
        ({'label': 'accepted', 'gates': [{'name': 'x'}]}, 'passed'),
        ({'label': 'accepted', 'gates': [3]}, 'gates'),
        ({'label': 'accepted', 'gates': 'none'}, 'gates'),
    ],
)
def test_invalid_verdicts_are_refused(verdict, found):
    with pytest.raises(FormatError, match=rf'rutile \(u\): .*{found}'):
        dataset_from_responses([JudgedResponse(response(), verdict, 'u')])


def test_verdicts_that_contradict_their_gates_are_refused():
    for label, item, gate in (
        ('accepted', replace(response(), frequencies=None), 'no_imaginary_mode'),
        ('electronic-only', response(band_gap=0.0), 'insulating'),
    ):
        verdict = {**judge(item).as_dict(), 'label': label}
        with pytest.raises(FormatError, match=f'{label}.*{gate}'):
            dataset_from_responses([JudgedResponse(item, verdict, 'u')])


def test_at_least_one_response_is_needed():
    with pytest.raises(FormatError):
        dataset_from_responses([])

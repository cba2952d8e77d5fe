"""Labelled JSON lines: functional, origin, Born charges, flags and gates of each row."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.errors import FormatError

CHARGE = np.array([[2.0, 0.1, 0], [0, 2.0, 0], [0, 0, 2.0]])


def line(**more):
    row = {'lattice': (np.eye(3) * 4.0).tolist(), 'species': ['Mg', 'O'], 'frac_coords': [[0, 0, 0], [0.5] * 3]}
    labels = {'eps_electronic': (np.eye(3) * 3).tolist(), 'eps_ionic': (np.eye(3) * 6).tolist()}
    return {**row, **labels, **more}


def read(*lines, functional='unknown'):
    return Dataset.from_lines('data.jsonl', '\n'.join(map(json.dumps, lines)).encode(), functional)


def test_functional_and_origin():
    data = read(line(), line(functional='PBE+U', origin='10.1038/sdata.2016.134'), line(origin=None), functional='PBE')
    assert data.functional.tolist() == ['PBE', 'PBE+U', 'PBE']
    assert data.origin.tolist() == ['data.jsonl', '10.1038/sdata.2016.134', 'data.jsonl']
    assert not {'functional', 'origin'} & set(data.crystals.properties)
    assert read(line()).functional.tolist() == ['unknown']


@pytest.mark.parametrize(
    'wrong',
    [{'origin': 3}, {'functional': True}, {'functional': ['PBE']}, {'electronic_ok': 'false'}, {'ionic_ok': []}],
)
def test_texts_and_flags_of_another_type_are_refused(wrong):
    with pytest.raises(FormatError, match=f'row a: {next(iter(wrong))}'):
        read(line(id='a', **wrong))


def test_a_text_that_is_nan_is_missing_and_an_error_names_a_row_without_id():
    data = read(line(functional=float('nan'), origin=float('nan')), functional='PBE')
    assert (data.functional.tolist(), data.origin.tolist()) == (['PBE'], ['data.jsonl'])
    with pytest.raises(FormatError, match='row data@1: origin'):
        read(line(), line(origin=3))


def test_a_property_may_have_any_other_name():
    data = read(*({**line(), 'number of the line': row, 'line': row, 'gates': 'x'} for row in (7, 8)))
    assert data.crystals.properties['number of the line'].tolist() == [7, 8]
    assert data.crystals.properties['line'].tolist() == [7, 8]
    assert data.crystals.properties['gates'].tolist() == ['x', 'x']


def test_born_charges():
    data = read(line(), line(born=[CHARGE.tolist(), (-CHARGE).tolist()]), line(born=None))
    np.testing.assert_array_equal(data.born_charges[2:4], [CHARGE, -CHARGE])
    assert np.isnan(data.born_charges[[0, 1, 4, 5]]).all()
    with pytest.raises(FormatError, match=r'a: born .*\(1, 3, 3\).*\(2, 3, 3\)'):
        read(line(id='a', born=[CHARGE.tolist()]))


def test_flags_and_gates_remove_labels():
    data = read(
        line(id='good'),
        line(id='ionic', ionic_ok=False),
        line(id='electronic', electronic_ok=False),
        line(id='skew', eps_electronic=[[3, 1, 0], [0, 3, 0], [0, 0, 3]]),
        line(id='soft', eps_ionic=(-np.eye(3)).tolist()),
        line(id='charged', born=[CHARGE.tolist(), (-0.8 * CHARGE).tolist()]),
        line(id='broken', born=[CHARGE.tolist()] * 2),
        line(id='metal', band_gap=0),
    )
    assert data.failed_gates.tolist() == [
        '',
        'ionic_ok',
        'electronic_ok',
        'symmetric, point_group',
        'ionic_not_negative',
        'neutral_born_charges',
        'born_charge_sum, neutral_born_charges',
        'insulating',
    ]
    assert data.trainable.tolist() == [True, True, False, False, True, True, False, False]
    ionic = np.isnan(data.ionic).all(axis=(1, 2)).tolist()
    assert ionic == [False, True, False, False, True, True, False, False]
    electronic = np.isnan(data.electronic).all(axis=(1, 2)).tolist()
    assert electronic == [False, False, True, False, False, False, False, False]


def test_stated_gates():
    soft, refused = {'ionic_ok': False}, {'electronic_ok': False, 'ionic_ok': False}
    data = read(
        line(failed_gates='ionic_symmetric', electronic_ok=True, **soft),
        line(failed_gates='insulating, neutral_born_charges', **refused),
        line(failed_gates='no_imaginary_mode', **refused),
        line(failed_gates='a gate of another program'),
        line(failed_gates='symmetric', eps_electronic=[[3, 1, 0], [0, 3, 0], [0, 0, 3]]),
        line(failed_gates=None),
        line(failed_gates='', **soft),
    )
    assert data.failed_gates.tolist() == [
        'ionic_symmetric',
        'insulating, neutral_born_charges',
        'no_imaginary_mode, electronic_ok',
        'a gate of another program',
        'symmetric, point_group',
        '',
        'ionic_ok',
    ]
    assert data.trainable.tolist() == [True, False, False, False, False, True, True]
    assert not data.crystals.properties
    for wrong in (['symmetric'], 1, False):
        with pytest.raises(FormatError, match='failed_gates'):
            read(line(failed_gates=wrong))


def test_gap_is_checked_in_rows_without_origin():
    data = read(*(line(band_gap=0, origin=origin) for origin in ('', None, 'a run of VASP')))
    assert data.failed_gates.tolist() == ['insulating', 'insulating', '']
    assert data.crystals.properties['band_gap'].tolist() == [0, 0, 0]


def test_force_constants():
    spring = np.array([[3.0, 1.0, 0.0], [0.5, 4.0, 0.0], [0.0, 0.0, 5.0]])
    spring = spring + spring.T
    constants = np.array([[spring, -spring], [-spring, spring]])
    data = read(line(), line(force_constants=constants.tolist()), line(force_constants=(constants * 1e300).tolist()))
    assert data.has_force_constants.tolist() == [False, True, False]
    np.testing.assert_array_equal(data.force_constants[4:8], constants.reshape(4, 3, 3))
    assert read(line()).force_constants is None
    only = read(line(eps_electronic=None, eps_ionic=None, force_constants=constants.tolist()))
    assert only.trainable.tolist() == [True]
    noisy = constants + np.random.default_rng(0).normal(scale=0.05, size=constants.shape)
    assert read(line(force_constants=noisy.tolist())).has_force_constants.all()
    # (3n, 3n) cut into blocks in the wrong order; one of the images of the second atom only
    other = constants.transpose(0, 2, 1, 3).reshape(2, 2, 3, 3)
    for wrong in (other, constants * [[[[1.0]], [[0.5]]], [[[0.5]], [[1.0]]]]):
        with pytest.raises(FormatError, match=r'force_constants: .* expected those at Γ'):
            read(line(force_constants=wrong.tolist()))
    with pytest.raises(FormatError, match=r'force_constants .*\(6, 6\).*\(2, 2, 3, 3\)'):
        read(line(force_constants=np.eye(6).tolist()))


def test_numbers_that_are_not_finite_are_missing():
    data = read(line(eps_ionic=[[float('nan')] * 3] * 3), line(eps_electronic=[[1e400] * 3] * 3))
    assert np.isnan(data.ionic[0]).all()
    assert np.isnan(data.electronic[1]).all()
    assert data.trainable.tolist() == [True, True]

"""Each gate with its number, and rows of published tables that pass or fail a gate."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.gate_codes import GateCode, VerdictLabel
from aiida_goectp.core.dielectric.gates import DEFAULT_THRESHOLDS, check_thresholds, judge, judge_gap
from aiida_goectp.core.dielectric.response import DielectricResponse
from tests.rows import PETOUSIS, PHONONDB, read_rows, response_of

UNKNOWN_MODES = {'no_imaginary_mode': None}
UNKNOWN_GAP = {'insulating': None, 'no_imaginary_mode': None}


@pytest.fixture
def good():
    """MgO computed with Quantum ESPRESSO."""
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]]) * 2.106
    crystal = Crystal('MgO', lattice, np.array([12, 8], np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    charge = 1.985 * np.eye(3)
    return DielectricResponse(
        crystal,
        3.236 * np.eye(3),
        7.19 * np.eye(3),
        np.array([charge, -charge]),
        np.array([0, 0, 0, 11.9, 11.9, 11.9]),
        band_gap=4.7,
        max_force=0.0,
        engine='quantumespresso',
        functional='PBEsol',
        settings={'cutoff': 1142.0, 'recommended_cutoff': 1142.0},
    )


def test_all_gates_pass(good):
    verdict = judge(good)
    assert verdict.label is VerdictLabel.ACCEPTED
    assert verdict.reason == ''
    assert {gate.name for gate in verdict.gates} == set(DEFAULT_THRESHOLDS)
    assert all(gate.passed for gate in verdict.gates)
    stored = verdict.as_dict()
    assert json.loads(json.dumps(stored)) == stored
    assert {type(stored['label']), type(stored['gates'][0]['name'])} == {str}
    assert stored['gates'][0]['name'] == 'scf_converged'


def with_offset(matrix, place, value):
    result = matrix.copy()
    result[place] += value
    return result


E, ION = 3.236 * np.eye(3), 7.19 * np.eye(3)
CHARGE = 1.985 * np.eye(3)
# of ph.x for silicon on a coarse mesh, with an ε_∞ of 57.4
BROKEN_CHARGES = np.tile(-5.35 * np.eye(3), (2, 1, 1))

# gate, change, value, label
BROKEN = [
    ('scf_converged', {'scf_converged': False}, 0.0, 'refused'),
    ('insulating', {'band_gap': 0.0}, 0.0, 'refused'),
    ('insulating', {'band_gap': None}, None, 'refused'),
    ('sufficient_cutoff', {'settings': {'cutoff': 680.0, 'recommended_cutoff': 1142.0}}, 680 / 1142, 'refused'),
    ('residual_forces', {'max_force': 0.051}, 0.051, 'refused'),
    ('symmetric', {'electronic': with_offset(E, (0, 1), 0.11)}, 0.11, 'refused'),
    ('point_group', {'electronic': np.diag([3.0, 3.0, 4.0])}, np.sqrt(2 / 3) / np.sqrt(34), 'refused'),
    ('electronic_at_least_one', {'electronic': 0.99 * np.eye(3)}, 0.99, 'refused'),
    ('electronic_not_identity', {'electronic': np.eye(3)}, 0.0, 'refused'),
    ('born_charge_sum', {'born_charges': BROKEN_CHARGES}, 5.35, 'refused'),
    ('born_charge_sum', {'born_charges': BROKEN_CHARGES, 'ionic': None}, 5.35, 'refused'),
    ('below_limit', {'ionic': 1000 * np.eye(3)}, 1003.236, 'electronic-only'),
    ('below_limit', {'electronic': 1001 * np.eye(3), 'ionic': None}, 1001.0, 'refused'),
    ('ionic_symmetric', {'ionic': with_offset(ION, (2, 0), -0.11)}, 0.11, 'electronic-only'),
    (
        'ionic_point_group',
        {'ionic': np.diag([5.0, 5.0, 15.0])},
        np.sqrt(200 / 3) / np.linalg.norm([8.236, 8.236, 18.236]),
    ),
    ('ionic_not_negative', {'ionic': -0.2 * np.eye(3)}, -0.2, 'electronic-only'),
    ('no_imaginary_mode', {'frequencies': np.array([0, 0, 0, -0.31, 12, 12])}, -0.31, 'electronic-only'),
    ('no_imaginary_mode', {'frequencies': None}, None, 'electronic-only'),
    ('neutral_born_charges', {'born_charges': np.array([CHARGE, -0.8 * CHARGE])}, 0.2 * 1.985 / 2, 'electronic-only'),
]


@pytest.mark.parametrize(('name', 'change', 'value', 'label'), [(*case, 'electronic-only')[:4] for case in BROKEN])
def test_each_gate_fails_on_its_number(good, name, change, value, label):
    verdict = judge(replace(good, **change))
    gate = next(gate for gate in verdict.gates if gate.name == name)
    assert gate.passed is False
    assert gate.value == (None if value is None else pytest.approx(value))
    assert gate.threshold == DEFAULT_THRESHOLDS[name]
    assert verdict.label == label
    assert f'{name}: {gate.message}' in verdict.reason
    # a disabled gate is not evaluated
    assert name not in {gate.name for gate in judge(replace(good, **change), {name: None}).gates}


@pytest.mark.parametrize(
    ('change', 'label'),
    [
        ({'max_force': 0.05}, 'accepted'),
        ({'electronic': with_offset(E, (0, 1), 0.09)}, 'accepted'),
        ({'ionic': -0.05 * np.eye(3)}, 'accepted'),
        ({'frequencies': np.array([0, 0, 0, -0.29, 12, 12])}, 'accepted'),
        ({'max_force': None, 'born_charges': None, 'settings': {}}, 'accepted'),  # unknown, and not required
        ({'ionic': None, 'frequencies': None, 'born_charges': None}, 'electronic-only'),
        ({'born_charges': np.array([CHARGE, -0.1 * CHARGE])}, 'electronic-only'),  # 0.9 e per atom
    ],
)
def test_values_within_the_thresholds(good, change, label):
    assert judge(replace(good, **change)).label == label


def test_acoustic_modes_do_not_count(good):
    # translations that were not completely projected out
    assert judge(replace(good, frequencies=np.array([-0.4, -0.4, -0.4, 11.9, 11.9, 11.9]))).label == 'accepted'


def test_charges_without_ionic_part_are_judged(good):
    verdict = judge(replace(good, ionic=None, frequencies=None, born_charges=good.born_charges + 0.2 * np.eye(3)))
    assert verdict.label is VerdictLabel.ELECTRONIC_ONLY
    assert [gate.name for gate in verdict.gates if gate.passed is False] == ['neutral_born_charges']
    verdict = judge(replace(good, ionic=None, frequencies=None))
    assert verdict.label is VerdictLabel.ELECTRONIC_ONLY
    assert not [gate for gate in verdict.gates if gate.passed is False]


def test_a_crystal_with_one_atom_has_no_optical_mode(good):
    crystal = Crystal('Ar', 2.6 * (np.ones((3, 3)) - np.eye(3)), np.array([18], np.int16), np.zeros((1, 3)))
    argon = replace(good, crystal=crystal, born_charges=None, frequencies=np.zeros(3))
    gate = next(gate for gate in judge(argon).gates if gate.name == 'no_imaginary_mode')
    assert (gate.value, gate.passed) == (0.0, True)


def test_verdicts_do_not_depend_on_the_frame(good):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    tilted = replace(good, electronic=np.diag([3.0, 3.2, 3.4]), ionic=np.diag([7.0, 7.1, 7.2]))
    here, there = judge(tilted), judge(tilted.rotated(turn))
    assert here.label == there.label
    for one, other in zip(here.gates, there.gates, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-9), one.name


def test_thresholds(good):
    assert judge(good, {'insulating': 5.0}).label == 'refused'
    assert judge(good, {'insulating': 4.0}).label == 'accepted'
    assert check_thresholds(None) == dict(DEFAULT_THRESHOLDS)
    for wrong, found in (
        ({'beauty': 1.0}, 'thresholds.beauty: .*scf_converged'),
        ({'insulating': 'high'}, "insulating.*'high'"),
        ({'insulating': True}, 'insulating.*True'),
        ({'insulating': float('nan')}, 'insulating.*nan'),
    ):
        with pytest.raises(ValueError, match=found):
            judge(good, wrong)


def test_unknown_gap_fails_unless_occupations_are_fixed(good):
    unknown = replace(good, band_gap=None)
    fixed = replace(unknown, settings={**good.settings, 'occupations': 'fixed'})

    def result(response, **thresholds):
        verdict = judge(response, thresholds)
        return verdict.label, {gate.name: gate.passed for gate in verdict.gates}['insulating']

    assert result(unknown) == ('refused', False)
    assert result(replace(unknown, settings={'occupations': 'smearing'})) == ('refused', False)
    assert result(fixed) == ('accepted', None)
    assert result(fixed, insulating=0.1) == ('refused', False)
    assert result(replace(fixed, scf_converged=False)) == ('refused', None)
    assert result(replace(fixed, band_gap=0.0)) == ('refused', False)


def test_gap_gate_of_a_metal():
    verdict = judge_gap(0.0)
    assert (verdict.label, [gate.name for gate in verdict.gates]) == ('refused', ['insulating'])
    assert judge_gap(1.0).label == 'accepted'
    assert judge_gap(0.0, {'insulating': None}).label == 'accepted'


def test_rows_of_petousis():
    rows = read_rows(PETOUSIS)
    rb2te = judge(response_of(rows['mp-441']), UNKNOWN_MODES)
    assert rb2te.label == 'accepted'
    values = {gate.name: gate.value for gate in rb2te.gates}
    assert values['insulating'] == 1.88
    assert values['electronic_at_least_one'] == pytest.approx(3.441, abs=1e-3)
    assert values['point_group'] < 1e-4
    assert [gate.name for gate in judge(response_of(rows['mp-441'])).gates if gate.passed is False] == [
        'no_imaginary_mode'
    ]
    # FeSi: a published tensor that is not symmetric
    fesi = judge(response_of(rows['mp-871']), UNKNOWN_MODES)
    assert fesi.label == 'refused'
    (asymmetry,) = [gate.value for gate in fesi.gates if gate.name is GateCode.SYMMETRIC]
    assert asymmetry == pytest.approx(0.612, abs=1e-3)
    assert fesi.reason.startswith('symmetric: ')


def test_rows_of_phonondb():
    names = ['mp-10175', 'mp-12010', 'mp-675022', 'mp-190']
    rows = read_rows(PHONONDB)
    verdicts = {name: judge(response_of(rows[name]), UNKNOWN_GAP) for name in names}
    failed = {name: {gate.name for gate in item.gates if gate.passed is False} for name, item in verdicts.items()}
    assert 'ionic_not_negative' in failed['mp-10175']  # KCdF3, unstable as a cubic perovskite
    assert failed['mp-12010'] == {'below_limit'}  # BaSeO4, a soft mode: 1141
    assert 'ionic_point_group' in failed['mp-675022']  # CsPbCl3, a soft mode
    assert {verdicts[name].label for name in ('mp-10175', 'mp-12010', 'mp-675022')} == {'electronic-only'}
    # ReO3, a metal: the electronic tensor itself exceeds the limit
    assert verdicts['mp-190'].label == 'refused'


def test_the_manual_lists_every_gate_with_its_threshold():
    text = (Path(__file__).parents[3] / 'docs' / 'explanation' / 'gates.md').read_text(encoding='utf-8')
    for name, threshold in DEFAULT_THRESHOLDS.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f'| `{name}` |')]
        assert line.split('|')[-3].split()[-1] == f'{threshold:g}', line

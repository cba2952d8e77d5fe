"""Picking: known crystals are excluded, each row has a reason, and the row order has no effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.acquisition import ACQUISITIONS
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.picking import PickSettings, pick
from aiida_goectp.core.selection.reasons import ReasonCode, parse_reasons
from tests.core.crystals.test_matching import CELLS
from tests.core.datasets.equivalent_crystals import dataset, equivalent_crystal, rotation, rutile

from .builders import FAILURE, crystal_set, predictions_for, rows_of


def pick_settings(name='greedy', batch=2, **more) -> PickSettings:
    return read_settings(PickSettings, {'batch_size': batch, 'acquisition': {'name': name}, **more}, 'pick')


def known_rows(crystals: CrystalSet, rows, values=None, failure='') -> KnownCrystals:
    values = np.full(len(rows), 10.0 if not failure else np.nan) if values is None else np.array(values, float)
    return KnownCrystals(
        crystals.take(rows),
        values,
        np.stack([np.ones(len(rows)), values], axis=1),
        np.array([failure] * len(rows), dtype=np.str_),
    )


def with_deviations(crystals, **more):
    """Return predictions with standard deviations 1, 2, …."""
    predictions = predictions_for(crystals, **more)
    return replace(predictions, average_std=np.tile(np.arange(1.0, len(crystals) + 1)[:, None], 3))


def test_reason_of_each_row():
    gaps = [1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0]
    crystals = crystal_set(7, {'band_gap': gaps}, [FAILURE])
    predictions = predictions_for(crystals, ionic=[1, 2, 3, 4, 5, 6, 7], errors=[*[''] * 6, 'too large'])
    known = KnownCrystals(
        crystals.take([3, 5]),
        np.array([50.0, np.nan]),
        np.full((2, 2), np.nan),
        np.array(['', 'imaginary modes; twice'], dtype=np.str_),
    )
    found = pick(crystals, predictions, known, pick_settings(batch=1, filters={'min_gap': 1}), round_number=3)
    assert found.ids.tolist() == [*crystals.ids.tolist(), 'broken']
    assert found.reason.tolist() == [
        'not picked: place 3 of 3 by greedy',
        'not picked: place 2 of 3 by greedy',
        'picked: place 1 of 3 by greedy',
        'verified',
        'band_gap < 1',
        'failed permanently: imaginary modes, twice',
        'prediction failed: too large',
        'import failed (unreadable_file): broken.cif: cut off, fetch the file again',
    ]
    assert found.rows.tolist() == [2]
    assert (found.place.tolist(), found.candidates) == ([3, 2, 1, 0, 0, 0, 0, 0], 3)
    np.testing.assert_array_equal(found.score, [5, 6, 7, *[np.nan] * 5])
    assert found.mean[3] == 8.0  # kept for comparison with the label
    assert found.reason_counts()['not picked'] == 2
    assert found.settings['model'] == 'm'
    assert found.settings['round'] == 3
    assert found.settings['filters']['min_gap'] == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=10),
    st.sets(st.integers(0, 9)),
    st.sampled_from(sorted(ACQUISITIONS)),
    st.randoms(),
)
def test_known_crystals_are_not_picked_and_the_row_order_has_no_effect(values, taken, name, random):
    n = len(values)
    crystals = crystal_set(n, {'band_gap': np.arange(1.0, n + 1)})
    predictions = with_deviations(crystals, ionic=values)
    known = known_rows(crystals, sorted(row for row in taken if row < n))
    how = pick_settings(name, 3)
    order = list(range(n))
    random.shuffle(order)
    first = pick(crystals, predictions, known, how)
    second = pick(crystals.take(order), rows_of(predictions, order), known, how)
    assert not set(first.rows.tolist()) & taken
    assert first.ids[first.rows].tolist() == second.ids[second.rows].tolist()
    for column in ('reason', 'place', 'score'):
        assert getattr(second, column).tolist() == pytest.approx(getattr(first, column)[order].tolist(), nan_ok=True)
    assert len(first.rows) <= min(3, first.candidates)


def test_random_picks_depend_on_the_round():
    crystals = crystal_set(40)
    rounds = [
        pick(
            crystals, predictions_for(crystals), KnownCrystals.empty(), pick_settings('random', 5), round_number=number
        )
        for number in (1, 1, 2)
    ]
    assert rounds[0].rows.tolist() == rounds[1].rows.tolist() != rounds[2].rows.tolist()


def pool_with_copies():
    """Return rutile, two copies in other cells and frames, and two other crystals."""
    forms = [
        equivalent_crystal(rutile(), rotation(seed), CELLS[name], seed)[0]
        for seed, name in ((1, 'supercell'), (2, 'same'))
    ]
    rows = [rutile(), *forms, rutile()._replace(atomic_numbers=np.array([50, 50, 8, 8, 8, 8], np.int16))]
    others = crystal_set(1)[0]
    return CrystalSet.from_crystals([row._replace(id=f'r{place}') for place, row in enumerate([*rows, others])])


def test_copies_are_near_duplicates_within_a_batch():
    crystals = pool_with_copies()
    predictions = predictions_for(crystals, ionic=[9, 8, 7, 6, 5])
    found = pick(crystals, predictions, KnownCrystals.empty(), pick_settings(batch=4))
    assert found.ids[found.rows].tolist() == ['r0', 'r3', 'r4']
    assert found.reason[1] == found.reason[2] == 'near-duplicate: of r0, picked before it'
    different = pick_settings(batch=4, diversity={'structures': False})
    assert pick(crystals, predictions, KnownCrystals.empty(), different).rows.tolist() == [0, 3, 4]
    everything = pick_settings(batch=4, diversity={'structures': False, 'copies': False})
    assert pick(crystals, predictions, KnownCrystals.empty(), everything).rows.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize('structures', [True, False])
def test_two_relaxations_of_a_crystal_are_not_picked_together(structures):
    """Their volumes differ by more than the tolerance of near-duplicates; after the next round one would be a copy."""
    one = rutile()
    crystals = CrystalSet.from_crystals(
        [one._replace(id='PBEsol'), one._replace(id='PBE', lattice=one.lattice * 1.025)]
    )
    predictions = predictions_for(crystals, ionic=[9, 8])
    how = pick_settings(batch=2, diversity={'structures': structures})
    assert pick(crystals, predictions, KnownCrystals.empty(), how).rows.tolist() == [0]
    apart = pick_settings(batch=2, diversity={'structures': structures, 'copies': False})
    assert pick(crystals, predictions, KnownCrystals.empty(), apart).rows.tolist() == [0, 1]


def test_known_crystals_outside_of_the_filters_are_no_incumbents_and_dominate_nothing():
    gaps = np.array([3.0, 4.0, 5.0, 0.5, np.nan])
    crystals = crystal_set(5, {'band_gap': gaps})
    predictions = with_deviations(crystals, ionic=[2.0, 3.0, 4.0, 90.0, 90.0])
    known = replace(known_rows(crystals, [3, 4]), score=np.array([94.0, 94.0]), objectives=np.full((2, 2), 94.0))
    for name in ('expected_improvement', 'pareto'):
        without = pick(crystals, predictions, known_rows(crystals, []), pick_settings(name, filters={'min_gap': 1}))
        found = pick(crystals, predictions, known, pick_settings(name, filters={'min_gap': 1}))
        np.testing.assert_array_equal(found.score[:3], without.score[:3])
        assert (pick(crystals, predictions, known, pick_settings(name)).score[:3] < found.score[:3]).all()


@pytest.mark.parametrize('structures', [True, False])
def test_rows_of_equal_content_are_picked_once(structures):
    rows = list(crystal_set(3))
    crystals = CrystalSet.from_crystals([*rows, rows[2]._replace(id='again')])
    predictions = predictions_for(crystals, ionic=[5, 6, 9, 9])
    how = pick_settings(batch=2, diversity={'structures': structures})
    found = pick(crystals, predictions, KnownCrystals.empty(), how)
    assert len(set(found.hashes[found.rows].tolist())) == 2
    assert found.mean[found.rows].tolist() == [13, 10]
    assert parse_reasons(found.reason[2 if found.rows[0] == 3 else 3])[0].code is ReasonCode.NEAR_DUPLICATE


@pytest.mark.parametrize('failure', ['', 'no convergence'])
def test_copies_of_known_crystals_are_not_picked(failure):
    crystals = pool_with_copies()
    predictions = predictions_for(crystals)
    found = pick(crystals, predictions, known_rows(crystals, [0], failure=failure), pick_settings(batch=4))
    assert sorted(found.ids[found.rows].tolist()) == ['r3', 'r4']
    first, *copies = (parse_reasons(text)[0] for text in found.reason[:3])
    assert first.code is (ReasonCode.FAILED_PERMANENTLY if failure else ReasonCode.VERIFIED)
    assert [one.code for one in copies] == [ReasonCode.COPY] * 2
    assert all(first.text in one.detail and 'r0' in one.detail for one in copies)
    loose = pick(crystals, predictions, known_rows(crystals, [0]), pick_settings(batch=4, diversity={'copies': False}))
    assert len(loose.rows) == 3


def test_standard_deviations_of_the_figure_of_merit_enter_the_acquisition():
    crystals = crystal_set(3, {'band_gap': [1.0, 2.0, 0.1]})
    found = pick(
        crystals,
        with_deviations(crystals),
        KnownCrystals.empty(),
        pick_settings('upper_confidence_bound', 1, figure_of_merit='gap_total'),
    )
    assert found.std == pytest.approx([1, 4, 0.3])
    assert found.score == pytest.approx([11, 24, 1.3])
    assert found.best() == pytest.approx(20)
    assert found.best(2.0) == pytest.approx(28)


def test_a_candidate_without_deviation_is_out_where_it_counts():
    crystals = crystal_set(3)
    predictions = with_deviations(crystals)
    predictions.average_std[1] = np.nan
    found = pick(crystals, predictions, KnownCrystals.empty(), pick_settings('exploration', 3))
    assert found.rows.tolist() == [2, 0]
    assert parse_reasons(found.reason[1])[0].code is ReasonCode.NO_SCORE
    assert len(pick(crystals, predictions, KnownCrystals.empty(), pick_settings('greedy', 3)).rows) == 3


def test_scores_are_weighed_by_the_probability_of_stability():
    crystals = crystal_set(4)
    probabilities = np.array([0.2, 1.0, np.nan, 0.9])
    predictions = predictions_for(crystals, ionic=[16, 6, 4, 8], stability=probabilities)
    found = pick(crystals, predictions, KnownCrystals.empty(), pick_settings(batch=2))
    np.testing.assert_array_equal(found.score, [0.2 * 20, 10, 8, 0.9 * 12])
    assert found.rows.tolist() == [3, 1]
    np.testing.assert_array_equal(found.stability, probabilities)  # what the model predicts, also where it is missing
    np.testing.assert_array_equal(found.mean, [20, 10, 8, 12])

    off = pick_settings(batch=2, acquisition={'weigh_stability': False})
    found = pick(crystals, predictions, KnownCrystals.empty(), off)
    assert found.rows.tolist() == [0, 3]
    np.testing.assert_array_equal(found.stability, probabilities)
    # the label of an unstable crystal has a usable electronic part
    for merit, first in (('electronic', 20), ('refractive_index', 20**0.5)):
        optical = predictions_for(crystals, electronic=[20, 6, 4, 8], stability=probabilities)
        found = pick(crystals, optical, KnownCrystals.empty(), pick_settings(figure_of_merit=merit))
        assert found.score[0] == pytest.approx(first)
        assert found.rows.tolist() == [0, 3]


@pytest.mark.parametrize('name', sorted(ACQUISITIONS))
def test_without_probabilities_the_picks_are_the_same_to_the_last_digit(name):
    rng = np.random.default_rng(3)
    crystals = crystal_set(30, {'band_gap': rng.uniform(0.1, 9, 30)})
    predictions = with_deviations(crystals, ionic=rng.uniform(-3, 90, 30))
    settings = {'figure_of_merit': 'gap_total'}
    weighed, plain = (
        pick(
            crystals,
            replace(predictions, stability=np.full(30, value)),
            known_rows(crystals, [4], [55.0]),
            pick_settings(acquisition={'name': name, 'weigh_stability': weigh, 'kappa': 3.0}, batch=9, **settings),
        )
        for weigh, value in ((True, np.nan), (False, 0.3))
    )
    for column in ('score', 'place', 'pick', 'mean', 'std'):
        np.testing.assert_array_equal(getattr(weighed, column), getattr(plain, column), err_msg=column)
    assert weighed.reason.tolist() == plain.reason.tolist()


def test_fewer_candidates_than_the_batch_size():
    crystals = crystal_set(3)
    predictions = predictions_for(crystals)
    assert len(pick(crystals, predictions, KnownCrystals.empty(), pick_settings(batch=9)).rows) == 3
    assert len(pick(crystals, predictions, KnownCrystals.empty(), pick_settings(batch=9), number=1).rows) == 1
    nothing = pick(crystals, predictions, known_rows(crystals, [0, 1, 2]), pick_settings('exploration'))
    assert (nothing.rows.tolist(), nothing.best()) == ([], None)
    empty = crystal_set(0)
    assert len(pick(empty, predictions_for(empty), KnownCrystals.empty(), pick_settings())) == 0


def test_invalid_inputs_are_refused():
    crystals = crystal_set(3)
    predictions = predictions_for(crystals)
    with pytest.raises(FormatError, match=r'row 0: .* c1 .* c0'):
        pick(crystals.take([1, 0, 2]), predictions, KnownCrystals.empty(), pick_settings())
    with pytest.raises(FormatError, match='-1'):
        pick(crystals, predictions, KnownCrystals.empty(), pick_settings(), number=-1)
    with pytest.raises(FormatError, match=r"acquisition.name: 'cautious'"):
        pick(crystals, predictions, KnownCrystals.empty(), pick_settings('cautious'))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'batch': 3}, "pick.batch: .*'batch_size'"),
        ({'batch_size': 0}, 'pick.batch_size: '),
        ({'figure_of_merit': 'beauty'}, "pick.figure_of_merit: .*'beauty'"),
        ({'filters': {'mingap': 1}}, "pick.filters.mingap: .*'min_gap'"),
        ({'diversity': {'copies': 'some'}}, 'pick.diversity.copies: '),
        ({'acquisition': {'kappa': 'x'}}, 'pick.acquisition.kappa: '),
    ],
)
def test_invalid_settings_are_refused(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(PickSettings, values, 'pick')


def test_known_crystals_of_a_dataset():
    """Rows with a label and rows that fail gates are known; rows with one part or no label are not."""
    rows = list(crystal_set(5, {'band_gap': np.ones(5)}))
    one = np.eye(3)
    data = dataset(
        (rows[0], 3 * one, 5 * one),
        (rows[1], 2 * one, 700 * one),
        (rows[2], 4 * one, None),
        (rows[3], None, None),
        failed_gates=np.array(['', 'below_limit', '', '']),
    )
    pool = crystal_set(6, {'band_gap': np.arange(1.0, 7)})
    known = KnownCrystals.of_dataset(data, 'gap_total', pool, {str(pool.hashes[4]): 'no convergence', 'unknown': 'x'})
    assert known.crystals.ids.tolist() == ['c0', 'c1', 'c4']
    assert known.failure.tolist() == ['', 'failed gates below_limit', 'no convergence']
    np.testing.assert_array_equal(known.score, [8, np.nan, np.nan])  # with the band gap of the pool
    np.testing.assert_array_equal(known.objectives[0], [1, 8])
    assert known.top(5) == (str(pool.hashes[0]),)
    electronic = KnownCrystals.of_dataset(data, 'electronic')
    assert electronic.crystals.ids.tolist() == ['c0', 'c1', 'c2']
    assert electronic.verified.tolist() == [True, False, True]
    assert electronic.score[2] == pytest.approx(4)
    relaxed = KnownCrystals.of_dataset(data, 'total', pool, {str(pool.hashes[5]): '', str(pool.hashes[0]): ''})
    assert relaxed.crystals.ids.tolist() == ['c0', 'c1', 'c5']  # the label of c5 has another cell
    assert relaxed.failure.tolist() == ['', 'failed gates below_limit', '']
    np.testing.assert_array_equal(relaxed.score, [8, np.nan, np.nan])
    cautious = KnownCrystals.of_dataset(data, 'cautious_gap_total', pool)
    assert cautious.score[0] == pytest.approx(8)
    assert np.isnan(KnownCrystals.of_dataset(data, 'gap_total').score).all()  # verified, without a band gap
    found = pick(pool, predictions_for(pool), known, pick_settings(batch=9))
    assert sorted(found.ids[found.rows].tolist()) == ['c2', 'c3', 'c5']

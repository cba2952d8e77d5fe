"""Picking: nothing known is picked, each row has its reason, the order of the input does not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.acquisition import ACQUISITIONS
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.picking import PickSettings, pick
from tests.core.crystals.test_matching import CELLS
from tests.core.datasets.disguise import dataset, disguised, rotation, rutile

from .builders import FAILURE, crystal_set, predictions_for, rows_of


def asked(name='greedy', batch=2, **more) -> PickSettings:
    return read_settings(PickSettings, {'batch_size': batch, 'acquisition': {'name': name}, **more}, 'pick')


def known(crystals: CrystalSet, rows, values=None, failure='') -> KnownCrystals:
    values = np.full(len(rows), 10.0 if not failure else np.nan) if values is None else np.array(values, float)
    return KnownCrystals(
        crystals.take(rows),
        values,
        np.stack([np.ones(len(rows)), values], axis=1),
        np.array([failure] * len(rows), dtype=np.str_),
    )


def sure(crystals, **more):
    """Predictions that come with deviations, larger for later rows."""
    predictions = predictions_for(crystals, **more)
    return replace(predictions, average_std=np.tile(np.arange(1.0, len(crystals) + 1)[:, None], 3))


def test_every_row_says_why():
    gaps = [1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0]
    crystals = crystal_set(7, {'band_gap': gaps}, [FAILURE])
    predictions = predictions_for(crystals, ionic=[1, 2, 3, 4, 5, 6, 7], errors=[*[''] * 6, 'too large'])
    past = KnownCrystals(
        crystals.take([3, 5]),
        np.array([50.0, np.nan]),
        np.full((2, 2), np.nan),
        np.array(['', 'imaginary modes; twice'], dtype=np.str_),
    )
    found = pick(crystals, predictions, past, asked(batch=1, filters={'min_gap': 1}), round_number=3)
    assert found.ids.tolist() == [*crystals.ids.tolist(), 'broken']
    assert found.reason.tolist() == [
        'not picked: place 3 of 3 by greedy',
        'not picked: place 2 of 3 by greedy',
        'picked: place 1 of 3 by greedy',
        'verified',
        'band_gap < 1',
        'failed for good: imaginary modes, twice',
        'prediction failed: too large',
        'import failed (unreadable_file): broken.cif: cut off, fetch the file again',
    ]
    assert found.rows.tolist() == [2]
    assert (found.place.tolist(), found.candidates) == ([3, 2, 1, 0, 0, 0, 0, 0], 3)
    np.testing.assert_array_equal(found.score, [5, 6, 7, *[np.nan] * 5])
    assert found.mean[3] == 8.0  # kept, to compare with the label
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
def test_nothing_known_is_picked_and_the_order_of_the_input_does_not_matter(values, taken, name, random):
    n = len(values)
    crystals = crystal_set(n, {'band_gap': np.arange(1.0, n + 1)})
    predictions = sure(crystals, ionic=values)
    past = known(crystals, sorted(row for row in taken if row < n))
    how = asked(name, 3, diversity={'features': 'threshold', 'min_distance': 0.3})
    features = np.array(values, float)[:, None]
    order = list(range(n))
    random.shuffle(order)
    first = pick(crystals, predictions, past, how, features=features)
    second = pick(crystals.take(order), rows_of(predictions, order), past, how, features=features[order])
    assert not set(first.rows.tolist()) & taken
    assert first.ids[first.rows].tolist() == second.ids[second.rows].tolist()
    for column in ('reason', 'place', 'score'):
        assert getattr(second, column).tolist() == pytest.approx(getattr(first, column)[order].tolist(), nan_ok=True)
    assert len(first.rows) <= min(3, first.candidates)


def test_chance_is_another_in_the_next_round():
    crystals = crystal_set(40)
    rounds = [
        pick(crystals, predictions_for(crystals), KnownCrystals.empty(), asked('random', 5), round_number=number)
        for number in (1, 1, 2)
    ]
    assert rounds[0].rows.tolist() == rounds[1].rows.tolist() != rounds[2].rows.tolist()


def pool_in_disguise():
    """Return a crystal, two disguises and two others."""
    forms = [
        disguised(rutile(), rotation(seed), CELLS[name], seed)[0] for seed, name in ((1, 'supercell'), (2, 'same'))
    ]
    rows = [rutile(), *forms, rutile()._replace(atomic_numbers=np.array([50, 50, 8, 8, 8, 8], np.int16))]
    others = crystal_set(1)[0]
    return CrystalSet.from_crystals([row._replace(id=f'r{place}') for place, row in enumerate([*rows, others])])


def test_duplicates_in_disguise_stay_out_of_a_batch():
    crystals = pool_in_disguise()
    predictions = predictions_for(crystals, ionic=[9, 8, 7, 6, 5])
    found = pick(crystals, predictions, KnownCrystals.empty(), asked(batch=4))
    assert found.ids[found.rows].tolist() == ['r0', 'r3', 'r4']
    assert found.reason[1] == found.reason[2] == 'near-duplicate: of r0, picked before it'
    everything = pick(crystals, predictions, KnownCrystals.empty(), asked(batch=4, diversity={'structures': False}))
    assert everything.rows.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize('failure', ['', 'no convergence'])
def test_the_verified_is_not_picked_in_disguise(failure):
    crystals = pool_in_disguise()
    predictions = predictions_for(crystals)
    found = pick(crystals, predictions, known(crystals, [0], failure=failure), asked(batch=4))
    assert sorted(found.ids[found.rows].tolist()) == ['r3', 'r4']
    text = f'failed for good: {failure}' if failure else 'verified'
    assert found.reason.tolist()[:3] == [text, *[f'copy: the same crystal as r0, {text}'] * 2]
    loose = pick(crystals, predictions, known(crystals, [0]), asked(batch=4, diversity={'copies': False}))
    assert len(loose.rows) == 3


def test_deviations_reach_the_acquisition_through_the_figure_of_merit():
    crystals = crystal_set(3, {'band_gap': [1.0, 2.0, 0.1]})
    found = pick(
        crystals, sure(crystals), KnownCrystals.empty(), asked('upper_confidence_bound', 1, figure_of_merit='gap_total')
    )
    assert found.std == pytest.approx([1, 4, 0.3])
    assert found.score == pytest.approx([11, 24, 1.3])
    assert found.best() == pytest.approx(20)
    assert found.best(2.0) == pytest.approx(28)


def test_a_candidate_without_deviation_is_out_where_it_counts():
    crystals = crystal_set(3)
    predictions = sure(crystals)
    predictions.average_std[1] = np.nan
    found = pick(crystals, predictions, KnownCrystals.empty(), asked('exploration', 3))
    assert found.rows.tolist() == [2, 0]
    assert found.reason[1] == 'no value of exploration: its standard deviation or its gap is unknown'
    assert len(pick(crystals, predictions, KnownCrystals.empty(), asked('greedy', 3)).rows) == 3


def test_fewer_than_asked_for():
    crystals = crystal_set(3)
    predictions = predictions_for(crystals)
    assert len(pick(crystals, predictions, KnownCrystals.empty(), asked(batch=9)).rows) == 3
    assert len(pick(crystals, predictions, KnownCrystals.empty(), asked(batch=9), number=1).rows) == 1
    nothing = pick(crystals, predictions, known(crystals, [0, 1, 2]), asked('exploration'))
    assert (nothing.rows.tolist(), nothing.best()) == ([], None)
    empty = crystal_set(0)
    assert len(pick(empty, predictions_for(empty), KnownCrystals.empty(), asked())) == 0


def test_what_does_not_fit_is_refused():
    crystals = crystal_set(3)
    predictions = predictions_for(crystals)
    with pytest.raises(FormatError, match=r'row 0: the crystal is c1 .* the prediction is of c0'):
        pick(crystals.take([1, 0, 2]), predictions, KnownCrystals.empty(), asked())
    with pytest.raises(FormatError, match='features: 2 rows for 3 crystals'):
        pick(crystals, predictions, KnownCrystals.empty(), asked(), features=np.ones((2, 1)))
    with pytest.raises(FormatError, match=r"diversity.features: 'farthest' needs the features"):
        pick(crystals, predictions, KnownCrystals.empty(), asked(diversity={'features': 'farthest'}))
    with pytest.raises(FormatError, match='-1 picks'):
        pick(crystals, predictions, KnownCrystals.empty(), asked(), number=-1)
    with pytest.raises(FormatError, match=r"acquisition.name: 'cautious' .* needs standard deviations"):
        pick(crystals, predictions, KnownCrystals.empty(), asked('cautious'))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'batch': 3}, r"pick.batch: no such setting \(did you mean 'batch_size'\?\)"),
        ({'batch_size': 0}, 'pick.batch_size: '),
        ({'figure_of_merit': 'beauty'}, "pick.figure_of_merit: no figure of merit is named 'beauty'; there are: total"),
        ({'filters': {'mingap': 1}}, r"pick.filters.mingap: no such setting \(did you mean 'min_gap'\?\)"),
        ({'diversity': {'features': 'near'}}, "pick.diversity.features: should be 'off', 'threshold' or 'farthest'"),
        ({'acquisition': {'kappa': 'x'}}, 'pick.acquisition.kappa: should be a valid number'),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(PickSettings, values, 'pick')


def test_the_past_of_a_dataset():
    """Labelled, refused by gates, electronic alone, nothing: only the first two are not to be picked again."""
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
    past = KnownCrystals.of_dataset(data, 'gap_total', pool, {str(pool.hashes[4]): 'no convergence', 'unknown': 'x'})
    assert past.crystals.ids.tolist() == ['c0', 'c1', 'c4']
    assert past.failure.tolist() == ['', 'it failed the gates below_limit', 'no convergence']
    np.testing.assert_array_equal(past.score, [8, np.nan, np.nan])  # the gap is that of the pool
    np.testing.assert_array_equal(past.objectives[0], [1, 8])
    assert past.top(5) == (str(pool.hashes[0]),)
    electronic = KnownCrystals.of_dataset(data, 'electronic')
    assert electronic.crystals.ids.tolist() == ['c0', 'c1', 'c2']
    assert electronic.verified.tolist() == [True, False, True]
    assert electronic.score[2] == pytest.approx(4)
    relaxed = KnownCrystals.of_dataset(data, 'total', pool, {str(pool.hashes[5]): '', str(pool.hashes[0]): ''})
    assert relaxed.crystals.ids.tolist() == ['c0', 'c1', 'c5']  # c5 has its label in another cell
    assert relaxed.failure.tolist() == ['', 'it failed the gates below_limit', '']
    np.testing.assert_array_equal(relaxed.score, [8, np.nan, np.nan])
    cautious = KnownCrystals.of_dataset(data, 'cautious_gap_total', pool)
    assert cautious.score[0] == pytest.approx(8)
    assert np.isnan(KnownCrystals.of_dataset(data, 'gap_total').score).all()  # no gap anywhere: verified all the same
    found = pick(pool, predictions_for(pool), past, asked(batch=9))
    assert sorted(found.ids[found.rows].tolist()) == ['c2', 'c3', 'c5']

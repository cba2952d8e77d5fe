"""Dataset of a campaign: the fixed hold-out, added labels and their folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.folds import (
    add_labels,
    assign_folds,
    count_new_labels,
    fold_name,
    folds_of,
    new_rows,
    with_base_split,
    with_folds,
)

from .builders import crystal_set

CRYSTALS = crystal_set(60)


def labelled(rows, factor=1.0, **more) -> Dataset:
    tensors = factor * (5.0 + np.asarray(rows, dtype=float))[:, None, None] * np.eye(3)
    return Dataset(CRYSTALS.take(rows), tensors, tensors, **more)


START, SPLIT = with_base_split(labelled(range(30)))


def test_base_split_is_made_or_given():
    assert SPLIT == 'campaign'
    counts = {part: int((START.splits[SPLIT] == part).sum()) for part in ('train', 'validation', 'test')}
    assert counts == {'train': 24, 'validation': 3, 'test': 3}
    again, name = with_base_split(START, SPLIT)
    assert (again.content_hash, name) == (START.content_hash, SPLIT)
    assert START.split_settings[SPLIT]['kind'] == 'formula'
    with pytest.raises(FormatError, match=r"'mine'.* validation"):
        with_base_split(labelled(range(9)).with_given_split('mine', {'train': ['c1'], 'test': ['c2']}), 'mine')
    with pytest.raises(FormatError, match="'other'"):
        with_base_split(START, 'other')


def test_duplicates_of_the_starting_dataset_are_joined():
    whole = labelled(range(30))
    twice = Dataset(
        concatenate_crystals([whole.crystals, CRYSTALS.take([3, 4])]),
        np.concatenate([whole.electronic, whole.electronic[[3, 4]]]),
        np.concatenate([whole.ionic, whole.ionic[[3, 4]]]),
    )
    start, split = with_base_split(twice)
    assert start.content_hash == START.content_hash
    grown, report = add_labels(start, labelled([40]), split)
    assert (len(grown), report['duplicates']) == (31, [])


def test_labels_are_added_to_the_training_part():
    held = {part: START.part(SPLIT, part).crystals.ids.tolist() for part in ('validation', 'test')}
    labels = labelled([40, 41, 42], failed_gates=np.array(['', 'symmetry', '']))
    labels = labels.with_given_split(SPLIT, {'test': ['c40'], 'train': ['c42']})  # dropped
    grown, report = add_labels(START, labels, SPLIT)
    assert (len(grown), report['duplicates']) == (33, [])
    assert grown.crystals.ids.tolist()[:30] == START.crystals.ids.tolist()
    assert {part: grown.part(SPLIT, part).crystals.ids.tolist() for part in held} == held
    assert grown.crystals.ids[new_rows(grown, START, SPLIT)].tolist() == ['c40', 'c42']  # c41 failed a gate
    assert grown.split_settings == START.split_settings
    # compared with a later dataset
    later, _ = add_labels(grown, labelled([43]), SPLIT)
    assert later.crystals.ids[new_rows(later, grown, SPLIT)].tolist() == ['c43']
    with pytest.raises(FormatError, match="'other'"):
        add_labels(START, labels, 'other')


def test_label_with_a_formula_of_the_hold_out_is_not_trained_on():
    row = START.rows_of(START.part(SPLIT, 'test').crystals.ids[:1].tolist())[0]
    crystal = START.crystals[row]
    polymorph = crystal._replace(id='polymorph', lattice=crystal.lattice * 1.3)
    labels = Dataset(type(CRYSTALS).from_crystals([polymorph]), 9 * np.eye(3)[None], 9 * np.eye(3)[None])
    grown, _ = add_labels(START, labels, SPLIT)
    assert grown.trainable[-1]
    assert grown.splits[SPLIT][-1] == ''
    assert not new_rows(grown, START, SPLIT).any()


def test_label_of_a_crystal_of_the_hold_out_with_another_functional_is_not_trained_on():
    polymorph = CRYSTALS[0]._replace(id='z', lattice=5 * np.eye(3))
    crystals = CrystalSet.from_crystals([*CRYSTALS.take(np.arange(30)), polymorph])
    tensors = np.tile(5.0 * np.eye(3), (31, 1, 1))
    rows = Dataset(crystals, tensors, tensors, functional=np.array(['PBE'] * 31))
    held = {'validation': ['c24', 'c25', 'z'], 'test': ['c26', 'c27', 'c28']}
    parts = {'train': [f'c{row}' for row in range(24)], **held}
    start, split = with_base_split(rows.with_given_split('mine', parts), 'mine')
    again = CrystalSet.from_crystals(
        [row._replace(lattice=0.995 * row.lattice) for row in start.crystals.take([1, 24, 26, 30])]
    )
    grown, _ = add_labels(start, Dataset(again, tensors[:4], tensors[:4], functional=np.array(['PBEsol'] * 4)), split)
    assert grown.splits[split][31:].tolist() == ['train', '', '', '']
    assert grown.trainable.all()
    assert {part: grown.part(split, part).crystals.ids.tolist() for part in held} == held
    assert np.flatnonzero(new_rows(grown, start, split)).tolist() == [31]


def test_refused_row_of_the_starting_dataset_may_get_a_label():
    start, split = with_base_split(labelled(range(30), failed_gates=np.array(['symmetry'] + [''] * 29)))
    grown, _ = add_labels(start, labelled([0]), split)
    assert len(grown) == 30
    assert grown.crystals.ids[new_rows(grown, start, split)].tolist() == ['c0']


def test_each_label_is_excluded_from_the_training_of_one_member():
    grown, _ = add_labels(START, labelled(range(40, 51)), SPLIT)
    folded = with_folds(grown, START, SPLIT, 3, seed=4)
    base = set(START.part(SPLIT, 'train').crystals.ids.tolist())
    out = []
    for member in range(3):
        name = fold_name(SPLIT, member)
        train, test = (set(folded.part(name, part).crystals.ids.tolist()) for part in ('train', 'test'))
        assert base <= train
        assert len(train) + len(test) == len(base) + 11
        assert not train & test
        validation = folded.part(name, 'validation').crystals.ids.tolist()
        assert validation == START.part(SPLIT, 'validation').crystals.ids.tolist()
        out += sorted(test)
        np.testing.assert_array_equal(folded.crystals.ids[folds_of(folded, SPLIT) == member], sorted(test))
    assert sorted(out) == sorted(f'c{row}' for row in range(40, 51))
    assert folded.split_settings['campaign.fold-1'] == {
        'kind': 'fold', 'of': 'campaign', 'fold': 1, 'folds': 3, 'seed': 4
    }  # fmt: skip
    assert (folds_of(with_folds(START, START, SPLIT, 2), SPLIT) == -1).all()
    with pytest.raises(FormatError, match=r'campaign.fold-0'):
        with_folds(folded, START, SPLIT, 3)


def test_folds_do_not_depend_on_the_order_of_the_labels():
    one, _ = add_labels(START, labelled(range(40, 51)), SPLIT)
    other, _ = add_labels(START, labelled(range(50, 39, -1)), SPLIT)
    folds_by_id = []
    for grown in (one, other):
        folds = folds_of(with_folds(grown, START, SPLIT, 3, seed=1), SPLIT)
        folds_by_id.append(dict(zip(grown.crystals.ids.tolist(), folds.tolist(), strict=True)))
    assert folds_by_id[0] == folds_by_id[1]


def test_labels_that_change_no_training_are_not_counted():
    assert count_new_labels(START, START, SPLIT) == 0
    grown = add_labels(START, labelled([40, 41]), SPLIT)[0]
    assert count_new_labels(grown, START, SPLIT) == 2
    assert count_new_labels(grown, grown, SPLIT) == 0
    held_out = START.part(SPLIT, 'test').crystals[0]
    polymorph = CrystalSet.from_crystals([held_out._replace(id='polymorph', lattice=held_out.lattice * 1.3)])
    kept = add_labels(START, Dataset(polymorph, 9 * np.eye(3)[None], 9 * np.eye(3)[None]), SPLIT)[0]
    assert (len(kept), count_new_labels(kept, START, SPLIT)) == (31, 0)
    # a label that completes a row of the last training
    row = int(np.flatnonzero(START.splits[SPLIT] == 'train')[0])
    before = replace(START, ionic=np.where((np.arange(30) == row)[:, None, None], np.nan, START.ionic))
    assert count_new_labels(START, before, SPLIT) == 1
    assert new_rows(START, before, SPLIT).sum() == 0


def test_folds_depend_on_formulas_and_seed_only():
    rows = list(crystal_set(12))
    doubled = [*rows, *(row._replace(id=f'{row.id}b', lattice=row.lattice * 1.1) for row in rows[:4])]
    crystals = CrystalSet.from_crystals(doubled)
    folds = assign_folds(crystals, 4, seed=1)
    assert folds[:4].tolist() == folds[12:].tolist()
    assert np.bincount(folds).tolist() == [4, 4, 4, 4]
    order = np.random.default_rng(0).permutation(16)
    assert assign_folds(crystals.take(order), 4, seed=1).tolist() == folds[order].tolist()
    assert assign_folds(crystals, 4, seed=2).tolist() != folds.tolist()
    for bad, message in (((1, 0), 'folds: 1'), ((2, -1), 'seed: -1')):
        with pytest.raises(FormatError, match=message):
            assign_folds(crystals, *bad)

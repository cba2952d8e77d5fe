"""The dataset of a campaign: the hold-out never changes, each label is out of one member's training."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.folds import add_labels, fold_name, folds_of, new_rows, with_base_split, with_folds

from .builders import crystal_set

CRYSTALS = crystal_set(60)


def labelled(rows, factor=1.0, **more) -> Dataset:
    tensors = factor * (5.0 + np.asarray(rows, dtype=float))[:, None, None] * np.eye(3)
    return Dataset(CRYSTALS.take(rows), tensors, tensors, **more)


START, SPLIT = with_base_split(labelled(range(30)))


def test_a_base_split_is_made_or_taken():
    assert SPLIT == 'campaign'
    counts = {part: int((START.splits[SPLIT] == part).sum()) for part in ('train', 'validation', 'test')}
    assert counts == {'train': 24, 'validation': 3, 'test': 3}
    again, name = with_base_split(START, SPLIT)
    assert (again.hash, name) == (START.hash, SPLIT)
    assert START.split_settings[SPLIT]['kind'] == 'formula'
    with pytest.raises(FormatError, match='no usable row in its part validation; a campaign needs all three'):
        with_base_split(labelled(range(9)).with_given_split('mine', {'train': ['c1'], 'test': ['c2']}), 'mine')
    with pytest.raises(FormatError, match="has no split 'other'"):
        with_base_split(START, 'other')


def test_a_crystal_that_stands_twice_is_one_row_from_the_beginning():
    whole = labelled(range(30))
    twice = Dataset(
        concatenate_crystals([whole.crystals, CRYSTALS.take([3, 4])]),
        np.concatenate([whole.electronic, whole.electronic[[3, 4]]]),
        np.concatenate([whole.ionic, whole.ionic[[3, 4]]]),
    )
    start, split = with_base_split(twice)
    assert start.hash == START.hash
    grown, report = add_labels(start, labelled([40]), split)
    assert (len(grown), report['duplicates']) == (31, [])


def test_labels_join_the_training_part_alone():
    held = {part: START.part(SPLIT, part).crystals.ids.tolist() for part in ('validation', 'test')}
    labels = labelled([40, 41, 42], failed_gates=np.array(['', 'symmetry', '']))
    labels = labels.with_given_split(SPLIT, {'test': ['c40'], 'train': ['c42']})  # of somebody else
    grown, report = add_labels(START, labels, SPLIT)
    assert (len(grown), report['duplicates']) == (33, [])
    assert grown.crystals.ids.tolist()[:30] == START.crystals.ids.tolist()
    assert {part: grown.part(SPLIT, part).crystals.ids.tolist() for part in held} == held
    assert grown.crystals.ids[new_rows(grown, START, SPLIT)].tolist() == ['c40', 'c42']  # c41 failed a gate
    assert grown.split_settings == START.split_settings
    # against what a model has seen
    later, _ = add_labels(grown, labelled([43]), SPLIT)
    assert later.crystals.ids[new_rows(later, grown, SPLIT)].tolist() == ['c43']
    with pytest.raises(FormatError, match="no split 'other'"):
        add_labels(START, labels, 'other')


def test_what_resembles_the_hold_out_is_not_learnt():
    row = START.rows_of(START.part(SPLIT, 'test').crystals.ids[:1].tolist())[0]
    crystal = START.crystals[row]
    polymorph = crystal._replace(id='polymorph', lattice=crystal.lattice * 1.3)
    labels = Dataset(type(CRYSTALS).from_crystals([polymorph]), 9 * np.eye(3)[None], 9 * np.eye(3)[None])
    grown, _ = add_labels(START, labels, SPLIT)
    assert grown.trainable[-1]
    assert grown.splits[SPLIT][-1] == ''
    assert not new_rows(grown, START, SPLIT).any()


def test_a_refused_row_of_the_start_may_become_a_label():
    start, split = with_base_split(labelled(range(30), failed_gates=np.array(['symmetry'] + [''] * 29)))
    grown, _ = add_labels(start, labelled([0]), split)
    assert len(grown) == 30
    assert grown.crystals.ids[new_rows(grown, start, split)].tolist() == ['c0']


def test_each_label_is_out_of_one_members_training():
    grown, _ = add_labels(START, labelled(range(40, 51)), SPLIT)
    dealt = with_folds(grown, START, SPLIT, 3, seed=4)
    base = set(START.part(SPLIT, 'train').crystals.ids.tolist())
    out = []
    for member in range(3):
        name = fold_name(SPLIT, member)
        train, test = (set(dealt.part(name, part).crystals.ids.tolist()) for part in ('train', 'test'))
        assert base <= train
        assert len(train) + len(test) == len(base) + 11
        assert not train & test
        validation = dealt.part(name, 'validation').crystals.ids.tolist()
        assert validation == START.part(SPLIT, 'validation').crystals.ids.tolist()
        out += sorted(test)
        np.testing.assert_array_equal(dealt.crystals.ids[folds_of(dealt, SPLIT) == member], sorted(test))
    assert sorted(out) == sorted(f'c{row}' for row in range(40, 51))
    assert dealt.split_settings['campaign.fold-1'] == {
        'kind': 'fold', 'of': 'campaign', 'fold': 1, 'folds': 3, 'seed': 4
    }  # fmt: skip
    assert (folds_of(with_folds(START, START, SPLIT, 2), SPLIT) == -1).all()
    with pytest.raises(FormatError, match='before folds were dealt'):
        with_folds(dealt, START, SPLIT, 3)


def test_the_deal_hangs_on_labels_and_seed_not_on_the_order():
    one, _ = add_labels(START, labelled(range(40, 51)), SPLIT)
    other, _ = add_labels(START, labelled(range(50, 39, -1)), SPLIT)
    deals = []
    for grown in (one, other):
        folds = folds_of(with_folds(grown, START, SPLIT, 3, seed=1), SPLIT)
        deals.append(dict(zip(grown.crystals.ids.tolist(), folds.tolist(), strict=True)))
    assert deals[0] == deals[1]

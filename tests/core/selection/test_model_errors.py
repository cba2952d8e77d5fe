"""Errors of an old and a new model on the hold-out and on new labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.folds import (
    add_labels,
    count_new_labels,
    fold_name,
    folds_of,
    with_base_split,
    with_folds,
)
from aiida_goectp.core.selection.model_errors import comparison_errors, count_trained_on, tensor_errors
from aiida_goectp.core.selection.retraining import FOLDS, HOLD_OUT, RetrainingPolicy, compare_models

from .builders import crystal_set, predictions_for

CRYSTALS = crystal_set(60)


def labelled(rows) -> Dataset:
    """Labels of ε_∞ = ε_ionic = 5 in every row."""
    tensors = np.tile(5 * np.eye(3), (len(rows), 1, 1))
    return Dataset(CRYSTALS.take(rows), tensors, tensors.copy())


START, SPLIT = with_base_split(labelled(range(30)))
GROWN = add_labels(START, labelled(range(40, 46)), SPLIT)[0]
FOLDED = with_folds(GROWN, START, SPLIT, 2)


class Model:
    """Predictions with one relative error; the ids of all predicted crystals are recorded."""

    def __init__(self, error):
        self.error, self.predicted = error, []

    def __call__(self, crystals):
        self.predicted += crystals.ids.tolist()
        values = np.full(len(crystals), 5 * (1 + self.error))
        return predictions_for(crystals, values, values)


def some_models():
    """Return the old model, the new one, its members, and those of the old one."""
    return Model(0.4), Model(0.1), [Model(0.2)] * 2, [Model(0.4)]


def test_relative_error_of_the_tensor():
    labels = labelled([0, 1, 2])
    labels.ionic[1], labels.ionic[2] = np.nan, 0.0
    predictions = predictions_for(labels.crystals, [5, 5, 5], [6, 6, 1])
    np.testing.assert_allclose(tensor_errors(predictions, labels, 'ionic'), [0.2, np.nan, 1.0])
    np.testing.assert_allclose(tensor_errors(predictions, labels, 'total'), [0.1, np.nan, 0.2])
    failed = predictions_for(labels.crystals, errors=['', '', 'no'])
    assert np.isnan(tensor_errors(failed, labels, 'electronic')).tolist() == [False, False, True]
    with pytest.raises(FormatError, match=r'2 .*c3'):
        tensor_errors(predictions_for(CRYSTALS.take([0, 1, 3])), labels, 'total')


def test_new_labels_are_predicted_by_members_trained_without_them():
    old, new, members = Model(0.4), Model(0.1), [Model(0.2), Model(0.3)]
    before, after = comparison_errors(FOLDED, START, SPLIT, 'total', old, new, members, [old])
    held = START.part(SPLIT, 'test').crystals.ids.tolist()
    np.testing.assert_allclose(before[HOLD_OUT], [0.4] * len(held))
    np.testing.assert_allclose(after[HOLD_OUT], [0.1] * len(held))
    fresh = [f'c{row}' for row in range(40, 46)]
    assert old.predicted == held + fresh
    assert new.predicted == held
    fold = folds_of(FOLDED, SPLIT)[30:]
    np.testing.assert_allclose(after[FOLDS], np.where(fold == 0, 0.2, 0.3))
    assert members[0].predicted + members[1].predicted == [fresh[row] for row in np.argsort(fold, kind='stable')]
    assert compare_models(before, after, RetrainingPolicy()).replace


def test_members_are_compared_with_members():
    """A committee is better than its members: a new one of equal members is not worse on new labels."""
    old, new, members, old_members = Model(0.1), Model(0.1), [Model(0.3)] * 2, [Model(0.2), Model(-0.4)]
    before, after = comparison_errors(FOLDED, START, SPLIT, 'total', old, new, members, old_members)
    np.testing.assert_allclose(before[FOLDS], [0.3] * 6)
    np.testing.assert_allclose(after[FOLDS], [0.3] * 6)
    np.testing.assert_allclose(before[HOLD_OUT], after[HOLD_OUT])
    assert compare_models(before, after, RetrainingPolicy()).replace


def test_labels_in_the_training_of_the_old_model_are_not_new():
    previous = add_labels(START, labelled(range(40, 44)), SPLIT)[0]
    before, after = comparison_errors(FOLDED, previous, SPLIT, 'total', *some_models())
    assert len(before[FOLDS]) == len(after[FOLDS]) == 2
    before, after = comparison_errors(FOLDED, FOLDED, SPLIT, 'total', *some_models())
    assert len(before[FOLDS]) == 0
    assert compare_models(before, after, RetrainingPolicy()).replace


def test_rows_without_the_tensor_are_left_out():
    ionic = FOLDED.ionic.copy()
    ionic[-1] = np.nan
    lacking = replace(FOLDED, ionic=ionic)
    for merit, count in (('total', 5), ('refractive_index', 6)):
        before, _ = comparison_errors(lacking, START, SPLIT, merit, *some_models())
        assert len(before[FOLDS]) == count


def test_labels_that_complete_rows_of_the_starting_dataset():
    """One is trained on by all members; in the hold-out, both models are compared on it, and none is trained on it."""
    trained, held = (int(np.flatnonzero(START.splits[SPLIT] == part)[0]) for part in ('train', 'test'))
    ionic = START.ionic.copy()
    ionic[[trained, held]] = np.nan
    start = replace(START, ionic=ionic)
    grown = add_labels(start, labelled([trained, held]), SPLIT)[0]
    assert np.isfinite(grown.total).all()
    assert grown.splits[SPLIT].tolist() == start.splits[SPLIT].tolist()
    assert count_new_labels(grown, start, SPLIT) == 1
    folded = with_folds(grown, start, SPLIT, 2)
    assert (folds_of(folded, SPLIT) == -1).all()
    for member in range(2):
        rows = folded.part(fold_name(SPLIT, member), 'train').crystals.ids.tolist()
        assert f'c{trained}' in rows
        assert f'c{held}' not in rows
    old, new, members = Model(0.4), Model(0.1), [Model(0.2)] * 2
    before, after = comparison_errors(folded, start, SPLIT, 'total', old, new, members, [old])
    assert old.predicted == new.predicted == grown.part(SPLIT, 'test').crystals.ids.tolist()
    assert len(before[HOLD_OUT]) == len(after[HOLD_OUT]) == len(old.predicted)
    assert len(before[FOLDS]) == 0


@pytest.mark.parametrize('functional', ['PBEsol', 'PBE'])
def test_rows_of_other_functionals_are_left_out(functional):
    names = np.where(np.arange(36) % 2 == 0, 'PBEsol', 'PBE')
    mixed = replace(FOLDED, functional=names)
    rows = [np.flatnonzero(FOLDED.splits[SPLIT] == 'test'), np.arange(30, 36)]
    expected = [FOLDED.crystals.ids[part[names[part] == functional]].tolist() for part in rows]
    assert 0 < len(expected[0]) < len(rows[0])
    old, new, members = Model(0.4), Model(0.1), [Model(0.2), Model(0.2)]
    start = replace(START, functional=names[:30])
    before, after = comparison_errors(mixed, start, SPLIT, 'total', old, new, members, [old], [functional])
    for found in (before, after):
        assert [len(found[name]) for name in (HOLD_OUT, FOLDS)] == [len(part) for part in expected]
    assert old.predicted == [*expected[0], *expected[1]]
    assert new.predicted == expected[0]
    assert sorted(members[0].predicted + members[1].predicted) == sorted(expected[1])
    with pytest.raises(FormatError, match=rf"LDA.*'{SPLIT}'"):
        comparison_errors(mixed, start, SPLIT, 'total', old, new, members, [old], ['LDA'])


def test_names_with_values_of_u_are_those_of_the_protocol():
    names = np.array(['PBEsol', 'PBEsol+U(Fe-d 5.3)', 'PBE'] * 12)
    mixed, start = replace(FOLDED, functional=names), replace(START, functional=names[:30])
    old, new, members = Model(0.4), Model(0.1), [Model(0.2), Model(0.2)]
    rows = [np.flatnonzero(FOLDED.splits[SPLIT] == 'test'), np.arange(30, 36)]
    refused = int(np.flatnonzero(FOLDED.splits[SPLIT] == 'train')[0])
    names[refused], gates = 'PBEsol+U(Fe-d 4.0)', np.array(FOLDED.failed_gates, dtype='<U20')
    gates[refused] = 'insulating'  # another U in a row that is not trained on
    mixed = replace(mixed, functional=names, failed_gates=gates)
    before, _ = comparison_errors(mixed, start, SPLIT, 'total', old, new, members, [old], ['PBEsol+U', 'PBE'])
    counts = [int((names[part] != 'PBE').sum()) for part in rows]
    assert [len(before[name]) for name in (HOLD_OUT, FOLDS)] == counts


def test_model_of_one_functional_predicts_that_of_its_training_rows():
    test = FOLDED.splits[SPLIT] == 'test'
    names = np.where(test & (np.cumsum(test) > 1), 'PBE', 'PBEsol')
    mixed, start = replace(FOLDED, functional=names), replace(START, functional=names[:30])
    before, _ = comparison_errors(mixed, start, SPLIT, 'total', *some_models())
    assert (len(before[HOLD_OUT]), len(before[FOLDS])) == (1, 6)


def test_fewer_members_than_folds_are_refused():
    with pytest.raises(FormatError, match='1 members for 2 folds'):
        comparison_errors(FOLDED, START, SPLIT, 'total', Model(0.4), Model(0.1), [Model(0.2)], [Model(0.4)])


def test_rows_that_the_old_model_was_trained_on_are_left_out_of_both_sets():
    test = np.flatnonzero(FOLDED.splits[SPLIT] == 'test')
    seen = crystal_fingerprints(FOLDED.crystals.take([*test[:1], 30]))
    arguments = (FOLDED, START, SPLIT, 'total')
    old, new, members = Model(0.0), Model(0.1), [Model(0.2), Model(0.2)]
    before, after = comparison_errors(*arguments, old, new, members, [old], trained_on=seen)
    assert [len(part[name]) for name in (HOLD_OUT, FOLDS) for part in (before, after)] == [len(test) - 1] * 2 + [5] * 2
    left_out = FOLDED.crystals.ids[[test[0], 30]].tolist()
    assert not set(left_out) & {*old.predicted, *new.predicted, *members[0].predicted, *members[1].predicted}
    assert count_trained_on(*arguments, trained_on=seen) == {HOLD_OUT: 1, FOLDS: 1}
    assert count_trained_on(*arguments) is None
    ionic = np.where(np.arange(len(FOLDED))[:, None, None] == 30, np.nan, FOLDED.ionic)
    lacking = replace(FOLDED, ionic=ionic)  # a row that cannot be compared is not left out
    assert count_trained_on(lacking, *arguments[1:], trained_on=seen) == {HOLD_OUT: 1, FOLDS: 0}
    assert count_trained_on(lacking, START, SPLIT, 'electronic', trained_on=seen) == {HOLD_OUT: 1, FOLDS: 1}
    names = np.where(np.arange(len(FOLDED)) == test[0], 'PBE', 'PBEsol')
    mixed = replace(FOLDED, functional=names)
    assert count_trained_on(mixed, *arguments[1:], trained_on=seen)[HOLD_OUT] == 0
    before, _ = comparison_errors(*arguments, old, new, members, [old], trained_on=None)
    assert [len(before[name]) for name in (HOLD_OUT, FOLDS)] == [len(test), 6]
    nothing = comparison_errors(*arguments, old, new, members, [old], trained_on=crystal_fingerprints(FOLDED.crystals))
    assert [len(errors) for model in nothing for errors in model.values()] == [0] * 4
    found = compare_models(*nothing, RetrainingPolicy())
    assert not found.replace
    assert found.reason.endswith('no set of rows can decide')

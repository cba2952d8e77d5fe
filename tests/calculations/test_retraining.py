"""Calcfunctions of a retraining: settings, initial members, comparison, record."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.calculations.campaign import begin_history, read_history, write_history
from aiida_goectp.calculations.retraining import (
    assign_members,
    compare_models,
    extract_members,
    member_settings,
    record_retraining,
)
from aiida_goectp.core.selection.folds import add_labels, with_base_split
from aiida_goectp.core.selection.history import PickRecord, Round
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from tests import tiny

pytestmark = pytest.mark.usefixtures('aiida_profile')
POLICY = {'folds': 3}


@pytest.fixture(scope='module')
def committee(tmp_path_factory):
    tiny.one_thread()
    return tiny.write_model(tmp_path_factory.mktemp('models') / 'two.safetensors', members=2, elements=[8, 12])


def growing_dataset(seed=0):
    """Return a starting dataset with its base split, and the same dataset with five more labels."""
    whole = tiny.some_dataset(40, seed)
    start, split = with_base_split(whole.take(range(30)))
    return start, add_labels(start, whole.take(range(33, 38)), split)[0]


@pytest.fixture(scope='module')
def data():
    return growing_dataset()


def test_settings_of_members_and_committee(committee, data):
    rows = DatasetData(data[0])
    found = member_settings(orm.Dict({'epochs': 3}), orm.Dict(POLICY), orm.Int(7), rows)
    assert found['member_02'].get_dict() == {'epochs': 3, 'members': 1, 'seed': 9}
    assert found['committee'].get_dict() == {'epochs': 3, 'members': 3, 'seed': 7}
    model = ModelData(committee)
    found = member_settings(orm.Dict({'seed': 1}), orm.Dict(POLICY), orm.Int(7), rows, model)
    assert found['member_00']['options'] == model.card.architecture['options']
    assert (found['member_00']['preset'], found['member_01']['seed']) == ('goectp', 2)


def test_functionals_of_labels_and_model_are_combined(data, tmp_path):
    labels = replace(data[0], functional=np.full(len(data[0]), 'PBE'))
    model = ModelData(tiny.write_mixed_model(tmp_path / 'mixed.safetensors', ['PBEsol', 'PBE']))
    found = member_settings(orm.Dict({}), orm.Dict(POLICY), orm.Int(7), DatasetData(labels), model)
    assert found['committee']['functionals'] == found['member_01']['functionals'] == ['PBE', 'PBEsol']


def test_initial_members_are_those_of_the_model_in_turn(committee):
    from aiida_goectp.core.learning.model_cache import cached_model

    model = ModelData(committee)
    members = extract_members(model, orm.Dict(POLICY))
    assert sorted(members) == ['member_00', 'member_01', 'member_02']
    whole = cached_model(model.content, 'cpu')
    for place, name in enumerate(sorted(members)):
        (network,) = cached_model(members[name].content, 'cpu').members
        for key, weights in whole.members[place % 2].state_dict().items():
            np.testing.assert_array_equal(network.state_dict()[key].numpy(), weights.numpy())
    assert members['member_01'].card.members == 1
    assert members['member_01'].card.uncertainty == {}
    assert members['member_00'].content_hash == members['member_02'].content_hash


def test_comparison_of_two_models_on_hold_out_and_new_labels(committee, data, tmp_path):
    start, grown = (DatasetData(table) for table in data)
    split, picking, policy = orm.Str('campaign'), orm.Dict({}), orm.Dict(POLICY)
    folded = assign_members(grown, start, split, policy, orm.Int(0))
    assert len(folded.splits) == 4
    models = [ModelData(tiny.write_model(tmp_path / f'{seed}.safetensors', seed=seed)) for seed in range(4)]
    members = {f'member_{place:02d}': model for place, model in enumerate(models[1:])}
    result = compare_models(folded, start, split, picking, policy, models[0], models[0], **members)
    held, new = (result['comparisons'][name] for name in ('hold-out', 'new labels'))
    assert held['old'] == pytest.approx(held['new'])
    assert 0 < new['rows'] <= 5
    assert isinstance(result['replace'], bool)
    # a model that was trained on all labels is compared on the hold-out only
    result = compare_models(folded, grown, split, picking, policy, models[0], models[0], **members)
    assert result['comparisons']['new labels']['rows'] == 0
    assert result['comparisons']['new labels']['old'] is None
    assert result['replace'] is True


def test_rows_that_the_old_model_was_trained_on_are_not_compared(tmp_path):
    """A model trained on the whole dataset would win on a base split that the campaign makes."""
    data = growing_dataset(seed=4)  # its hold-out has two prototypes
    start, grown = (DatasetData(table) for table in data)
    split, picking, policy = orm.Str('campaign'), orm.Dict({}), orm.Dict(POLICY)
    folded = assign_members(grown, start, split, policy, orm.Int(0))
    held = data[0].part('campaign', 'test')
    new = ModelData(tiny.write_model(tmp_path / 'new.safetensors', seed=1))
    members = {f'member_{place:02d}': new for place in range(3)}
    for name, rows in (('unknown', None), ('some', held.crystals.take([2])), ('all', grown.dataset.crystals)):
        old = ModelData(tiny.write_model(tmp_path / f'{name}.safetensors', trained_on=rows))
        found = compare_models(folded, start, split, picking, policy, old, new, **members).get_dict()
        left_out = {'unknown': None, 'some': 1, 'all': len(held)}[name]
        assert (found['trained_on'] or {}).get('hold-out') == left_out
        assert found['comparisons']['hold-out']['rows'] == len(held) - (left_out or 0)
        assert (found['comparisons']['new labels']['rows'] == 0) == (name == 'all')
    assert found['replace'] is False  # nothing is left to compare


def test_models_of_two_functionals_are_compared_on_the_one_that_they_predict(data, tmp_path):
    tables = [replace(table, functional=np.where(np.arange(len(table)) % 2, 'PBE', 'PBEsol')) for table in data]
    start, grown = (DatasetData(table) for table in tables)
    split, picking, policy = orm.Str('campaign'), orm.Dict({}), orm.Dict(POLICY)
    folded = assign_members(grown, start, split, policy, orm.Int(0))
    file = tiny.write_model(tmp_path / 'two.safetensors', functionals=['PBE', 'PBEsol'])
    model = ModelData(file)
    result = compare_models(
        folded, start, split, picking, policy, model, model, **{f'member_{place:02d}': model for place in range(3)}
    )
    kept = tables[1].trainable & np.isfinite(tables[1].total).all(axis=(1, 2)) & (tables[1].functional == 'PBE')
    place, part = np.arange(len(kept)), tables[1].splits['campaign']
    held, fresh = kept & (part == 'test'), kept & (part == 'train') & (place >= len(tables[0]))
    counts = [result['comparisons'][name]['rows'] for name in ('hold-out', 'new labels')]
    assert counts == [held.sum(), fresh.sum()]
    assert 0 < sum(counts) < len(kept)


def test_record_of_a_retraining(committee):
    history = read_history(begin_history(orm.Dict({'figure_of_merit': 'gap_total'})))
    assert history.figure_of_merit == 'gap_total'
    pick = PickRecord(id='a', hash='h', mean=1.0, outcome='accepted', value=2.0)
    node = write_history(history.with_round(Round(number=1, model_hash='m', picks=(pick,))))
    policy, record = orm.Dict(POLICY), orm.Dict({'core_hours': 1.5, 'failure': 'no memory'})
    (one,) = read_history(record_retraining(node, policy, record)).rounds
    assert (one.retrained, one.adopted, one.core_hours) == (True, False, 1.5)
    assert one.retraining_reason.endswith('(no memory)')
    better = {'rows': 3, 'old': 2.0, 'new': 1.0, 'allowed': 2.1, 'worse': False, 'lost': 0}
    result = {'replace': True, 'reason': '', 'comparisons': {'hold-out': better}}
    model = ModelData(committee)
    (one,) = read_history(record_retraining(node, policy, record, orm.Dict(result), model)).rounds
    assert (one.adopted, one.new_model_hash) == (True, model.content_hash)
    assert one.metrics['hold-out: new'] == 1.0
    for left_out, word in (({'hold-out': 2, 'new labels': 0}, '2 rows of the hold-out'), (None, 'unknown whether')):
        given = orm.Dict({**result, 'trained_on': left_out})
        (one,) = read_history(record_retraining(node, policy, record, given, model)).rounds
        assert word in one.retraining_reason
        assert one.metrics.get('hold-out: left out') == (left_out and 2)
        assert 'new labels: left out' not in one.metrics
    noted = orm.Dict({'core_hours': 0.0, 'left_out': {'PBE': 3}})
    (one,) = read_history(record_retraining(node, policy, noted, orm.Dict(result), model)).rounds
    assert one.retraining_reason.endswith('3 labels of PBE are left out')
    without = orm.Dict({'core_hours': 0.0, 'has_training': False})
    (one,) = read_history(record_retraining(node, policy, without)).rounds
    assert (one.retrained, one.adopted) == (False, False)
    nothing_new = orm.Dict({'core_hours': 0.0, 'new_labels': 0})
    (one,) = read_history(record_retraining(node, policy, nothing_new)).rounds
    assert (one.retrained, 'none of which enters the training' in one.retraining_reason) == (False, True)

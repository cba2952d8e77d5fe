"""Calcfunctions of datasets: sources, joining, splits."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.calculations.datasets import (
    add_splits,
    dataset_crystals,
    dataset_from_dielectric,
    import_dataset,
    join_datasets,
    split_dataset,
)
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.gates import evaluate_gates
from tests import tiny
from tests.core.datasets.equivalent_crystals import dataset, equivalent_crystal, rotation, rutile
from tests.core.datasets.test_responses import response

pytestmark = pytest.mark.usefixtures('aiida_profile')

LABELS = np.diag([6.0, 6.0, 8.0])


def single(name, content):
    return orm.SinglefileData(io.BytesIO(content), filename=name)


def packed(data):
    stream = io.BytesIO()
    data.save(stream)
    return stream.getvalue()


def incoming(node):
    links = node.creator.base.links.get_incoming().all()
    return node.creator.process_label, {link.link_label: link.node.uuid for link in links}


def test_import_of_a_file_with_given_splits():
    file = single('mine.npz', packed(tiny.some_dataset(20)))
    splits = single('s.json', json.dumps({'splits': {'a': {'train': ['c1', 'c2'], 'test': ['c3']}}}).encode())
    node = import_dataset(file, orm.Str('PBEsol'), splits)
    assert node.is_stored
    assert incoming(node)[0] == 'import_dataset'
    assert {file.uuid, splits.uuid} <= set(incoming(node)[1].values())
    assert node.base.attributes.get('functionals') == {'PBEsol': 20}
    assert node.splits == {'a': {'test': 1, 'train': 2}}
    assert set(node.dataset.origin.tolist()) == {'mine.npz'}


def test_invalid_file_leaves_no_node():
    before = orm.QueryBuilder().append(DatasetData).count()
    for name, content in (('x.npz', b'PK\x03\x04 torn'), ('x.pkl', b''), ('x.jsonl', b'{}')):
        with pytest.raises(ValueError, match=name):
            import_dataset(single(name, content))
    assert orm.QueryBuilder().append(DatasetData).count() == before


def test_dataset_of_responses_and_gate_results():
    saddle = response('saddle', frequencies=np.r_[-4.0, np.zeros(3), np.full(14, 5.0)])
    nodes = {
        'b': DielectricData(response('good')).store(),
        'a': DielectricData(saddle).store(),
        'c': DielectricData(response('metal', band_gap=0.0)).store(),
    }
    qualities = {name: evaluate_gates(node) for name, node in nodes.items()}
    made = dataset_from_dielectric(responses=nodes, qualities=qualities)
    data = made.dataset
    assert data.crystals.ids.tolist() == ['saddle', 'good', 'metal']  # in the order of the sorted names
    assert data.trainable.tolist() == [True, True, False]
    assert np.isnan(data.ionic).all(axis=(1, 2)).tolist() == [True, False, False]
    assert data.failed_gates.tolist() == ['no_imaginary_mode', '', 'insulating']
    assert data.origin.tolist() == [nodes[name].uuid for name in 'abc']
    label, links = incoming(made)
    assert label == 'dataset_from_dielectric'
    assert set(links.values()) == {node.uuid for node in [*nodes.values(), *qualities.values()]}
    # refused rows are in no split and not among the crystals to evaluate
    split = split_dataset(made, orm.Str('s'), orm.Str('random'), orm.Int(0), orm.List([1.0, 0.0, 0.0]))
    assert split.splits == {'s': {'train': 2}}
    assert dataset_crystals(split).crystals.ids.tolist() == ['saddle', 'good']


def test_gate_results_of_another_response_are_refused():
    good, metal = (DielectricData(item).store() for item in (response('a'), response('b', band_gap=0.0)))
    quality = evaluate_gates(good)
    with pytest.raises(ValueError, match=f'{good.pk}, not to {metal.pk}'):
        dataset_from_dielectric(responses={'x': metal}, qualities={'x': quality})
    for given, name in (
        ({'responses': {'x': good}}, 'x'),
        ({'qualities': {'x': quality}}, 'x'),
        ({'responses': {'x': good}, 'qualities': {'y': quality}}, 'x, y'),
        ({'others': {'x': good}}, 'others'),
        ({}, 'none'),
    ):
        with pytest.raises(ValueError, match=name):
            dataset_from_dielectric(**given)


def test_join_reports_duplicates():
    other, _ = equivalent_crystal(rutile(name='again'), rotation(3))
    turned = rotation(3) @ LABELS @ rotation(3).T
    first = DatasetData(dataset((rutile(), LABELS, None))).store()
    second = DatasetData(dataset((other, turned, 2 * turned))).store()
    result = join_datasets(**{'set_0': first, 'set_1': second})
    assert set(result) == {'dataset', 'report'}
    np.testing.assert_allclose(result['dataset'].dataset.ionic[0], 2 * LABELS, atol=1e-5)
    report = result['report'].get_dict()
    assert report['parts'] == ['set_0', 'set_1']
    assert (len(report['duplicates']), report['filled'][0]['target']) == (1, 'ionic')
    for node in result.values():
        label, links = incoming(node)
        assert label == 'join_datasets'
        assert {first.uuid, second.uuid} == set(links.values())
    with pytest.raises(ValueError, match='no dataset'):
        join_datasets()


def test_split_keeps_other_splits():
    node = DatasetData(tiny.some_dataset(20)).store()
    once = split_dataset(node, orm.Str('one'), orm.Str('random'), orm.Int(5))
    twice = split_dataset(once, orm.Str('two'), orm.Str('formula'), orm.Int(5))
    assert set(twice.splits) == {'one', 'two'}
    assert twice.dataset.splits['one'].tolist() == once.dataset.splits['one'].tolist()
    assert once.creator.inputs.seed.value == 5
    given = add_splits(once, single('s.json', b'{"splits": {"three": {"train": ["c0"]}}}'))
    assert given.splits['three'] == {'train': 1}
    for name, kind in (('one', 'random'), ('', 'random'), ('x', 'alphabet')):
        with pytest.raises(ValueError, match=name or 'name' if kind == 'random' else kind):
            split_dataset(once, orm.Str(name), orm.Str(kind), orm.Int(0))


def test_crystals_of_a_part_have_no_label_columns():
    node = DatasetData(tiny.some_dataset(20).with_split('s', seed=1)).store()
    crystals = dataset_crystals(node, orm.Str('s'), orm.Str('validation'))
    assert crystals.crystals.ids.tolist() == node.dataset.part('s', 'validation').crystals.ids.tolist()
    assert crystals.columns == ()
    for split, part in (('other', 'test'), ('s', 'holdout')):
        with pytest.raises(ValueError, match=split if split == 'other' else part):
            dataset_crystals(node, orm.Str(split), orm.Str(part))

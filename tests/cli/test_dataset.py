"""``aiida-goectp dataset`` and ``verdi data goectp dataset``."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from click.testing import CliRunner
from plumpy import ProcessState

from aiida_goectp.cli import main
from aiida_goectp.cli.data import data_goectp
from aiida_goectp.cli.queries import latest_node
from aiida_goectp.cli.views.exports import export_pieces
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.gates import judge
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.gates import evaluate_gates
from tests import tiny
from tests.cli.runner import flat, invoke
from tests.core.datasets.equivalent_crystals import dataset, equivalent_crystal, rotation, rutile
from tests.core.datasets.test_responses import response

pytestmark = pytest.mark.usefixtures('aiida_profile')

LABELS = np.diag([6.0, 6.0, 8.0])


def test_import_split_show_export(tmp_path):
    tiny.some_dataset(20).save(tmp_path / 'data.npz')
    (tmp_path / 's.json').write_text(json.dumps({'splits': {'mine': {'train': ['c1', 'c2'], 'test': ['c3']}}}))
    output = invoke(
        *('dataset', 'import', tmp_path / 'data.npz', '--functional', 'PBEsol'),
        *('--split-file', tmp_path / 's.json', '--label', 'first'),
    )
    node = latest_node('goectp.dataset')
    assert f'dataset node {node.pk}: 20 rows, 20 trainable (20 with electronic, 16 with ionic label)' in output
    assert 'mine: 1 test, 2 train' in output
    assert (node.label, node.creator.process_label) == ('first', 'import_dataset')
    invoke('dataset', 'split', node.pk, '--kind', 'formula', '--seed', 3)
    split = latest_node('goectp.dataset')
    assert set(split.splits) == {'mine', 'formula-3'}
    raw = CliRunner().invoke(main, ['dataset', 'split', str(node.pk), '--label', 'tabs', '--raw']).stdout
    assert raw.split('\t')[0] == str(latest_node('goectp.dataset').pk)
    assert raw.rstrip('\n').split('\t')[2:] == ['DatasetData', 'tabs']
    invoke('dataset', 'split', node.pk, '--name', 'half', '--fractions', 0.5, 0.25, 0.25)
    assert latest_node('goectp.dataset').splits['half'] == {'train': 10, 'validation': 5, 'test': 5}
    for output in (invoke('dataset', 'show', split.pk), invoke('show', split.pk)):
        for text in ('20 PBEsol', '16 with ionic label', 'formula-3', 'c0', 'Splits'):
            assert text in output
    invoke('dataset', 'export', split.pk, '--output', tmp_path / 'out.npz')
    back = Dataset.load(tmp_path / 'out.npz')
    assert back.content_hash == split.dataset.content_hash
    invoke('dataset', 'export', split.pk, '--output', tmp_path / 'out.npz', status=2)
    path = tmp_path / 'out.csv'
    invoke('dataset', 'export', split.pk, '-F', 'csv', '-o', path)
    assert path.read_text().splitlines()[0].startswith('id,hash,electronic,ionic,total,functional,origin,failed_gates')


def test_csv_contains_formula_and_properties():
    data, rows = tiny.some_dataset(4), np.arange(4)
    properties = {name: rows for name in ('band_gap', 'formula', 'origin', 'phonons')}
    data = replace(data, crystals=replace(data.crystals, properties=properties))
    lines = list(csv.DictReader(b''.join(export_pieces(DatasetData(data).store(), 'csv')).decode().splitlines()))
    assert [line['formula'] for line in lines] == data.crystals.formulas.tolist()
    assert [line['origin'] for line in lines] == data.origin.tolist()
    for name in ('band_gap', 'property_formula', 'property_origin', 'property_phonons'):
        assert [line[name] for line in lines] == ['0', '1', '2', '3']


def test_verdi_data_dataset(tmp_path):
    node = DatasetData(tiny.some_dataset(4)).store()
    assert str(node.pk) in invoke('dataset', 'list', '--raw', command=data_goectp)
    assert 'c3' in invoke('dataset', 'show', node.pk, command=data_goectp)
    invoke('dataset', 'export', node.pk, '-o', tmp_path / 'x.npz', command=data_goectp)
    assert (tmp_path / 'x.npz').read_bytes() == node.content


def test_refused_rows_stay_refused_through_json_lines(tmp_path):
    rows = (
        (rutile(name='good'), LABELS, LABELS),
        (rutile(2.9, 'metal'), LABELS, LABELS),
        (rutile(3.0, 'soft'), LABELS, None),
    )
    charges = np.random.default_rng(0).normal(size=(18, 3, 3))
    charges -= np.repeat(charges.reshape(3, 6, 3, 3).mean(axis=1), 6, axis=0)
    gates = np.array(['', 'insulating', 'no_imaginary_mode'])
    node = DatasetData(dataset(*rows, failed_gates=gates, born_charges=charges, origin=np.array(list('abc')))).store()
    invoke('dataset', 'export', node.pk, '-F', 'jsonl', '-o', tmp_path / 'x.jsonl')
    back = Dataset.load(tmp_path / 'x.jsonl')
    assert back.trainable.tolist() == [True, False, True]
    assert np.isnan(back.ionic).all(axis=(1, 2)).tolist() == [False, False, True]  # a refused row keeps its labels
    assert back.failed_gates.tolist() == gates.tolist()
    np.testing.assert_allclose(back.born_charges, charges)
    np.testing.assert_allclose(back.electronic[0], LABELS)
    assert (back.functional.tolist(), back.origin.tolist()) == (['PBEsol'] * 3, ['a', 'b', 'c'])
    output = invoke('show', node.pk)
    assert 'insulating' in output
    assert '2 trainable' in output


def test_join_prints_disagreeing_labels():
    other, _ = equivalent_crystal(rutile(name='again'), rotation(3))
    turned = rotation(3) @ np.diag([9.0, 9.0, 8.0]) @ rotation(3).T
    first = DatasetData(dataset((rutile(), LABELS, None))).store()
    second = DatasetData(dataset((other, turned, turned))).store()
    output = invoke('dataset', 'join', first.pk, second.pk, '--tolerance', 0.2, '--newcomers', 'train')
    assert '2 rows of 2 datasets gave 1 rows: 1 duplicates left out, 1 missing parts filled in, 1 labels' in flat(
        output
    )
    for text in ('rutile (set 0)', 'again (set 1)', '6.667', '8.667', '36%'):
        assert text in output
    report = latest_node('goectp.dataset').creator.outputs.report
    assert report.get_dict()['tolerance'] == 0.2
    assert 'Disagreements' in invoke('show', report.pk)


def test_dataset_from_responses_and_processes():
    """A response with gate results, one without, and a work chain with an accepted and a refused response."""
    good = DielectricData(response('good')).store()
    evaluate_gates(good)
    fresh = DielectricData(response('fresh', band_gap=0.0)).store()
    chain = orm.WorkChainNode(label='a verification').store()
    inner = orm.WorkChainNode()
    inner.base.links.add_incoming(chain, link_type=LinkType.CALL_WORK, link_label='CALL')
    inner.store()
    for name, gap in (('accepted', 2.0), ('metal', 0.0)):
        node = DielectricData(response(name, band_gap=gap)).store()
        call = orm.CalcFunctionNode()
        call.set_process_label('evaluate_gates')
        call.base.links.add_incoming(node, link_type=LinkType.INPUT_CALC, link_label='dielectric')
        call.base.links.add_incoming(inner, link_type=LinkType.CALL_CALC, link_label=f'CALL_{name}')
        call.store()
        quality = orm.Dict(judge(node.dielectric).as_dict())
        quality.base.links.add_incoming(call, link_type=LinkType.CREATE, link_label='result')
        quality.store()
        call.set_process_state(ProcessState.FINISHED)
    invoke('dataset', 'from-dielectric', good.pk, fresh.pk, chain.pk, good.pk)
    data = latest_node('goectp.dataset').dataset
    assert data.crystals.ids.tolist() == ['good', 'fresh', 'accepted', 'metal']
    assert data.trainable.tolist() == [True, False, True, False]
    for node in (orm.WorkChainNode().store(), orm.Int(1).store()):
        assert str(node.pk) in invoke('dataset', 'from-dielectric', node.pk, status=2)


def test_invalid_input_is_refused(tmp_path):
    (tmp_path / 'x.npz').write_bytes(b'PK nonsense')
    assert 'x.npz' in invoke('dataset', 'import', tmp_path / 'x.npz', status=2)
    node = DatasetData(tiny.some_dataset(3)).store()
    invoke('dataset', 'split', node.pk, status=2)  # too few rows for three parts
    invoke('dataset', 'split', node.pk, '--fractions', 0.5, 0.1, 0.1, status=2)

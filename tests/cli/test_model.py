"""``aiida-goectp model``."""

import json
import os
import pickle

import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.formats.model_card import model_hash, resolve_model, shipped_models
from aiida_goectp.data.model import ModelData
from tests.cli import runner
from tests.cli.runner import flat, line_with

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')

METRICS = {'rows': 412, 'mae': 0.339, 'mae_average': 0.824, 'mae_anisotropy': 0.123, 'ewt_25': 87.14}
CARD = {
    'members': 3,
    'functional': 'PBEsol',
    'elements': [8, 22],
    'uncertainty': {'electronic': {'average': [1.0, 2.0, 0.1]}},
    'metrics': {
        'validation': {'electronic': METRICS | {'mae_average': 0.7}},
        'test': {'electronic': METRICS, 'coverage_90': {'electronic': {'average': 90.3, 'eigenvalues': 88.64}}},
    },
    'licence': 'CC-BY-4.0',
    'notes': 'Made by hand.',
}


def invoke(*arguments, status=0):
    return runner.invoke('model', *arguments, status=status)


@pytest.fixture
def stored(write_model):
    return ModelData.get_or_create(write_model('by-hand', **CARD))


def test_list_has_one_line_for_a_shipped_and_stored_model(stored):
    output = invoke('list')
    line = line_with(output, 'by-hand')
    for text in (f' pk {stored.pk} ', 'electronic', 'PBEsol', '412 test', ' 3 ', '0.824 / – / –', ' yes'):
        assert text in line
    assert 'ships' not in line
    for name in shipped_models():
        assert ' ships ' in line_with(output, name)
    assert 'model install NAME' in output
    invoke('install')
    again = invoke('list')
    assert 'model install NAME' not in again
    for name in shipped_models():
        node = ModelData.find(model_hash(resolve_model(name)))
        assert f' ships, pk {node.pk} ' in line_with(again, name)
        assert again.split().count(name) == 1


def test_card_with_metrics_and_coverage(stored):
    output = invoke('show', stored.pk)
    metrics, _, coverage = output.partition('90 % intervals')
    for text in ('validation', 'test', 'electronic', '412', '0.339', '0.824', '0.123', '87.14'):
        assert text in metrics
    assert line_with(coverage, 'electronic') == 'test electronic 90.3 % 88.6 %'
    for text in ('elements, 2: O Ti', 'licence: CC-BY-4.0', 'notes: Made by hand.', stored.content_hash):
        assert text in output
    assert runner.invoke('show', stored.pk) == output


def test_show_does_not_store_a_shipped_model():
    name = shipped_models()[0]
    assert model_hash(resolve_model(name)) in invoke('show', name)
    assert ModelData.find(model_hash(resolve_model(name))) is None
    assert 'no-such' in invoke('show', 'no-such', status=2)


def test_show_and_export_take_a_file(write_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_model('single')
    shown = json.loads(invoke('show', path, '--json'))
    assert (shown['hash'], shown['pks'], shown['shipped']) == (model_hash(path), [], False)
    invoke('export', path, '-o', 'copy.safetensors')
    assert (tmp_path / 'copy.safetensors').read_bytes() == path.read_bytes()
    assert ModelData.collection.all() == []
    (tmp_path / 'text.safetensors').write_text('no model')
    assert 'text.safetensors' in flat(invoke('show', 'text.safetensors', status=2))


def test_import_as_json_and_as_tabs(write_model):
    path = write_model('single')
    found = json.loads(CliRunner().invoke(main, ['model', 'import', str(path), '--json']).stdout)
    (node,) = ModelData.collection.all()
    assert (found['pk'], found['hash']) == (node.pk, node.content_hash)
    line = CliRunner().invoke(main, ['model', 'import', str(path), '--raw']).stdout
    assert line.rstrip('\n').split('\t') == [str(node.pk), node.uuid, 'ModelData', node.label]


def test_card_without_uncertainty(write_model):
    node = ModelData.get_or_create(write_model('single'))
    assert 'uncertainty: not calibrated, no standard deviations' in invoke('show', node.pk)


def test_install_stores_a_model_once():
    name = shipped_models()[0]
    assert 'Success: model node' in invoke('install', name)
    assert 'Success' not in invoke('install', name)
    assert len(ModelData.collection.all()) == 1
    output = flat(invoke('install', 'goectp-huge', status=2))
    assert 'goectp-huge' in output
    assert name in output


def test_export_and_import(stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke('export', stored.pk)
    written = tmp_path / 'by-hand.safetensors'
    assert written.read_bytes() == stored.content
    assert '--force' in invoke('export', stored.pk, status=2)
    invoke('export', stored.pk, '--force')
    assert f'model node {stored.pk} ' in invoke('import', written)
    assert len(ModelData.collection.all()) == 1
    invoke('export', shipped_models()[0], '-o', 'shipped.safetensors')
    assert model_hash('shipped.safetensors') == model_hash(resolve_model(shipped_models()[0]))


def test_name_in_a_card_is_not_used_as_a_path(write_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_model('plain')
    head = path.read_bytes().replace(b'"plain', b'"../x/', 1).replace(rb'\"plain\"', rb'\"../x/\"', 1)
    path.write_bytes(head)
    node = ModelData.get_or_create(path)
    assert node.card.name == '../x/'
    invoke('export', node.pk)
    assert [item.name for item in tmp_path.iterdir()] == ['_x_.safetensors']


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint in the format of the published code."""
    import torch

    from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP

    torch.manual_seed(0)
    state = GoeCTP(ARCHITECTURES['published'], ['total']).state_dict()
    weights = {name.removeprefix('head.'): tensor for name, tensor in state.items()}
    path = tmp_path / 'theirs.pt'
    torch.save({'model': weights, 'epoch': 200}, path)
    return path


def test_published_checkpoint(checkpoint):
    assert '--target' in invoke('import', checkpoint, status=2)
    assert '--name requires --target' in flat(invoke('import', checkpoint, '--name', 'x', status=2))
    output = invoke('import', checkpoint, '--target', 'ionic', '--name', 'hua-ionic')
    assert 'hua-ionic' in output
    (node,) = ModelData.collection.all()
    assert (node.card.preset, node.card.targets) == ('published', ['ionic'])
    assert 'theirs.pt, sha256 ' in node.description
    invoke('import', checkpoint, '--target', 'ionic')
    assert len(ModelData.collection.all()) == 1


class _Harmful:
    def __reduce__(self):
        return os.mkdir, ('harmed',)


@pytest.mark.parametrize('arguments', [[], ['--target', 'total']])
def test_pickle_is_not_executed(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.pt').write_bytes(pickle.dumps({'model': _Harmful()}, protocol=2))
    assert 'evil.pt' in invoke('import', 'evil.pt', *arguments, status=2)
    assert not (tmp_path / 'harmed').exists()
    assert ModelData.collection.all() == []


def test_other_files_are_refused(tmp_path):
    for name, content in (('text.safetensors', b'hello world'), ('empty', b'')):
        (tmp_path / name).write_bytes(content)
        assert name in flat(invoke('import', tmp_path / name, status=2))
    assert ModelData.collection.all() == []


def test_models_as_json(aiida_profile):
    result = CliRunner().invoke(main, ['model', 'list', '--json'])
    shipped = [entry for entry in json.loads(result.stdout) if entry['shipped']]
    assert 'goectp' in {entry['card']['name'] for entry in shipped}
    shown = json.loads(CliRunner().invoke(main, ['model', 'show', 'goectp', '--json']).stdout)
    raw = CliRunner().invoke(main, ['model', 'show', 'goectp', '--raw']).stdout
    assert raw.split('\t')[0] == 'goectp'
    assert shown in shipped


def test_a_model_file_that_begins_like_a_pickle_is_imported(write_model, tmp_path):
    """The first byte of a model file is that of the length of its header."""
    content = write_model('begins-with-0x80').read_bytes()
    length = int.from_bytes(content[:8], 'little')
    padded = length + (0x80 - length) % 256
    path = tmp_path / 'padded.safetensors'
    path.write_bytes(padded.to_bytes(8, 'little') + content[8 : 8 + length].ljust(padded) + content[8 + length :])
    assert path.read_bytes()[:1] == b'\x80'
    assert 'begins-with-0x80' in invoke('import', path)
    for start in (b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j', b'PK\x03\x04' + b'\0' * 20):
        path.write_bytes(start)
        assert '--target' in invoke('import', path, status=2)

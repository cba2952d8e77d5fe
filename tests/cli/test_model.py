"""``aiida-goectp model``: shipped and stored side by side, cards in full, files in and out."""

import os
import pickle

import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.formats.model_card import model_hash, resolve_model, shipped_models
from aiida_goectp.data.model import ModelData

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')

FIGURES = {'rows': 412, 'mae': 0.339, 'mae_average': 0.824, 'mae_anisotropy': 0.123, 'ewt_25': 87.14}
CARD = {
    'members': 3,
    'functional': 'PBEsol',
    'elements': [8, 22],
    'uncertainty': {'electronic': {'average': [1.0, 2.0, 0.1]}},
    'metrics': {
        'validation': {'electronic': FIGURES | {'mae_average': 0.7}},
        'test': {'electronic': FIGURES, 'coverage_90': {'electronic': {'average': 90.3, 'eigenvalues': 88.64}}},
    },
    'licence': 'CC-BY-4.0',
    'notes': 'Made by hand.',
}


def invoke(*arguments, status=0):
    result = CliRunner().invoke(main, ['model', *[str(item) for item in arguments]])
    assert result.exit_code == status, result.output
    return result.output


def line_of(output, name):
    return next(line for line in output.splitlines() if name in line.split())


@pytest.fixture
def stored(write_model):
    return ModelData.get_or_create(write_model('by-hand', **CARD))


def test_shipped_and_stored_models_stand_side_by_side(stored):
    output = invoke('list')
    line = line_of(output, 'by-hand')
    for text in (f' pk {stored.pk} ', 'electronic', 'PBEsol', '412 test', ' 3 ', '0.824 / – / –', ' yes '):
        assert text in line
    assert 'ships' not in line
    for name in shipped_models():
        assert ' ships ' in line_of(output, name)
    assert 'model install NAME' in output
    invoke('install')
    again = invoke('list')
    assert 'model install NAME' not in again
    for name in shipped_models():
        node = ModelData.find(model_hash(resolve_model(name)))
        assert f' ships, pk {node.pk} ' in line_of(again, name)
        assert again.split().count(name) == 1


def test_a_card_is_shown_with_metrics_and_coverage(stored):
    output = invoke('show', stored.pk)
    metrics, _, coverage = output.partition('Labels within the stated 90 % intervals')
    for text in ('validation', 'test', 'electronic', '412', '0.339', '0.824', '0.123', '87.14'):
        assert text in metrics
    assert line_of(coverage, 'electronic').split() == ['test', 'electronic', '90.3', '%', '88.6', '%']
    for text in ('elements, 2: O Ti', 'licence: CC-BY-4.0', 'notes: Made by hand.', stored.content_hash):
        assert text in output
    # the same from the general command
    assert 'Labels within' in CliRunner().invoke(main, ['show', str(stored.pk)]).output


def test_a_shipped_model_is_shown_without_being_stored():
    name = shipped_models()[0]
    output = invoke('show', name)
    assert model_hash(resolve_model(name)) in output
    assert ModelData.find(model_hash(resolve_model(name))) is None
    assert 'no-such' in invoke('show', 'no-such', status=2)


def test_a_model_without_uncertainty_says_so(write_model):
    node = ModelData.get_or_create(write_model('single'))
    assert 'it states no standard deviations' in invoke('show', node.pk)


def test_install_stores_once_and_names_what_there_is():
    name = shipped_models()[0]
    assert 'Success: model node' in invoke('install', name)
    assert 'holds it already' in invoke('install', name)
    output = ' '.join(invoke('install', 'goectp-huge', status=2).split())
    assert 'goectp-huge: no such shipped model; there are:' in output
    assert name in output


def test_out_to_a_file_and_in_again(stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke('export', stored.pk)
    written = tmp_path / 'by-hand.safetensors'
    assert written.read_bytes() == stored.content
    assert 'overwrite it with --force' in invoke('export', stored.pk, status=2)
    invoke('export', stored.pk, '--force')
    assert f'model node {stored.pk} holds it already' in invoke('import', written)
    invoke('export', shipped_models()[0], '-o', 'shipped.safetensors')
    assert model_hash('shipped.safetensors') == model_hash(resolve_model(shipped_models()[0]))


def test_a_name_from_outside_is_no_path(write_model, tmp_path, monkeypatch):
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
    """A checkpoint as the authors' code leaves it."""
    import torch

    from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP

    torch.manual_seed(0)
    state = GoeCTP(ARCHITECTURES['published'], ['total']).state_dict()
    weights = {name.removeprefix('head.'): tensor for name, tensor in state.items()}
    path = tmp_path / 'theirs.pt'
    torch.save({'model': weights, 'epoch': 200}, path)
    return path


def test_a_checkpoint_of_the_authors(checkpoint):
    assert 'say what that network was trained on' in ' '.join(invoke('import', checkpoint, status=2).split())
    assert '--name goes with --target' in invoke('import', checkpoint, '--name', 'x', status=2)
    output = invoke('import', checkpoint, '--target', 'ionic', '--name', 'hua-ionic')
    assert 'hua-ionic' in output
    node = next(iter(ModelData.collection.all()))
    assert (node.card.preset, node.card.targets) == ('published', ['ionic'])
    assert 'theirs.pt, sha256 ' in node.description
    assert 'holds it already' in invoke('import', checkpoint, '--target', 'ionic')


class _Harmful:
    def __reduce__(self):
        return os.mkdir, ('harmed',)


@pytest.mark.parametrize('arguments', [[], ['--target', 'total']])
def test_a_pickle_runs_nothing(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.pt').write_bytes(pickle.dumps({'model': _Harmful()}, protocol=2))
    output = ' '.join(invoke('import', 'evil.pt', *arguments, status=2).split())
    assert ('refused, since it holds more than tensors' if arguments else 'looks like a checkpoint') in output
    assert not (tmp_path / 'harmed').exists()
    assert ModelData.collection.all() == []


def test_what_is_neither_is_refused(tmp_path):
    for name, content in (('text.safetensors', b'hello world'), ('empty', b'')):
        (tmp_path / name).write_bytes(content)
        assert 'not a safetensors file' in ' '.join(invoke('import', tmp_path / name, status=2).split())

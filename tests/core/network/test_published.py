"""Preset ``published``: output of the published network, and import of its checkpoints."""

import pickle

import numpy as np
import pytest
import torch

from aiida_goectp.core.crystals.reduction import polar_rotation
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import read_card
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import load_model
from aiida_goectp.core.network.elements import element_features
from aiida_goectp.core.network.imports import import_published
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP
from aiida_goectp.core.network.preparation import GraphArrays, prepare


@pytest.fixture
def reference_arrays(reference):
    """The graphs of the reference as undirected edges; its directed ones are listed in pairs."""
    source, target = reference['edge_index'][:, ::2].astype(np.int64)
    assert (reference['edge_index'][::-1, ::2] == reference['edge_index'][:, 1::2]).all()
    crystal = reference['batch'][source]
    ptr, n = reference['ptr'].astype(np.int64), 12
    return GraphArrays(
        np.arange(n + 1),
        ptr,
        np.searchsorted(crystal, np.arange(n + 1)),
        numbers_of(reference['x']),
        source - ptr[crystal],
        target - ptr[crystal],
        reference['edge_vector'][::2],
        reference['lattice_vectors'].astype(float),
        polar_rotation(reference['cell']),
        np.abs(np.linalg.det(reference['cell'])),
        np.tile(np.eye(9), (n, 2, 1, 1)),
        np.ones(n, bool),
        np.tile([0.0, 0.0, 0.0, 1.0], (n, 1)),
    )


def numbers_of(features):
    """Return the atomic numbers that have these features."""
    table = element_features()
    numbers = (features[:, None] == table[None]).all(axis=2).argmax(axis=1)
    assert (table[numbers] == features).all()
    return numbers


def _output(network, arrays, dtype, plain):
    with torch.no_grad():
        return network.to(dtype)(GraphBatch.from_arrays(arrays, dtype), plain=plain)[:, 0].double().numpy()


@pytest.mark.parametrize(('plain', 'tolerance'), [(True, 1e-10), (False, 1e-9)])
def test_reference_output_in_float64(published, reference, reference_arrays, plain, tolerance):
    output = _output(published, reference_arrays, torch.float64, plain)
    np.testing.assert_allclose(output, reference['output'], atol=tolerance)


@pytest.mark.parametrize('plain', [True, False])
def test_reference_output_in_float32(published, reference, reference_arrays, plain):
    output = _output(published, reference_arrays, torch.float32, plain)
    np.testing.assert_allclose(output, reference['output'], atol=1e-5)


def test_reference_output_from_crystals(published, reference, reference_crystals):
    """With the reference vectors of the reference, where several lattice vectors have equal length."""
    arrays = prepare(reference_crystals, 'published', references=list(reference['lattice_vectors'].astype(float)))
    np.testing.assert_allclose(_output(published, arrays, torch.float64, True), reference['output'], atol=1e-7)


def test_own_reference_vectors_are_of_the_published_lengths(reference, reference_crystals):
    arrays = prepare(reference_crystals, 'published')
    lengths = np.linalg.norm(arrays.references, axis=2)
    np.testing.assert_allclose(lengths, np.linalg.norm(reference['lattice_vectors'], axis=2), atol=1e-4)
    assert (np.linalg.det(arrays.references) > 0).all()


@pytest.fixture
def network():
    """Network of preset ``published`` with random weights."""
    torch.manual_seed(0)
    return GoeCTP(ARCHITECTURES['published'], ['total']).eval()


@pytest.fixture
def weights(network):
    """Its weights under the names of the authors' code, together with some that their network never reads."""
    named = {name.removeprefix('head.'): tensor for name, tensor in network.state_dict().items()}
    return {**named, 'att_layers.0.bn.weight': torch.ones(128), 'att_layers.0.lemb.weight': torch.ones(3, 128)}


def _checkpoint(tmp_path, content):
    path = tmp_path / 'authors.pt'
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    'wrap',
    [lambda w: w, lambda w: {'model': w, 'epoch': 3}, lambda w: {f'module.{name}': w[name] for name in w}],
    ids=['bare', 'nested', 'parallel'],
)
def test_import_of_a_checkpoint(tmp_path, network, weights, reference_crystals, wrap):
    output = tmp_path / 'imported.safetensors'
    import_published(_checkpoint(tmp_path, wrap(weights)), output, target='electronic')
    assert read_card(output).targets == ['electronic']
    arrays = prepare(reference_crystals[:3], 'published')
    imported, own = (_output(n, arrays, torch.float32, False) for n in (load_model(output).networks[0], network))
    np.testing.assert_array_equal(imported, own)


class _Malicious:
    def __reduce__(self):
        return (print, ('this would have run',))


def test_import_runs_no_code(tmp_path, capsys):
    path = tmp_path / 'hostile.pt'
    torch.save({'model': _Malicious()}, path)
    with pytest.raises(FormatError, match=r'hostile\.pt') as caught:
        import_published(path, tmp_path / 'out.safetensors')
    assert 'weights_only' not in str(caught.value)  # the advice of torch would run it
    assert '\x1b' not in str(caught.value)
    path.write_bytes(pickle.dumps(_Malicious()))
    with pytest.raises(FormatError, match=r'hostile\.pt'):
        import_published(path, tmp_path / 'out.safetensors')
    assert 'would have run' not in capsys.readouterr().out
    assert not (tmp_path / 'out.safetensors').exists()


def test_import_refuses_another_network(tmp_path, weights):
    fewer = {name: tensor for name, tensor in weights.items() if 'att_layers.3' not in name}
    with pytest.raises(FormatError, match=r'att_layers\.3'):
        import_published(_checkpoint(tmp_path, fewer), tmp_path / 'out.safetensors')
    wide = {**weights, 'fc_out.2.weight': torch.zeros(6, 128)}
    with pytest.raises(FormatError, match=r'fc_out\.2\.weight.*\(6, 128\).*\(9, 128\)'):
        import_published(_checkpoint(tmp_path, wide), tmp_path / 'out.safetensors')
    with pytest.raises(FormatError, match=r'authors\.pt'):
        import_published(_checkpoint(tmp_path, {'epoch': 3}), tmp_path / 'out.safetensors')


def test_tensors_rotate_with_the_crystal_by_a_quarter_turn(network, reference_crystals):
    """Preset ``published`` is covariant unless rounding changes the order of equal distances."""
    crystals = reference_crystals[:3]
    angle = np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = [crystal._replace(lattice=crystal.lattice @ turn.T) for crystal in crystals]
    before, after = (_output(network, prepare(c, 'published'), torch.float64, False) for c in (crystals, turned))
    np.testing.assert_allclose(turn @ before @ turn.T, after, atol=1e-8)

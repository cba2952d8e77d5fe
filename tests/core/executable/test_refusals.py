"""What ``goectp predict`` refuses: each bad input with its message and exit status."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from aiida_goectp.core.formats.npz import write_npz
from tests import tiny

_WITHOUT_TORCH = """
import sys
from aiida_goectp.core.executable.main import main
try:
    main()
finally:
    assert 'torch' not in sys.modules
"""


def _refused(goectp, status, source, model, *words):
    arguments = ['--model', model, '--output', 'out.npz', '--device', 'cpu']
    result = goectp('predict', source, *arguments, status=2)
    message = ' '.join(result.output.split())
    for word in words:
        assert word in message
    assert status()['state'] == 'failed'
    assert status()['error']['message'] in result.output
    return status()['error']['code']


def _cut_cif(folder):
    (folder / 'cut.cif').write_text(tiny.CIF[: tiny.CIF.index('O1')])
    return 'cut.cif', 'composition_mismatch', 'cut.cif'


def _cut_cif_earlier(folder):
    (folder / 'cut.cif').write_text(tiny.CIF[: tiny.CIF.index('Mg1') - 20])
    return 'cut.cif', 'unreadable_file', 'cut off?'


def _empty_folder(folder):
    (folder / 'empty').mkdir()
    return 'empty', 'no structure file in this folder', '.cif'


def _nan(folder):
    text = 'MgO\n1.0\n4 0 0\n0 4 0\n0 0 4\nMg O\n1 1\nDirect\n0 0 0\nnan 0.5 0.5\n'
    (folder / 'POSCAR').write_text(text)
    return 'POSCAR', 'POSCAR', 'not one crystal could be read'


def _nan_json(folder):
    row = {'lattice': np.eye(3).tolist(), 'species': ['Si'], 'frac_coords': [[0, 0, float('nan')]]}
    (folder / 'nan.jsonl').write_text(json.dumps(row))
    return 'nan.jsonl', 'not_finite', 'nan.jsonl, line 1'


def _wrong_shapes(folder):
    arrays = {
        'lattices': np.zeros((2, 3, 3)),
        'atom_offsets': np.array([0, 1]),
        'atomic_numbers': np.array([1]),
        'fractional_positions': np.zeros((1, 3)),
        'ids': np.array(['a']),
        'failures': np.zeros((0, 3), dtype='<U1'),
    }
    write_npz(folder / 'wrong.npz', 'crystals', 1, arrays)
    return 'wrong.npz', "'lattices' has shape (2, 3, 3)", 'expected shape (1, 3, 3)'


def _later_version(folder):
    write_npz(folder / 'later.npz', 'crystals', 2, {})
    return 'later.npz', 'version 2 of the crystals format', 'reads version 1'


def _pickled(folder):
    np.savez(folder / 'pickled.npz', lattices=np.array([{}], dtype=object))
    return 'pickled.npz', 'cannot be read safely', 'pickled.npz'


def _unknown_element(folder):
    (folder / 'X.cif').write_text(tiny.CIF.replace('Mg', 'Qq'))
    return 'X.cif', 'Qq', 'X.cif'


def _absent(folder):
    return 'nowhere.cif', 'nowhere.cif: no such file or folder'


@pytest.mark.parametrize(
    'make',
    [
        _cut_cif,
        _cut_cif_earlier,
        _empty_folder,
        _nan,
        _nan_json,
        _wrong_shapes,
        _later_version,
        _pickled,
        _unknown_element,
        _absent,
    ],
)
def test_bad_input_is_refused_with_its_reason(goectp, status, model, tmp_path, make):
    source, *words = make(tmp_path)
    assert _refused(goectp, status, source, model, *words) == 'bad_input'


def _pickled_model(folder):
    import torch

    torch.save({'weight': torch.zeros(2)}, folder / 'model.pt')
    return folder / 'model.pt', 'not a safetensors file (a pickle, or cut off)', '.safetensors'


def _old_pickle(folder):
    (folder / 'model.pkl').write_bytes(pickle.dumps({'weight': [0.0] * 9}))
    return folder / 'model.pkl', 'not a safetensors file (a pickle, or cut off)'


def _foreign(folder):
    import torch
    from safetensors.torch import save_file

    save_file({'weight': torch.zeros(2)}, folder / 'foreign.safetensors')
    return folder / 'foreign.safetensors', 'not a model of this package'


def _model_of_another_version(folder):
    path = tiny.write_model(folder / 'model.safetensors')
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"9"', 1))
    return path, 'model format version 9', 'reads version 1'


def _cut_model(folder):
    path = tiny.write_model(folder / 'model.safetensors')
    path.write_bytes(path.read_bytes()[:-100])
    return path, 'the weights are cut off'


def _weights_of_another_width(folder):
    path = tiny.write_model(folder / 'model.safetensors')
    path.write_bytes(path.read_bytes().replace(b'\\"width\\":16', b'\\"width\\":17', 1))
    return path, 'the weights do not fit the architecture'


def _unknown_model(folder):
    return 'nonesuch', 'no such model file, nor one of the shipped models'


@pytest.mark.parametrize(
    'make',
    [
        _pickled_model,
        _old_pickle,
        _foreign,
        _model_of_another_version,
        _cut_model,
        _weights_of_another_width,
        _unknown_model,
    ],
)
def test_a_bad_model_is_refused_with_its_reason(goectp, status, crystals, tmp_path, make):
    model, *words = make(tmp_path)
    assert _refused(goectp, status, 'crystals.npz', model, str(model), *words) == 'bad_model'


def test_the_executable_tells_bad_input_before_it_imports_torch(model, tmp_path):
    (tmp_path / 'empty').mkdir()
    command = [sys.executable, '-c', _WITHOUT_TORCH, 'predict', 'empty', '--model', str(model), '--output', 'out.npz']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith('goectp: bad_input: empty: no structure file')


def test_many_crystals_need_a_place_to_go(goectp, crystals, model):
    result = goectp('predict', 'crystals.npz', '--model', model, status=2)
    assert 'holds 24 crystals; name a file with --output, or use --json' in result.output


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--device', 'abacus', '--output', 'out.npz'], "device 'abacus': expected auto, cpu, cuda"),
        (['--batch-atoms', '0', '--output', 'out.npz'], 'expected auto or a number from 1'),
        (['--output', 'no/such/folder/out.npz'], 'there is no folder no/such/folder; make it first'),
    ],
)
def test_bad_options_are_refused(goectp, crystals, model, arguments, words):
    assert words in goectp('predict', 'crystals.npz', '--model', model, *arguments, status=2).output

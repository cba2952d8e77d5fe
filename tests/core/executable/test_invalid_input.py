"""Invalid input of ``goectp predict``: each with its code, exit status, and the file or value named."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

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


def _code(goectp, status, source, model, *names):
    arguments = ['--model', model, '--output', 'out.npz', '--device', 'cpu']
    result = goectp('predict', source, *arguments, status=2)
    message = ' '.join(result.output.split())
    for name in names:
        assert name in message
    assert status()['state'] == 'failed'
    assert status()['error']['message'] in result.output
    return status()['error']['code']


def _cut_cif(folder):
    (folder / 'cut.cif').write_text(tiny.CIF[: tiny.CIF.index('O1')])
    return 'cut.cif', 'composition_mismatch', 'cut.cif'


def _cut_cif_earlier(folder):
    (folder / 'cut.cif').write_text(tiny.CIF[: tiny.CIF.index('Mg1') - 20])
    return 'cut.cif', 'unreadable_file', 'cut.cif'


def _empty_folder(folder):
    (folder / 'empty').mkdir()
    return 'empty', 'empty', '.cif'


def _nan(folder):
    text = 'MgO\n1.0\n4 0 0\n0 4 0\n0 0 4\nMg O\n1 1\nDirect\n0 0 0\nnan 0.5 0.5\n'
    (folder / 'POSCAR').write_text(text)
    return 'POSCAR', 'POSCAR'


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
    return 'wrong.npz', 'wrong.npz', 'shape'


def _later_version(folder):
    write_npz(folder / 'later.npz', 'crystals', 2, {})
    return 'later.npz', 'later.npz', 'version 2'


def _pickled(folder):
    np.savez(folder / 'pickled.npz', lattices=np.array([{}], dtype=object))
    return 'pickled.npz', 'pickled.npz'


def _unknown_element(folder):
    (folder / 'X.cif').write_text(tiny.CIF.replace('Mg', 'Qq'))
    return 'X.cif', 'Qq', 'X.cif'


def _absent(folder):
    return 'nowhere.cif', 'nowhere.cif'


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
def test_invalid_input(goectp, status, model, tmp_path, make):
    source, *names = make(tmp_path)
    assert _code(goectp, status, source, model, *names) == 'bad_input'


def _pickled_model(folder):
    torch.save({'weight': torch.zeros(2)}, folder / 'model.pt')
    return folder / 'model.pt', 'model.pt', '.safetensors'


def _old_pickle(folder):
    (folder / 'model.pkl').write_bytes(pickle.dumps({'weight': [0.0] * 9}))
    return folder / 'model.pkl', 'model.pkl'


def _foreign(folder):
    save_file({'weight': torch.zeros(2)}, folder / 'foreign.safetensors')
    return folder / 'foreign.safetensors', 'model card'


def _model_of_another_version(folder):
    path = tiny.write_model(folder / 'model.safetensors')
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"9"', 1))
    return path, 'version 9'


def _cut_model(folder):
    path = tiny.write_model(folder / 'model.safetensors')
    path.write_bytes(path.read_bytes()[:-100])
    return path, 'model.safetensors'


def _weights_of_another_width(folder):
    path = tiny.write_model(folder / 'model.safetensors')
    content = path.read_bytes().replace(b'\\"width\\":16', b'\\"width\\":17', 1)
    start = 8 + int.from_bytes(content[:8], 'little')
    header = re.sub(rb',"checksum":"\w+"', b'', content[8:start]).ljust(start - 8)
    path.write_bytes(content[:8] + header + content[start:])
    return path, 'architecture'


def _unknown_model(folder):
    return 'nonesuch', 'nonesuch'


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
def test_invalid_models(goectp, status, crystals, tmp_path, make):
    model, *names = make(tmp_path)
    assert _code(goectp, status, 'crystals.npz', model, str(model), *names) == 'bad_model'


def test_invalid_input_is_reported_before_torch_is_imported(model, tmp_path):
    (tmp_path / 'empty').mkdir()
    command = [sys.executable, '-c', _WITHOUT_TORCH, 'predict', 'empty', '--model', str(model), '--output', 'out.npz']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith('goectp: bad_input: empty')


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (['--device', 'abacus', '--output', 'out.npz'], 'abacus'),
        (['--batch-atoms', '0', '--output', 'out.npz'], '--batch-atoms'),
        (['--output', 'no/such/folder/out.npz'], 'no/such/folder'),
    ],
)
def test_invalid_options(goectp, crystals, model, arguments, name):
    assert name in goectp('predict', 'crystals.npz', '--model', model, *arguments, status=2).output

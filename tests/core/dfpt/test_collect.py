"""Collection of calculations: refusals, hashes, memory."""

from __future__ import annotations

import hashlib
import shutil
import tracemalloc

import pytest

from aiida_goectp.core.crystals import Failure
from aiida_goectp.core.dfpt.collect import collect_calculations
from aiida_goectp.core.dfpt.folders import find_calculations
from tests.rows import DATA

FINISHED = DATA / 'finished'


def _collect(folder):
    return {item.folder.rsplit('/', 1)[-1]: item for item in collect_calculations(find_calculations([folder]))}


def test_names_and_hashes_of_all_files_are_recorded(tmp_path):
    shutil.copytree(FINISHED / 'ibrav0', tmp_path / 'run')
    (found,) = _collect(tmp_path).values()
    assert found.program == 'quantumespresso'
    assert set(found.files) == {
        *('ph.out.gz', 'mgo.dyn', 'tmp/_ph0/mgo.phsave/tensors.xml', 'tmp/mgo.save/data-file-schema.xml.gz')
    }
    content = (tmp_path / 'run/mgo.dyn').read_bytes()
    assert found.files['mgo.dyn'] == hashlib.sha256(content).hexdigest()


def test_each_refusal_has_its_code(tmp_path):
    rutile = (FINISHED / 'sno2/vasprun.xml.gz').read_bytes()
    contents = {
        'good/vasprun.xml.gz': rutile,
        'copy/vasprun.xml.gz': rutile,
        'cut/vasprun.xml.gz': rutile[:4000],
        'text/vasprun.xml': b'hello',
        'none/vasprun.xml': b'',
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    shutil.copytree(tmp_path / 'text', tmp_path / 'two')
    (tmp_path / 'two/vasprun.xml').rename(tmp_path / 'two/vasprun.1.xml')
    (tmp_path / 'two/vasprun.2.xml').write_bytes(b'other')
    (tmp_path / 'dir/vasprun.xml').mkdir(parents=True)
    (tmp_path / 'dir/OUTCAR').write_bytes(b'')
    found = _collect(tmp_path)
    codes = {name: item.result.code for name, item in found.items() if isinstance(item.result, Failure)}
    assert codes == {
        'good': 'duplicate_calculation',
        'cut': 'unreadable_file',
        'text': 'unreadable_file',
        'none': 'unreadable_file',
        'two': 'ambiguous_files',
        'dir': 'unfinished',
    }
    assert found['good'].result.message.endswith('/copy')
    assert all(item.result.message.startswith(str(tmp_path)) for item in found.values() if item.folder in codes)


@pytest.mark.slow
def test_memory_is_that_of_one_calculation(tmp_path):
    """Each run has other files, so that none is a duplicate."""
    for number in range(44):
        folder = tmp_path / f'run{number:03d}'
        folder.mkdir()
        shutil.copy(FINISHED / 'sno2/vasprun.xml.gz', folder)
        (folder / 'INCAR').write_text(f'SYSTEM = {number}\n')
    calculations = find_calculations([tmp_path])
    for _ in collect_calculations(calculations[:4]):  # imports
        pass
    peaks = []
    for rows in (slice(4, 12), slice(12, 44)):
        tracemalloc.start()
        assert not [item for item in collect_calculations(calculations[rows]) if isinstance(item.result, Failure)]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 24 * 5000, peaks  # bytes; a file has 92270

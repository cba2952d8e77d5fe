"""Full disks, quotas and read-only folders: reported as such, nothing damaged, and the same command resumes."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys

import pytest

from aiida_goectp.core.executable.status import Status
from aiida_goectp.core.formats.storage import StorageError
from tests import tiny

GOECTP = [sys.executable, '-c', 'from aiida_goectp.core.executable.main import main; main()']
SMALL = ['--width', 16, '--layers', 1, '--batch-size', 8, '--device', 'cpu', '--threads', 1, '--quiet']


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own; its size is changed by ``resize``."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    options = ['-o', 'size=4M', 'tmpfs', str(folder)]
    mounted = shutil.which('mount') and subprocess.run(['mount', '-t', 'tmpfs', *options], capture_output=True)
    if not mounted or mounted.returncode:
        pytest.skip('no right to mount a file system')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def fill(folder, leave=0):
    """Fill a file system but for a number of bytes; return the file that fills it."""
    path = folder / 'filling'
    with path.open('wb', buffering=0) as stream:
        while os.statvfs(folder).f_bfree:
            stream.write(bytes(4096))
        stream.truncate(stream.tell() // 4096 * 4096 - leave)
    return path


def run(folder, *arguments):
    """Run the executable with its output streams on the disk, as a job of AiiDA does."""
    command = [*GOECTP, *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'GOECTP_TEST_FAULT': ''}
    with (folder / 'goectp.out').open('wb') as out, (folder / 'goectp.err').open('wb') as err:
        return subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=err, timeout=300).returncode


@pytest.mark.slow
def test_a_prediction_on_a_full_disk(disk, model, predict, crystals, tmp_path):
    expected = predict('--batch-atoms', 2, output='expected.npz')
    crystals.save(disk / 'crystals.npz')
    arguments = ['predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu', '--quiet']
    arguments += ['--batch-atoms', 2]
    filling = fill(disk, leave=16_384)  # status and partial file; not the table beside them
    assert run(disk, *arguments) == 73
    found = json.loads((disk / 'out.npz.status.json').read_text())
    assert (found['state'], found['error']['code']) == ('failed', 'cannot_write')
    assert os.strerror(errno.ENOSPC) in found['error']['message']
    assert not list(disk.glob('*.writing'))
    assert not (disk / 'out.npz').exists()
    assert run(disk, *arguments) == 73  # with the space of the first run
    filling.unlink()
    assert run(disk, *arguments) == 0
    assert json.loads((disk / 'out.npz.status.json').read_text())['state'] == 'finished'
    assert (disk / 'out.npz').read_bytes() == (tmp_path / 'expected.npz').read_bytes()
    assert len(expected) == len(crystals)


def test_a_disk_that_is_full_from_the_start_leaves_an_empty_status(disk, model, crystals):
    crystals.save(disk / 'crystals.npz')
    fill(disk)
    assert run(disk, 'predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu') == 73
    assert (disk / 'out.npz.status.json').read_bytes() == b''
    assert (disk / 'goectp.err').read_bytes() == b''


@pytest.mark.slow
def test_a_training_on_a_full_disk(disk, tmp_path, goectp):
    tiny.some_dataset(24).save(tmp_path / 'data.npz')
    shutil.copy(tmp_path / 'data.npz', disk / 'data.npz')
    arguments = ['train', 'data.npz', *SMALL, '--epochs', 3]
    goectp(*arguments, '--output', 'model.safetensors')
    (disk / 'reserve').write_bytes(bytes(400_000))
    filling = fill(disk, leave=8192)
    (disk / 'reserve').unlink()  # space for one state and one status file; not for the next beside them
    assert run(disk, *arguments, '--output', 'model.safetensors') == 73
    found = json.loads((disk / 'model.safetensors.status.json').read_text())
    assert (found['state'], found['error']['code']) == ('failed', 'cannot_write')
    assert not (disk / 'model.safetensors').exists()
    filling.unlink()
    assert run(disk, *arguments, '--output', 'model.safetensors') == 0
    assert (disk / 'model.safetensors').read_bytes() == (tmp_path / 'model.safetensors').read_bytes()


@pytest.mark.slow
def test_a_file_size_limit(model, crystals, tmp_path):
    """Without rights: the kernel refuses to extend files, as it does beyond a quota."""
    command = [*GOECTP, 'predict', 'crystals.npz', '--model', str(model), '--output', 'out.npz', '--device', 'cpu']

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4500, 4500))

    done = subprocess.run(command, cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 73, done.stderr
    assert 'goectp: cannot_write: ' in done.stderr
    assert json.loads((tmp_path / 'out.npz.status.json').read_text())['error']['code'] == 'cannot_write'
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0


def test_a_read_only_file_system(disk, model, crystals, tmp_path):
    subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)
    command = [*GOECTP, 'predict', 'crystals.npz', '--model', str(model), '--output', str(disk / 'out.npz')]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 73
    assert 'out.npz.lock' in done.stderr
    assert os.strerror(errno.EROFS) in done.stderr


def test_an_error_overwrites_the_status_in_place(tmp_path, monkeypatch):
    status = Status(tmp_path / 's.json')
    status.update(rows_done=3)
    size = (tmp_path / 's.json').stat().st_size

    def full(*arguments, **options):
        raise StorageError(tmp_path / 's.json', OSError(errno.EDQUOT, 'Disk quota exceeded'))

    monkeypatch.setattr('aiida_goectp.core.executable.status.replacing', full)
    status.fail('cannot_write', 'x' * 10_000)
    found = json.loads((tmp_path / 's.json').read_text())
    assert (found['state'], found['error']['code'], found['rows_done']) == ('failed', 'cannot_write', 3)
    assert (tmp_path / 's.json').stat().st_size == size

"""Training in several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aiida_goectp.core.formats.names import GROUP_FOLDER
from aiida_goectp.core.learning import parallel, train
from aiida_goectp.core.learning.errors import NoDeviceError
from aiida_goectp.core.learning.settings import TrainSettings
from tests import tiny


def test_more_processes_than_gpus_are_refused_in_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    for name, value in (('LOCAL_RANK', '0'), ('WORLD_SIZE', '8'), ('LOCAL_WORLD_SIZE', '8')):
        monkeypatch.setenv(name, value)
    with pytest.raises(NoDeviceError, match=r'cuda:7 .*4 GPUs'):
        parallel.join_group('cuda:0')


@pytest.mark.parametrize('count', [1, 2, 3, 7, 8, 9])
def test_each_process_has_rows_and_none_is_left_out(monkeypatch, count):
    rows, size = np.arange(10, 10 + count), 4
    monkeypatch.setattr(parallel, '_many', lambda: True)
    monkeypatch.setattr(parallel.distributed, 'get_world_size', lambda: size)
    found = []
    for rank in range(size):
        monkeypatch.setattr(parallel.distributed, 'get_rank', lambda rank=rank: rank)
        found.append(parallel.local_rows(rows).tolist())
    assert min(map(len, found)) >= 2
    assert {row for part in found for row in part} == set(rows.tolist())


def _train(rank: int, folder: str) -> None:
    """Train with a validation error that differs between the processes, and write the number of the last epoch."""
    monkeypatch = pytest.MonkeyPatch()
    own = {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': 2, 'LOCAL_WORLD_SIZE': 2, GROUP_FOLDER: folder}
    for name, value in own.items():
        monkeypatch.setenv(name, str(value))
    tiny.one_thread()
    assert parallel.join_group('cpu') == 'cpu'
    scores = iter([3.0, 1.0, 2.0, 2.0, 2.0] if rank == 0 else [5.0, 4.0, 3.0, 2.0, 1.0])
    epochs = []

    def score(metrics: object) -> float:
        epochs.append(next(scores))
        return epochs[-1]

    monkeypatch.setattr(train, '_score', score)
    settings = TrainSettings(preset='descriptors', options={'width': 4}, epochs=5, batch_size=4, patience=2)
    data = tiny.some_dataset(8)
    train.train_committee(data, data, settings, stop=lambda: False)
    Path(folder, f'epochs{rank}').write_text(str(len(epochs)))
    parallel.leave_group()


@pytest.mark.slow
def test_all_processes_end_with_the_plateau_of_the_first(tmp_path):
    context = torch.multiprocessing.start_processes(
        _train, args=(str(tmp_path),), nprocs=2, join=False, start_method='spawn'
    )
    for process in context.processes:
        process.join(200)  # one would wait for ever for the other
        process.kill()
    assert [(tmp_path / f'epochs{rank}').read_text() for rank in range(2)] == ['4', '4']

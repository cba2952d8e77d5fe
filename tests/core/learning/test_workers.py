"""Background threads and processes: same results as in one process, no leftovers, failures handled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.learning import batches
from aiida_goectp.core.learning.batches import PreparedBatch, prepare_batch, prepared_batches
from aiida_goectp.core.learning.workers import WorkerPool, prefetch
from tests import tiny


@pytest.mark.parametrize('preset', ['goectp', 'published'])
def test_processes_build_the_same_graphs_as_a_thread(monkeypatch, preset):
    monkeypatch.setattr(batches, '_PIECE_ATOMS', 15)  # several pieces a batch, which finish in any order
    crystals, bad, _ = tiny.with_bad_rows()
    one, other = (
        PreparedBatch.concatenate(list(prepared_batches(crystals, preset, lambda: 60, processes=count)))
        for count in (0, 2)
    )
    assert one.rows[one.valid].tolist() == sorted(set(range(len(crystals))) - set(bad.tolist()))
    np.testing.assert_array_equal(other.rows, one.rows)
    assert other.errors == one.errors
    for name in ('numbers', 'source', 'target', 'vectors', 'rotations', 'projectors'):
        np.testing.assert_array_equal(getattr(other.graphs, name), getattr(one.graphs, name))


def test_calls_are_repeated_after_the_death_of_a_worker_process():
    crystals = tiny.some_crystals(30)
    arguments = (prepare_batch, np.arange(30), crystals, 'goectp')
    with WorkerPool(2, batches.__name__) as pool:
        first = pool.submit(*arguments).result()
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
        with pytest.warns(UserWarning, match='worker process'):
            results = [pool.submit(*arguments).result() for _ in range(20)]  # some after the pool has noticed
        assert pool.processes == 0
    for result in results:
        np.testing.assert_array_equal(result.graphs.vectors, first.graphs.vectors)


def test_the_death_of_a_worker_process_leaves_no_other_one_waiting(tmp_path):
    """The other process writes a result that nobody reads any more, and ignores SIGTERM."""
    script = tmp_path / 'parent.py'
    script.write_text(
        textwrap.dedent("""
            import os, time, warnings
            from aiida_goectp.core.learning.workers import WorkerPool

            if __name__ == '__main__':
                warnings.simplefilter('ignore')
                with WorkerPool(2, 'aiida_goectp.core.learning.workers') as pool:
                    for task in [pool.submit(time.sleep, 0.5) for _ in range(2)]:  # both have started
                        task.result()
                    tasks = [pool.submit(bytes, 10**8) for _ in range(2)]
                    pool.submit(os._exit, 1)
                    tasks += [pool.submit(bytes, 10**8) for _ in range(2)]
                    sizes = [len(task.result()) for task in tasks]
                    while pool.processes:  # until the death is noticed
                        time.sleep(0.1)
                        pool.submit(int).result()
                    print(*sizes, pool.processes, flush=True)
        """)
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(['.', *sys.path])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ['100000000'] * 4 + ['0']), done.stderr


def test_no_process_remains_when_the_consumer_stops():
    for _ in prepared_batches(tiny.some_crystals(), 'goectp', lambda: 8, processes=2):
        break  # the generator is closed here, with batches still waiting
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_worker_processes_end_with_a_killed_parent(tmp_path):
    script = tmp_path / 'parent.py'
    script.write_text(
        textwrap.dedent("""
            import multiprocessing, time
            import numpy as np
            from aiida_goectp.core.learning.batches import prepare_batch
            from aiida_goectp.core.learning.workers import WorkerPool
            from tests import tiny

            if __name__ == '__main__':
                with WorkerPool(2, 'aiida_goectp.core.learning.batches') as pool:
                    pool.submit(prepare_batch, np.arange(4), tiny.some_crystals(4), 'goectp').result()
                    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
                    time.sleep(600)
        """)
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(['.', *sys.path])}
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    children = parent.stdout.readline().split()
    assert children
    parent.kill()
    parent.wait()
    limit = time.monotonic() + 60
    while any(Path(f'/proc/{child}').exists() for child in children) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not [child for child in children if Path(f'/proc/{child}').exists()]


def test_prefetch_closes_the_generator_and_its_thread():
    closed = threading.Event()

    def items():
        try:
            yield from range(100)
        finally:
            closed.set()

    before = threading.active_count()
    iterator = prefetch(items(), 2)
    assert [next(iterator), next(iterator)] == [0, 1]
    assert threading.active_count() == before + 1
    iterator.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_prefetch_raises_the_error_of_the_generator():
    def items():
        yield 1
        raise KeyError('injected')

    iterator = prefetch(items(), 2)
    assert next(iterator) == 1
    with pytest.raises(KeyError):
        next(iterator)

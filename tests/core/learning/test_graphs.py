"""Processes that make graphs: the same graphs as in one process, whatever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.learning import batches
from aiida_goectp.core.learning.batches import prepared_batches
from aiida_goectp.core.learning.graphs import GraphMaker, cores
from tests import tiny


def joined(crystals, processes, atoms=60, preset='goectp'):
    """Return all rows with graphs, all errors, and all columns of the graphs."""
    parts = list(prepared_batches(crystals, preset, lambda: atoms, processes=processes))
    good = np.concatenate([part.rows[part.good] for part in parts])
    columns = ('numbers', 'source', 'target', 'vectors', 'rotations', 'projectors')
    return good, [error for part in parts for error in part.errors], [
        np.concatenate([getattr(part.graphs, name) for part in parts]) for name in columns
    ]  # fmt: skip


@pytest.mark.parametrize('preset', ['goectp', 'published'])
def test_processes_make_the_graphs_of_a_thread(monkeypatch, preset):
    monkeypatch.setattr(batches, '_PIECE_ATOMS', 15)  # several pieces a batch, which come back in any order
    crystals, bad, _ = tiny.with_bad_rows()
    good, errors, columns = joined(crystals, 0, preset=preset)
    again = joined(crystals, 2, preset=preset)
    assert set(good.tolist()) == set(range(len(crystals))) - set(bad.tolist())
    np.testing.assert_array_equal(again[0], good)
    assert again[1] == errors
    for column, other in zip(columns, again[2], strict=True):
        np.testing.assert_array_equal(other, column)


def test_a_killed_process_costs_nothing_but_time():
    crystals = tiny.some_crystals(30)
    with GraphMaker('goectp', 2) as maker:
        first = maker.answer(maker.ask(crystals))
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            answers = [maker.answer(maker.ask(crystals)) for _ in range(20)]  # in some of them the pool has noticed
    assert any('made in this process now' in str(item.message) for item in told)
    for answer in answers:
        np.testing.assert_array_equal(answer.graphs.vectors, first.graphs.vectors)


def test_no_process_stays_behind():
    for _ in prepared_batches(tiny.some_crystals(), 'goectp', lambda: 8, processes=2):
        break  # the generator is closed here, with batches still waiting
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
def test_processes_end_with_a_killed_parent(tmp_path):
    script = tmp_path / 'parent.py'
    script.write_text(
        textwrap.dedent("""
            import multiprocessing, time
            from aiida_goectp.core.learning.graphs import GraphMaker
            from tests import tiny

            if __name__ == '__main__':
                with GraphMaker('goectp', 2) as maker:
                    maker.answer(maker.ask(tiny.some_crystals(4)))
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


def test_cores_are_those_of_the_job():
    assert 1 <= cores() <= os.cpu_count()

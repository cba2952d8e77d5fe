"""Faults of AiiDA processes by the command line, in processes of their own: AiiDA has one configuration a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.__main__ import KINDS


def test_each_kind_is_named_once_and_met_often_enough():
    assert len(KINDS) == 26
    assert all(1 <= kind.weight <= 4 for kind in KINDS.values())


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.skipif('GOECTP_SERVICES' not in os.environ, reason='takes minutes; run `make test-services`')
@pytest.mark.timeout(1500)
def test_a_killed_worker_and_an_archive_on_a_full_disk(tmp_path):
    words = ['--count', '2', '--record', str(tmp_path / 'faults.jsonl')]
    for kind in ('worker killed, prediction', 'verdi archive create'):
        command = [sys.executable, '-m', 'tests.faults', '--kinds', kind, *words]
        result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    faults = [json.loads(line) for line in (tmp_path / 'faults.jsonl').read_text().splitlines()]
    assert [fault['kind'] for fault in faults] == ['worker killed, prediction'] * 2 + [
        'disk full, verdi archive create'
    ] * 2

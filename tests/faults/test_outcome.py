"""The counts of the fault suite, and that it sees harm."""

import json
import random

import pytest

from tests.faults.executable import COMMANDS, Bench, count_units, kill
from tests.faults.outcome import Outcome, Tally, equal


def test_harm_is_counted_and_kept(tmp_path):
    tally = Tally(tmp_path / 'faults.jsonl')
    tally.add('kill', 1, Outcome())
    assert tally.harmless
    tally.add('kill', 2, Outcome(twice=2, met=False, remedies=1, note='row 3'))
    assert not tally.harmless
    assert tally.table().splitlines()[2] == '| kill | 2 | 1 | 1 | 0 | 2 | 0 |'
    assert [json.loads(line)['seed'] for line in (tmp_path / 'faults.jsonl').read_text().splitlines()] == [1, 2]


def test_a_record_is_continued(tmp_path):
    Tally(tmp_path / 'faults.jsonl').add('kill', 1, Outcome(lost=1))
    tally = Tally(tmp_path / 'faults.jsonl')
    assert tally.seeds == {('kill', 1)}
    tally.add('kill', 2, Outcome())
    assert not tally.harmless
    assert tally.table().splitlines()[2] == '| kill | 2 | 2 | 0 | 1 | 0 | 0 |'


def test_results_are_equal_but_for_rounding():
    one = {'ranking': [['a'], [1.0, float('nan')]]}
    assert equal(one, {'ranking': [['a'], [1.0 + 1e-7, float('nan')]]})
    for values in ([1.001, float('nan')], [1.0, 2.0], [1.0]):
        assert not equal(one, {'ranking': [['a'], values]})
    assert not equal(one, {'ranking': [['b'], [1.0, float('nan')]]})
    assert not equal(one, {})


@pytest.mark.slow
def test_a_killed_prediction_and_one_with_another_result(tmp_path):
    bench = Bench(tmp_path, ('predict',))
    try:
        outcome = kill(bench, 'predict', random.Random(1))
        assert (outcome.lost, outcome.twice, outcome.wrong) == (0, 0, 0), outcome.note
        bench.expected['predict'] += b'x'
        assert kill(bench, 'predict', random.Random(1)).wrong == 1
        (bench.inputs / 'crystals.npz').unlink()
        assert kill(bench, 'predict', random.Random(1)).lost == 1
    finally:
        bench.close()


def test_a_repeated_epoch_counts_unless_a_kill_explains_it(tmp_path):
    lines = [json.dumps({'member': 0, 'epoch': epoch}) for epoch in (1, 2, 2, 3, 4, 5, 6)]
    (tmp_path / 'out.safetensors.log.jsonl').write_text('\n'.join(lines))
    assert count_units('train', tmp_path, 0) == (0, 1)
    assert count_units('train', tmp_path, 1) == (0, 0)
    (tmp_path / 'out.safetensors.log.jsonl').write_text('\n'.join(lines[:4]))
    assert count_units('train', tmp_path, 1) == (3, 0)
    assert set(COMMANDS) == {'predict', 'train'}

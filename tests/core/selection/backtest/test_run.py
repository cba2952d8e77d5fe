"""All campaigns of a backtest, interrupted and resumed, in one process and in several."""

from __future__ import annotations

import json

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.backtest import BacktestStore, run_backtest

from .toy import LinearModel, toy_pool, toy_settings, toy_store


def run(path, surrogate=None, settings=None, **options):
    settings = settings or toy_settings(acquisitions=('greedy', 'random'))
    return run_backtest(toy_pool(settings), surrogate or LinearModel(), settings, toy_store(path), **options)


def files(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob('*') if file.is_file()}


def test_results_and_progress(tmp_path):
    reported = []
    found = run(tmp_path / 'a', report=reported.append)
    assert [summary.name for summary in found] == ['greedy', 'random']
    assert found[0].found.shape == (2, 5)
    assert found[0].found[:, -1].mean() > found[1].found[:, -1].mean()
    assert [item.record.labels for item in reported if (item.acquisition, item.seed) == ('greedy', 1)] == [
        0,
        8,
        16,
        24,
        32,
    ]
    results = json.loads((tmp_path / 'a' / 'results.json').read_text())
    assert results['pool'] == 90
    assert results['acquisitions'][0]['found'] == found[0].found.tolist()
    assert results['random']['80%'] == pytest.approx(8 * 91 / 11)


def test_interrupted_backtest_is_resumed_after_the_last_round(tmp_path):
    class Killed(Exception):
        pass

    run(tmp_path / 'whole')
    counted = []

    def kill(progress):
        counted.append(progress)
        if len(counted) == 8:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / 'cut', report=kill)
    assert not (tmp_path / 'cut' / 'results.json').exists()
    # an incomplete line, as after a power failure
    with (tmp_path / 'cut' / 'greedy' / 'seed-0.jsonl').open('ab') as stream:
        stream.write(b'{"labels": 40, "fo')
    model = LinearModel()
    run(tmp_path / 'cut', model)
    one, other = files(tmp_path / 'cut'), files(tmp_path / 'whole')
    cut = next(name for name in one if str(name) == 'greedy/seed-0.jsonl')
    assert one.pop(cut).rpartition(b'\n')[0] + b'\n' == other.pop(cut)
    assert one == other
    again = LinearModel()
    run(tmp_path / 'cut', again)
    assert again.trained == 0


def test_acquisition_functions_of_a_seed_share_the_starting_model(tmp_path):
    model = LinearModel()
    run(tmp_path / 'a', model, toy_settings(acquisitions=('greedy', 'random'), policy={'folds': 2, 'every_rounds': 9}))
    assert model.trained == 2


def test_given_starting_model(tmp_path):
    model = LinearModel()
    never = toy_settings(policy={'folds': 2, 'every_rounds': 9})
    found = run(tmp_path / 'a', model, never, model=b'[[0.0, 1.0]]')
    assert model.trained == 0
    assert found[0].found[:, -1].mean() > 5


def test_several_processes_give_the_same_files(tmp_path):
    run(tmp_path / 'one')
    reported = []
    run(tmp_path / 'two', processes=2, report=reported.append)
    assert len(reported) == 2 * 2 * 5
    assert files(tmp_path / 'one') == files(tmp_path / 'two')


def test_errors_in_worker_processes_are_raised(tmp_path):
    with pytest.raises(ValueError, match=r'could not convert|decode|Expecting'):
        run(tmp_path / 'a', processes=2, model=b'nothing')


def test_folder_belongs_to_one_backtest(tmp_path):
    store = BacktestStore(tmp_path / 'a')
    assert not store.claim({'seed': 1, 'data': 'x'})
    assert store.claim({'data': 'x', 'seed': 1})
    with pytest.raises(FormatError, match='another seed'):
        store.claim({'seed': 2, 'data': 'x'})
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'thesis.tex').write_text('')
    with pytest.raises(FormatError, match='b '):
        BacktestStore(tmp_path / 'b').claim({})


def test_invalid_line_is_refused(tmp_path):
    store = toy_store(tmp_path / 'a')
    (tmp_path / 'a' / 'greedy').mkdir()
    (tmp_path / 'a' / 'greedy' / 'seed-0.jsonl').write_text('{"labels": 0, "found": 0, "round": null}\n{}\n')
    with pytest.raises(FormatError, match=r'seed-0.jsonl, line 2'):
        store.records('greedy', 0)

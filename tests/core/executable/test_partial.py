"""Interrupted runs of ``goectp predict``, and the file from which they are resumed."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.executable.partial import PREDICTION, PartialFile, identity
from aiida_goectp.core.formats.model_card import model_hash
from aiida_goectp.core.learning.results import PredictedBatch
from tests import tiny


def test_a_killed_run_is_resumed(predict, start, crystals, model, status, tmp_path):
    arguments = ['--model', model, '--device', 'cpu', '--batch-atoms', 16]
    process = start('predict', 'crystals.npz', *arguments, '--output', 'out.npz', fault='kill_after=10')
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert status()['state'] == 'running'
    assert 10 <= status()['rows_done'] < len(crystals)
    assert not (tmp_path / 'out.npz').exists()
    resumed = predict('--batch-atoms', 16)
    assert status()['state'] == 'finished'
    assert status()['rows_done'] == len(crystals)
    assert not (tmp_path / 'out.npz.partial').exists()
    tiny.same(resumed, predict('--batch-atoms', 16, output='uninterrupted.npz'), tolerance=1e-7)


def test_a_signal_interrupts_a_run_cleanly(predict, start, crystals, model, status, tmp_path):
    arguments = ['--model', model, '--device', 'cpu', '--batch-atoms', 8, '--output', 'out.npz']
    process = start('predict', 'crystals.npz', *arguments, fault='slow=0.3')
    until = time.monotonic() + 120
    while not (tmp_path / 'out.npz.status.json').exists() or not status()['rows_done']:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    fields = status()
    assert fields['state'] == 'interrupted'
    assert fields['error']['code'] == 'interrupted'
    assert 0 < fields['rows_done'] < len(crystals)
    tiny.same(predict('--batch-atoms', 8), predict(output='uninterrupted.npz'))


def test_every_run_completes_a_batch_within_any_time_limit(predict, crystals, status):
    done = [0]
    for _ in range(len(crystals)):
        if predict('--batch-atoms', 16, '--time-limit', 0, status=None) is not None:
            break
        assert status()['state'] == 'interrupted'
        done.append(status()['rows_done'])
    assert len(done) > 2
    assert done == sorted(set(done))
    tiny.same(predict(output='uninterrupted.npz'), predict())


@pytest.fixture
def half_done(crystals, model, tmp_path):
    """A partial file whose first ten rows have values that no network returns."""
    partial = PartialFile(
        tmp_path / 'out.npz.partial', PREDICTION, identity(crystals, model_hash(model), 'float32', False)
    )
    for rows in (np.arange(4), np.arange(4, 10)):
        partial.append(
            PredictedBatch(
                rows,
                np.full((len(rows), 6, 3, 3), 7.0),
                np.zeros(len(rows), np.uint32),
                [''] * len(rows),
                np.full((len(rows), 3, 5), 0.5),
                np.full(len(rows), 0.75),
                crystals.hashes[rows],
            )
        )
    partial.close()
    return tmp_path / 'out.npz.partial'


def test_finished_rows_are_not_computed_again(predict, half_done, tmp_path):
    table = predict()
    assert (table.total[:10] == 7).all()
    assert (table.average_std[:10] == 0.5).all()
    assert (table.stability[:10] == 0.75).all()
    tiny.same(table.take(slice(10, None)), predict(output='uninterrupted.npz').take(slice(10, None)))
    assert not half_done.exists()


def test_no_resume_computes_all_rows(predict, half_done):
    assert not (predict('--no-resume').total == 7).any()


@pytest.mark.parametrize('damage', [lambda b: b[:-20], lambda b: b[:-20] + b'x' * 20, lambda b: b + b'900 17\nabc'])
def test_an_incomplete_record_is_cut_off(predict, half_done, damage, tmp_path):
    half_done.write_bytes(damage(half_done.read_bytes()))
    table = predict()
    kept = int((table.total[:, 0, 0] == 7).sum())
    assert kept in (4, 10)
    tiny.same(table.take(slice(kept, None)), predict(output='uninterrupted.npz').take(slice(kept, None)))


def damage_first_record(path):
    """Change a byte of the first record, in a file of several."""
    content = bytearray(path.read_bytes())
    content[content.index(b'\n') + 1000] ^= 1
    path.write_bytes(content)


def test_records_after_a_damaged_one_are_kept(goectp, half_done, model, predict, tmp_path):
    damage_first_record(half_done)
    result = goectp('predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu')
    assert '4 rows' in result.output
    table = Predictions.load(tmp_path / 'out.npz')
    assert (table.total[4:10] == 7).all()
    rest = np.flatnonzero(~np.isin(np.arange(len(table)), np.arange(4, 10)))
    tiny.same(table.take(rest), predict(output='uninterrupted.npz').take(rest))


def test_phonons_of_a_damaged_record_are_predicted_again(predict, start, crystals, tmp_path):
    options = ['--model', tiny.write_model(tmp_path / 'lattice.safetensors', preset='force_constants'), '--phonons']
    arguments = ['predict', 'crystals.npz', *options, '--device', 'cpu', '--batch-atoms', 16, '--output', 'out.npz']
    start(*arguments, fault='kill_after=10').communicate(timeout=120)
    damage_first_record(tmp_path / 'out.npz.partial')
    table, plain = predict(*options), predict(*options, output='uninterrupted.npz')
    tiny.same(table, plain)
    assert (table.hashes == plain.hashes).all()
    assert table.phonons.atom_counts.tolist() == plain.phonons.atom_counts.tolist()


def test_a_record_without_a_valid_length_ends_the_results(goectp, half_done, model, tmp_path):
    header, _, records = half_done.read_bytes().partition(b'\n')
    half_done.write_bytes(header + b'\nx' + records)
    result = goectp('predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu')
    assert f'last {len(records) + 1} bytes' in result.output
    table = Predictions.load(tmp_path / 'out.npz')
    assert not table.failed.any()
    assert not (table.total == 7).any()


@pytest.mark.parametrize('other', ['crystals', 'model', 'garbage'])
def test_the_partial_file_of_another_run_is_moved_aside(goectp, predict, half_done, model, tmp_path, other):
    before = half_done.read_bytes()
    chosen = model
    if other == 'crystals':
        tiny.some_crystals(24, seed=1).save(tmp_path / 'crystals.npz')
    elif other == 'model':
        chosen = tiny.write_model(tmp_path / 'other.safetensors', seed=1)
    else:
        half_done.write_bytes(before := b'\x00\xff no header')
    result = goectp('predict', 'crystals.npz', '--model', chosen, '--output', 'out.npz', '--device', 'cpu')
    assert 'out.npz.partial.old' in result.output
    assert ('differs in' in result.output, f'{other};' in result.output) == (other != 'garbage',) * 2
    assert (tmp_path / 'out.npz.partial.old').read_bytes() == before
    assert not (Predictions.load(tmp_path / 'out.npz').total == 7).any()


def test_a_run_is_resumed_after_a_run_of_another_model(goectp, start, predict, half_done, tmp_path):
    """Each partial file is kept under a name of its own, and that of this run is found again."""
    other = tiny.write_model(tmp_path / 'other.safetensors', seed=1)
    arguments = ['predict', 'crystals.npz', '--model', other, '--output', 'out.npz', '--device', 'cpu']
    process = start(*arguments, '--batch-atoms', '16', fault='kill_after=4')
    process.communicate(timeout=120)
    of_the_other = half_done.read_bytes()
    table = predict()
    assert (table.total[:10] == 7).all()
    assert not half_done.exists()
    assert not (tmp_path / 'out.npz.partial.old').exists()
    assert (tmp_path / 'out.npz.partial.old2').read_bytes() == of_the_other
    again = goectp(*arguments)
    assert 'out.npz.partial.old2' in again.output
    assert not list(tmp_path.glob('*.old*'))


@pytest.mark.parametrize('phonons', [False, True])
def test_rows_without_enough_memory_are_predicted_again(predict, crystals, tmp_path, model, phonons):
    options, network = [], model
    if phonons:
        network = tiny.write_model(tmp_path / 'lattice.safetensors', preset='force_constants')
        options = ['--model', network, '--phonons']
    plain = predict(*options, output='uninterrupted.npz')
    path, rows = tmp_path / 'out.npz.partial', np.arange(10)
    partial = PartialFile(path, PREDICTION, identity(crystals, model_hash(network), 'float32', phonons))
    failed = np.isin(rows, [0, 3, 9])
    partial.append(
        PredictedBatch(
            rows,
            np.where(failed[:, None, None, None], np.nan, np.full((10, 6, 3, 3), 7.0)),
            np.zeros(10, np.uint32),
            ['out of memory: 112 atoms' if row else '' for row in failed],
            np.full((10, 3, 5), 0.5),
            np.full(10, 0.75),
            crystals.hashes[rows],
            plain.phonons.take(np.where(failed, 10, rows)) if phonons else None,
        )
    )
    partial.close()
    table = predict(*options)
    assert not table.failed.any()
    assert (table.total[:10][~failed] == 7).all()
    tiny.same(table.take(np.flatnonzero(failed)), plain.take(np.flatnonzero(failed)))
    if phonons:
        assert [table.phonon_cell(row) is not None for row in range(10)] == [True] * 10


def test_a_partial_file_of_an_older_format_is_named_and_moved_aside(goectp, half_done, model, tmp_path):
    header, _, records = half_done.read_bytes().partition(b'\n')
    half_done.write_bytes(before := header.replace(b'"version": 4', b'"version": 3') + b'\n' + records)
    assert b'"version": 3' in before
    result = goectp('predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu')
    assert 'version 3' in result.output
    assert (tmp_path / 'out.npz.partial.old').read_bytes() == before
    assert not (Predictions.load(tmp_path / 'out.npz').total == 7).any()


@pytest.mark.parametrize('name', ['sources', 'moyopy', 'torch', 'software'])
def test_rows_of_other_software_are_not_taken_over(goectp, half_done, model, tmp_path, name):
    line, _, records = half_done.read_bytes().partition(b'\n')
    header = json.loads(line)
    if name == 'software':  # as files of earlier versions
        del header[name]
    else:
        header['software'][name] = 'earlier'
    half_done.write_bytes(before := json.dumps(header).encode() + b'\n' + records)
    result = goectp('predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu')
    assert (f'{name} earlier' if name != 'software' else 'sources None') in result.output
    assert (tmp_path / 'out.npz.partial.old').read_bytes() == before
    assert not (Predictions.load(tmp_path / 'out.npz').total == 7).any()


def test_errors_and_hashes_are_resumed(crystals, tmp_path):
    path, header = tmp_path / 'out.npz.partial', identity(crystals, 'model', 'float32', False)
    numbers = np.random.default_rng(0).normal(size=(4, 6, 3, 3))
    errors = ['', 'no Größe: "é"', '', 'x' * 500]
    partial = PartialFile(path, PREDICTION, header)
    partial.append(
        PredictedBatch(
            np.arange(4),
            numbers,
            np.arange(4, dtype=np.uint32),
            errors,
            numbers[:, :3, :, :1].repeat(5, axis=3)[:, :, 0],
            numbers[:, 0, 0, 0],
            crystals.hashes[:4],
        )
    )
    partial.flush()
    partial.close()
    (batch,) = PartialFile(path, PREDICTION, header).batches
    assert batch.errors == errors
    assert (batch.tensors == numbers).all()
    assert batch.flags.tolist() == [0, 1, 2, 3]
    assert (batch.hashes == crystals.hashes[:4]).all()
    assert (batch.stability == numbers[:, 0, 0, 0]).all()

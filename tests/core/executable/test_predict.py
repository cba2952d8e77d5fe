"""``goectp predict``: order of rows, failed rows, lack of memory, lost devices."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from tests import tiny


def test_order_and_values_do_not_depend_on_the_batch_size(predict, crystals, tmp_path):
    auto = predict()
    assert auto.ids.tolist() == crystals.ids.tolist()
    assert auto.hashes.tolist() == crystals.hashes.tolist()
    assert not auto.failed.any()
    assert (
        len(np.unique(np.round(auto.total[:, 0, 0], 6))) > len(auto) * 0.9
    )  # rows differ, so that an exchange is noticed
    tiny.same(predict('--batch-atoms', 16), auto)
    tiny.same(predict('--batch-atoms', 1), auto)
    crystals.take(np.arange(len(crystals))[::-1]).save(tmp_path / 'reversed.npz')
    tiny.same(predict('--batch-atoms', 40, source='reversed.npz').take(slice(None, None, -1)), auto)


def test_the_status_file_of_a_finished_run(predict, crystals, status, model):
    table = predict()
    fields = status()
    assert fields.pop('crystals_per_second') > 0
    assert fields.pop('batch_atoms') > 100
    assert fields == {
        'version': 1,
        'state': 'finished',
        'rows_done': len(crystals),
        'rows_total': len(crystals),
        'rows_failed': 0,
        'device': 'cpu',
        'error': None,
        'run': None,
    }
    assert table.settings['device'] == 'cpu'
    assert table.settings['preset'] == 'goectp'
    assert len(table.model_hash) == 40


@pytest.mark.parametrize('batch', ['auto', 8])
def test_invalid_rows_fail_with_their_reason_and_do_not_change_others(predict, status, tmp_path, batch):
    crystals, bad, codes = tiny.with_bad_rows()
    crystals.save(tmp_path / 'mixed.npz')
    table = predict('--batch-atoms', batch, source='mixed.npz')
    assert np.flatnonzero(table.failed).tolist() == bad.tolist()
    assert [str(error).partition(':')[0] for error in table.errors[bad]] == codes
    assert np.isnan(table.total[bad]).all()
    assert status()['rows_failed'] == len(bad)
    good = np.flatnonzero(~table.failed)
    crystals.take(good).save(tmp_path / 'good.npz')
    tiny.same(table.take(good), predict(source='good.npz'))


def test_invalid_rows_only(predict, tmp_path):
    CrystalSet.from_crystals(tiny.bad_crystals().values()).save(tmp_path / 'bad.npz')
    assert predict(source='bad.npz').failed.all()


def test_unseen_elements_are_flagged(predict, tmp_path):
    rows = list(tiny.some_crystals(2))
    rows[1] = rows[1]._replace(atomic_numbers=np.full_like(rows[1].atomic_numbers, 92))
    CrystalSet.from_crystals(rows).save(tmp_path / 'uranium.npz')
    assert predict(source='uranium.npz').flags.tolist() == [0, 1]


def test_lack_of_memory_makes_batches_smaller(predict, crystals, status):
    whole = predict(output='whole.npz')
    tiny.same(predict(fault='oom_above=70'), whole)
    assert status()['batch_atoms'] < 160
    assert status()['error'] is None


def test_a_crystal_too_large_for_the_memory_fails_alone(predict, tmp_path):
    rows = list(tiny.some_crystals(8))
    rows.insert(3, tiny.big_crystal())
    CrystalSet.from_crystals(rows).save(tmp_path / 'big.npz')
    table = predict(source='big.npz', fault='oom_above=80')
    assert np.flatnonzero(table.failed).tolist() == [3]
    assert table.errors[3].startswith('out of memory')
    assert not predict(source='big.npz').failed.any()


def test_a_device_without_memory_for_the_smallest_batch(predict, crystals, status):
    assert predict(status=4, fault='oom_above=1') is None
    assert status()['state'] == 'failed'
    assert status()['error']['code'] == 'out_of_memory'


@pytest.mark.parametrize('device', ['cuda', 'cuda:0', 'cuda:7'])
def test_a_gpu_that_does_not_exist(goectp, crystals, model, status, device):
    arguments = ['--model', model, '--output', 'out.npz', '--device', device]
    goectp('predict', 'crystals.npz', *arguments, status=3, fault='no_device')
    assert status()['error']['code'] == 'no_device'


def test_a_gpu_that_fails(predict, crystals, status):
    predict(status=3, fault='gpu_lost')
    assert status()['error']['code'] == 'no_device'

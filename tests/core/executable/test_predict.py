"""``goectp predict``: every row in its place, whatever is asked, breaks or runs out."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from tests import tiny


def test_rows_keep_their_order_and_numbers_whatever_the_batch(predict, crystals, tmp_path):
    auto = predict()
    assert auto.ids.tolist() == crystals.ids.tolist()
    assert auto.hashes.tolist() == crystals.hashes.tolist()
    assert not auto.failed.any()
    assert len(np.unique(np.round(auto.total[:, 0, 0], 6))) > len(auto) * 0.9  # rows differ, so an exchange would show
    tiny.same(predict('--batch-atoms', 16), auto)
    tiny.same(predict('--batch-atoms', 1), auto)
    crystals.take(np.arange(len(crystals))[::-1]).save(tmp_path / 'turned.npz')
    tiny.same(predict('--batch-atoms', 40, source='turned.npz').take(slice(None, None, -1)), auto)


def test_the_status_file_says_everything(predict, crystals, status, model):
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
    }
    assert table.settings['device'] == 'cpu'
    assert table.settings['preset'] == 'goectp'
    assert len(table.model_hash) == 40


@pytest.mark.parametrize('batch', ['auto', 8])
def test_bad_rows_are_kept_with_their_reason_and_harm_no_other(predict, status, tmp_path, batch):
    crystals, bad, codes = tiny.with_bad_rows()
    crystals.save(tmp_path / 'mixed.npz')
    table = predict('--batch-atoms', batch, source='mixed.npz')
    assert np.flatnonzero(table.failed).tolist() == bad.tolist()
    assert [str(text).partition(':')[0] for text in table.errors[bad]] == codes
    assert np.isnan(table.total[bad]).all()
    assert status()['rows_failed'] == len(bad)
    good = np.flatnonzero(~table.failed)
    crystals.take(good).save(tmp_path / 'good.npz')
    tiny.same(table.take(good), predict(source='good.npz'))


def test_nothing_but_bad_rows(predict, tmp_path):
    CrystalSet.from_crystals(tiny.bad_crystals().values()).save(tmp_path / 'bad.npz')
    assert predict(source='bad.npz').failed.all()


def test_unseen_elements_are_flagged(predict, tmp_path):
    rows = list(tiny.some_crystals(2))
    rows[1] = rows[1]._replace(atomic_numbers=np.full_like(rows[1].atomic_numbers, 92))
    CrystalSet.from_crystals(rows).save(tmp_path / 'uranium.npz')
    assert predict(source='uranium.npz').flags.tolist() == [0, 1]


def test_memory_that_runs_out_makes_batches_smaller(predict, crystals, status):
    whole = predict()
    tiny.same(predict(fault='oom_above=70'), whole)
    assert status()['batch_atoms'] < 160
    assert status()['error'] is None


def test_a_crystal_too_large_for_the_memory_fails_alone(predict, tmp_path):
    rows = list(tiny.some_crystals(8))
    rows.insert(3, tiny.big_crystal())
    CrystalSet.from_crystals(rows).save(tmp_path / 'big.npz')
    table = predict(source='big.npz', fault='oom_above=80')
    assert np.flatnonzero(table.failed).tolist() == [3]
    assert 'out of memory: its 90 atoms do not fit on cpu' in table.errors[3]
    assert not predict(source='big.npz').failed.any()


def test_a_device_without_room_for_anything(predict, crystals, status):
    assert predict(status=4, fault='oom_above=1') is None
    assert status()['state'] == 'failed'
    assert status()['error']['code'] == 'out_of_memory'
    assert 'use another device' in status()['error']['message']


@pytest.mark.parametrize('device', ['cuda', 'cuda:0', 'cuda:7'])
def test_a_gpu_that_is_not_there(goectp, crystals, model, status, device):
    arguments = ['--model', model, '--output', 'out.npz', '--device', device]
    result = goectp('predict', 'crystals.npz', *arguments, status=3, fault='no_device')
    assert f'no_device: device {device} is not there' in result.output
    assert status()['error']['code'] == 'no_device'


def test_a_gpu_lost_on_the_way(predict, crystals, status):
    predict(status=3, fault='gpu_lost')
    assert status()['error']['code'] == 'no_device'

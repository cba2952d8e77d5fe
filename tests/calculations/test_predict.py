"""``goectp.predict`` with the real executable; failures are tested with ``PredictWorkChain``."""

import io
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from aiida_goectp import __version__
from aiida_goectp.calculations.predict import PredictCalculation, without_properties
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.data.crystals import CrystalsData
from tests import tiny


@pytest.fixture
def run(code, model):
    """Return a function that runs a job."""

    def run(crystals, **inputs):
        builder = PredictCalculation.get_builder()
        builder.code, builder.crystals, builder.model = code, crystals, inputs.pop('model', model)
        builder.device = inputs.pop('device', 'cpu')
        for name, value in inputs.items():
            builder[name] = value
        return run_get_node(builder)

    return run


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ({'device': 'gpu'}, "'gpu'"),
        ({'batch_atoms': 0}, '0'),
        ({'max_failed_fraction': 1.5}, '1.5'),
        ({'shard': {'start': 4, 'stop': 4}}, '4 to 4'),
        ({'shard': {'stop': 7}}, '0 to 7'),
    ],
)
def test_invalid_inputs_are_refused(run, crystals, inputs, message):
    with pytest.raises(ValueError, match=message):
        run(crystals, **inputs)


def test_empty_crystal_set_is_refused(run, crystal_set):
    with pytest.raises(ValueError, match='crystals: '):
        run(CrystalsData(crystal_set.take([])))


def test_job_and_calcfunction_give_equal_numbers(run, crystals, model, monkeypatch):
    from aiida_goectp.calculations.inprocess import predict_crystals

    with enable_caching():
        results, node = run(crystals)
        assert node.is_finished_ok, node.exit_message
        again = run(CrystalsData(crystals.crystals))[1]
        monkeypatch.setattr('aiida_goectp.calculations.base.ExecutableCalculation.CACHE_VERSION', '99.0')
        upgraded = run(crystals)[1]
    here = predict_crystals(crystals, model, orm.Str('cpu')).predictions
    there = results['predictions'].predictions
    for name in ('electronic', 'ionic', 'total'):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-6, atol=1e-7)
    assert list(there.ids) == list(crystals.crystals.ids)
    assert there.model_hash == model.content_hash
    assert results['status']['state'] == 'finished'
    assert results['status']['rows_done'] == 6
    # equal content in another node is taken from the cache
    assert again.base.caching.get_cache_source() == node.uuid
    # but not what another version of this package has computed
    assert node.base.attributes.get('cache_version') == {'calc_job': __version__}
    assert upgraded.is_finished_ok
    assert not upgraded.base.caching.is_created_from_cache
    # neither crystals nor model are stored a second time with the job
    assert not {'crystals.npz', 'model.safetensors'} & set(node.base.repository.list_object_names())
    assert 'predictions.npz' in results['retrieved'].base.repository.list_object_names()


def test_kept_preparation_is_read_by_another_job(run, crystals, tmp_path):
    from aiida_goectp.data.model import ModelData

    first, node = run(crystals, keep_prepared=True)
    assert node.is_finished_ok, node.exit_message
    kept = Path(first['remote_folder'].get_remote_path(), 'prepared.npz')
    assert 'prepared.npz' not in first['retrieved'].base.repository.list_object_names()
    other = ModelData.get_or_create(tiny.write_model(tmp_path / 'other.safetensors', seed=1))
    plain, results = run(crystals, model=other)[0], []
    for prepared in (first['remote_folder'], first['remote_folder']):
        before = kept.stat().st_ino if kept.exists() else None
        results.append(run(crystals, model=other, prepared=prepared))
        own = Path(results[-1][0]['remote_folder'].get_remote_path(), 'prepared.npz')
        assert own.is_file()
        assert own.is_symlink() == (before is not None)
        kept.unlink(missing_ok=True)  # the second job prepares the crystals itself
    for outputs, job in results:
        assert job.is_finished_ok, job.exit_message
        assert outputs['predictions'].predictions.content_hash == plain['predictions'].predictions.content_hash


def test_shard_with_a_failed_row(run, crystal_set):
    close = Crystal('close', np.eye(3) * 4, np.array([14, 14], np.int16), np.array([[0, 0, 0], [0.01, 0, 0.0]]))
    mixed = CrystalsData(CrystalSet.from_crystals([crystal_set[0], close, crystal_set[1], crystal_set[2]]))
    results, node = run(mixed, shard={'start': 1, 'stop': 3}, max_failed_fraction=0.2)
    assert node.exit_status == 410
    predictions = results['predictions'].predictions
    assert list(predictions.ids) == ['close', 'MgO']
    assert list(predictions.failed) == [True, False]
    assert 'Å' in predictions.errors[0]
    assert 'crystals.npz' not in node.base.repository.list_object_names()


def test_model_that_the_executable_refuses(run, crystals, write_model, aiida_localhost):
    from aiida_goectp.data.model import ModelData

    other = ModelData.get_or_create(write_model('no-network'))
    _, node = run(crystals, model=other)
    assert node.exit_status == 211


def test_missing_executable(crystals, write_model, aiida_code_installed):
    from aiida_goectp.data.model import ModelData

    builder = PredictCalculation.get_builder()
    builder.code = aiida_code_installed(label='none', filepath_executable='/no/such/goectp')
    builder.crystals, builder.model = crystals, ModelData.get_or_create(write_model())
    _, node = run_get_node(builder)
    assert node.exit_status == 310
    assert 'No such file' in node.exit_message


def test_shards_have_no_property_columns(crystal_set):
    part = without_properties(crystal_set.take(range(2, 5)))
    stream = io.BytesIO()
    part.save(stream)
    stream.seek(0)
    part = CrystalSet.load(stream)
    assert list(part.hashes) == list(crystal_set.hashes[2:5])
    assert part.properties == {}

"""Datasets of finished calculations."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from aiida_goectp.core.datasets.calculations import import_calculations
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.errors import FormatError
from tests.rows import DATA

FINISHED = DATA / 'finished'


@pytest.fixture(scope='module')
def imported():
    return import_calculations([FINISHED])


def test_one_row_for_each_calculation(imported, tmp_path):
    data, report = imported
    assert data.crystals.ids.tolist() == ['ibrav0', 'ibrav2', 'sno2']
    assert data.functional.tolist() == ['PBEsol'] * 3
    assert data.trainable.all()
    assert np.isfinite(data.ionic).all(axis=(1, 2)).tolist() == [True, True, False]
    assert data.has_force_constants.tolist() == [True, True, False]
    assert np.isfinite(data.born_charges).all()
    assert data.crystals.properties['band_gap'][0] == pytest.approx(7.3365, abs=1e-3)
    data.save(tmp_path / 'dataset.npz')
    assert Dataset.load(tmp_path / 'dataset.npz').content_hash == data.content_hash
    assert data.origin[2].startswith(f'{FINISHED}/sno2/vasprun.xml.gz sha256:')
    first, *_ = report['imported']
    assert (first['label'], first['functional'], first['program']) == ('accepted', 'PBEsol', 'quantumespresso')
    assert len(first['files']) == 4


def test_equal_crystals_are_named_and_joined_on_request(imported):
    data, report = imported
    assert [(item['kept'], item['other']) for item in report['duplicates']] == [('ibrav0', 'ibrav2')]
    joined, after = import_calculations([FINISHED], join=True)
    assert joined.crystals.ids.tolist() == ['ibrav0', 'sno2']
    assert (after['rows'], report['rows'], after['calculations']) == (2, 3, 3)
    assert after['duplicates'] == report['duplicates']
    assert len(data) == 3


def test_thresholds_and_functional(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    shutil.copy(FINISHED / 'sno2/vasprun.xml.gz', folder)
    data, report = import_calculations([folder], functional='PBE', thresholds={'insulating': 3.0})
    assert data.failed_gates.tolist() == ['insulating']
    assert report['imported'][0]['label'] == 'refused'
    assert data.functional.tolist() == ['PBEsol']  # stated by the files
    assert (report['rows'], report['trainable']) == (1, 0)
    for arguments in ({'functional': 'PBEsoul'}, {'thresholds': {'insulated': 1}}):
        with pytest.raises(ValueError, match='did you mean'):
            import_calculations([folder], **arguments)


def test_functional_without_a_name_is_imported_only_with_one_given_for_it(tmp_path):
    folder, plain = tmp_path / 'vdw', tmp_path / 'plain'
    for path in (folder, plain):
        path.mkdir()
        shutil.copy(FINISHED / 'sno2/vasprun.xml.gz', path)
    (folder / 'INCAR').write_text('LUSE_VDW = T\n')
    data, report = import_calculations([tmp_path], functional='PBE')
    assert data.functional.tolist() == ['PBEsol']
    assert [(item.id, item.code) for item in data.crystals.failures] == [('vdw', 'unnamed_functional')]
    assert report['refusals'] == {'unnamed_functional': 1}
    assert 'luse_vdw' in report['refused'][0]['message']
    data, report = import_calculations([tmp_path], unnamed_functional='optB88-vdW')
    assert data.functional.tolist() == ['PBEsol', 'optB88-vdW']
    assert [item['stated'] for item in report['imported']] == ['PBEsol', 'unnamed (luse_vdw)']
    with pytest.raises(FormatError, match='did you mean'):
        import_calculations([tmp_path], unnamed_functional='optB8-vdW')


def test_refusals_are_failures_of_the_crystals(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/OUTCAR').write_text('nothing')
    seen = []
    data, report = import_calculations([tmp_path], progress=lambda *numbers: seen.append(numbers))
    assert (len(data), seen) == (0, [(1, 1)])
    assert [(item.id, item.code) for item in data.crystals.failures] == [('a', 'unfinished')]
    assert report['refusals'] == {'unfinished': 1}
    assert report['refused'][0]['folder'] == str(tmp_path / 'a')
    with pytest.raises(FormatError):
        import_calculations([tmp_path / 'a' / 'b'])


@pytest.mark.slow
def test_phonopy_set_with_the_functional_given(tmp_path):
    pytest.importorskip('phonopy')
    from tests.core.dfpt.phonopy_sets import phonopy_set

    phonopy_set(tmp_path)
    data, report = import_calculations([tmp_path], functional='PBEsol')
    assert data.functional.tolist() == ['PBEsol']
    assert data.trainable.all()
    assert np.isnan(data.crystals.properties.get('band_gap', np.array([np.nan]))).all()
    assert report['imported'][0]['label'] == 'accepted'

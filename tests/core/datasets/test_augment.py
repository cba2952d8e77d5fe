"""Copies of layered crystals with more vacuum, labelled by electrostatics."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.layers import find_layers, vacuum_averaged
from aiida_goectp.core.datasets.augment import with_layer_copies
from aiida_goectp.core.datasets.dataset import Dataset
from tests.core.crystals.test_layers import mos2, rocksalt


def rows(ionic):
    electronic = np.array([np.eye(3) * 3.0, np.diag([15.0, 15.0, 6.4])])
    functional = np.array(['PBEsol', 'PBE'])
    return Dataset(CrystalSet.from_crystals([rocksalt(), mos2()]), electronic, ionic, functional=functional)


def test_layered_crystals_alone_are_copied():
    data = rows(np.array([np.eye(3) * 6.0, np.diag([0.2, 0.2, 0.05])]))
    found = with_layer_copies(data, 3, seed=0)
    assert len(found) == 5
    assert found.crystals.hashes[:2].tolist() == data.crystals.hashes.tolist()
    assert found.functional.tolist() == ['PBEsol', 'PBE', 'PBE', 'PBE', 'PBE']
    layers = find_layers(mos2())
    for row in range(2, 5):
        wider = find_layers(found.crystals[row])
        share = wider.gaps.sum() / layers.gaps.sum() - 1
        assert 0.1 <= share <= 1.5
        np.testing.assert_allclose(found.electronic[row], vacuum_averaged(data.electronic[1], layers, share), rtol=1e-6)
        np.testing.assert_allclose(found.total[row], vacuum_averaged(data.total[1], layers, share), rtol=1e-6)
    again = with_layer_copies(data, 3, seed=0)
    assert again.crystals.hashes.tolist() == found.crystals.hashes.tolist()


def test_a_missing_label_stays_missing():
    data = rows(np.full((2, 3, 3), np.nan))
    found = with_layer_copies(data, 1, seed=0)
    assert np.isnan(found.ionic).all()
    assert np.isfinite(found.electronic).all()
    assert len(with_layer_copies(data, 0, seed=0)) == 2


def test_ids_of_many_copies_are_unique():
    data = rows(np.full((2, 3, 3), np.nan))
    assert len(set(with_layer_copies(data, 300, seed=0).crystals.ids.tolist())) == 302

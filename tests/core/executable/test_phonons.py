"""``goectp predict --phonons``: modes of each crystal, symmetric, resumable, and equal for any cell."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.equivalent import make_supercell, random_orthogonal, rotate
from aiida_goectp.core.crystals.layers import find_layers, with_vacuum_scaled
from aiida_goectp.core.dielectric.predictions import Predictions
from tests import tiny
from tests.core.crystals.builders import mos2, rocksalt


@pytest.fixture(scope='module')
def force_constants(tmp_path_factory):
    tiny.one_thread()
    path = tmp_path_factory.mktemp('models') / 'phonons.safetensors'
    return tiny.write_model(path, preset='force_constants', members=2)


@pytest.fixture
def run(goectp, force_constants, tmp_path):
    def run(*arguments, source='crystals.npz', output='out.npz', **expected):
        goectp(
            'predict', source, '--model', force_constants, '--output', output, '--device', 'cpu', '--phonons',
            *arguments, **expected,
        )  # fmt: skip
        return Predictions.load(tmp_path / output) if (tmp_path / output).exists() else None

    return run


def test_modes_of_each_crystal(run, crystals, goectp, force_constants, tmp_path):
    table = run()
    assert len(table.phonons) == len(crystals)
    for row, crystal in enumerate(crystals):
        cell = table.phonon_cell(row)
        charges = table.phonons.charges_as_given(row)
        assert charges.shape == (len(crystal.atomic_numbers), 3, 3)
        np.testing.assert_allclose(charges.sum(axis=0), 0, atol=1e-5 * len(charges))
        n = len(cell.atomic_numbers)
        blocks = cell.force_constants.reshape(n, 3, n, 3)
        scale = max(1.0, np.abs(blocks).max())
        np.testing.assert_allclose(blocks.sum(axis=2), 0, atol=1e-5 * n * scale)
        np.testing.assert_allclose(cell.force_constants, cell.force_constants.T, atol=1e-6 * scale)
        modes = table.phonons.row_modes(row)
        assert modes.stop - modes.start == 3 * n - 3
        frequencies = table.phonons.frequencies[modes]
        np.testing.assert_allclose(frequencies, cell.modes().frequencies, atol=1e-3)
        assert table.unstable[row] == bool(len(frequencies) and frequencies[0] < 0)
    assert 0 < table.unstable.sum() < len(crystals)
    goectp('predict', 'crystals.npz', '--model', force_constants, '--output', 'plain.npz')
    plain = Predictions.load(tmp_path / 'plain.npz')
    assert plain.phonons is None
    tiny.same(plain, table, tolerance=0)


@pytest.mark.slow
def test_a_killed_run_is_resumed(run, start, force_constants, crystals):
    whole = run('--batch-atoms', 16)
    process = start(
        'predict', 'crystals.npz', '--model', force_constants, '--output', 'other.npz', '--device', 'cpu',
        '--phonons', '--batch-atoms', 16, fault='kill_after=10',
    )  # fmt: skip
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    resumed = run('--batch-atoms', 16, output='other.npz')
    assert len(resumed.phonons) == len(crystals)
    for name in ('atom_counts', 'primitive_atom'):
        np.testing.assert_array_equal(getattr(resumed.phonons, name), getattr(whole.phonons, name))
    for name in ('force_constants', 'born_charges', 'lattices'):
        np.testing.assert_allclose(getattr(resumed.phonons, name), getattr(whole.phonons, name), atol=1e-5)


def test_rotated_supercells_have_the_same_modes(run, crystals, tmp_path):
    rng = np.random.default_rng(0)
    rotation = random_orthogonal(rng)
    CrystalSet.from_crystals(rotate(make_supercell(crystal, rng), rotation) for crystal in crystals).save(
        tmp_path / 'other.npz'
    )
    table, other = run(), run(source='other.npz', output='rotated.npz')
    assert table.phonons.atom_counts.tolist() == other.phonons.atom_counts.tolist()
    scale = np.abs(table.phonons.frequencies).max()
    # an eigenvalue near zero has a frequency with the square root of its error
    np.testing.assert_allclose(
        np.sign(other.phonons.frequencies) * other.phonons.frequencies**2,
        np.sign(table.phonons.frequencies) * table.phonons.frequencies**2,
        atol=1e-4 * scale**2,
    )


def test_json_and_text(goectp, force_constants, tmp_path):
    (tmp_path / 'MgO.cif').write_text(tiny.CIF)
    arguments = ('predict', 'MgO.cif', '--model', force_constants, '--phonons')
    record = json.loads(goectp(*arguments, '--json').stdout)
    assert len(record['born_charges']) == 2
    assert len(record['phonons']['frequencies']) == len(record['phonons']['infrared_active']) == 3
    assert record['phonons']['species'] == ['Mg', 'O']
    assert record['stability'] is None  # random weights are not calibrated
    lines = goectp(*arguments).stdout.splitlines()
    assert any('Mg' in line and 'O' in line for line in lines)


def test_layers_that_are_brought_closer_have_no_phonons(run, tmp_path):
    far = with_vacuum_scaled(mos2(), find_layers(mos2()), 2.0)
    CrystalSet.from_crystals([far, rocksalt()]).save(tmp_path / 'layers.npz')
    table = run(source='layers.npz')
    assert not table.failed.any()
    assert table.phonons.atom_counts.tolist() == [0, 2]


def test_other_presets_have_no_phonons(goectp, model, crystals):
    result = goectp('predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--phonons', status=2)
    assert 'force_constants' in result.output

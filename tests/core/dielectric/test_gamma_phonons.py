"""Table of phonons at Γ: cells of different size, rows without phonons, files."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons, PhononCell
from aiida_goectp.core.formats.errors import FormatError
from tests.core.dielectric.test_gamma_modes import random_crystal


def cell(n, seed):
    constants, charges, _ = random_crystal(n, seed)
    rng = np.random.default_rng(seed)
    lattice = np.diag([4.0, 5.0, 6.0]) + rng.uniform(-0.1, 0.1, (3, 3))
    numbers = np.array([8, 12, 22, 38, 56])[:n]
    return PhononCell(lattice, numbers, rng.random((n, 3)), np.eye(3) * 4.0, charges, constants)


@pytest.fixture(scope='module')
def cells():
    return [cell(2, 0), None, cell(5, 1), cell(1, 2)]


@pytest.fixture(scope='module')
def table(cells):
    return GammaPhonons.from_cells(cells, [np.array([0, 1, 0, 1]), None, np.arange(5), np.array([0])])


def same(one, other):
    for name in ('lattice', 'atomic_numbers', 'fractional_positions', 'born_charges', 'force_constants'):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-6)


def test_rows_are_the_cells(table, cells):
    assert len(table) == 4
    for row, expected in enumerate(cells):
        found = table.cell(row, np.eye(3) * 4.0)
        if expected is None:
            assert found is None
            continue
        same(found, expected)
        modes = expected.modes()
        place = table.row_modes(row)
        np.testing.assert_allclose(table.frequencies[place], modes.frequencies, rtol=1e-5)
        np.testing.assert_allclose(table.contributions[place], modes.contributions, rtol=1e-4, atol=1e-4)
        assert table.infrared_active[place].tolist() == modes.active.tolist()
    np.testing.assert_allclose(table.charges_as_given(0), cells[0].born_charges[[0, 1, 0, 1]], rtol=1e-6)


def test_taken_joined_and_stored_rows_are_the_same(table, cells):
    stream = io.BytesIO()
    GammaPhonons.join([table.take([2]), table.take([3, 1]), table.take(slice(0, 1))]).save(stream)
    stream.seek(0)
    found = GammaPhonons.load(stream)
    for row, source in enumerate([2, 3, 1, 0]):
        one, other = found.cell(row, np.eye(3)), cells[source]
        assert (one is None) == (other is None)
        if other is not None:
            same(one, other)
            assert found.charges_as_given(row).tolist() == table.charges_as_given(source).tolist()


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'atom_counts': np.array([2, 0, 4, 1])}, 'atoms'),
        ({'atom_counts': np.array([3, 0, 4, 1])}, 'pairs'),
        ({'given_counts': np.array([4, 0, 4, 1])}, 'numbers of atoms'),
        ({'given_counts': np.array([5, 0, 5, 1])}, 'given'),
        ({'primitive_atom': np.array([0, 1, 0, 2, 0, 1, 2, 3, 4, 0])}, 'primitive_atom'),
        ({'infrared_active': np.zeros(14, bool)}, 'infrared_active'),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(table, change, name):
    with pytest.raises(FormatError, match=name):
        replace(table, **change)


def test_no_rows():
    assert len(GammaPhonons.from_cells([], [])) == 0
    assert len(GammaPhonons.from_cells([None, None], [None, None])) == 2

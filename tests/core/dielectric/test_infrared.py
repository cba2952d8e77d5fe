"""Infrared spectra: axes, arrays and files."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from aiida_goectp.core.crystals.equivalent import random_orthogonal
from aiida_goectp.core.dielectric.gamma_modes import WAVENUMBER
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.infrared import (
    InfraredSpectra,
    axis_name,
    default_range,
    infrared_spectra,
    principal_axes,
)
from tests.core.dielectric.test_gamma_modes import CHARGE, ELECTRONIC, SPRING, diatomic


def uniaxial(electronic=(3.1, 3.1, 4.0), charge=(CHARGE, CHARGE, 1.2 * CHARGE), spring=SPRING):
    constants, _ = diatomic(spring)
    charges = np.array([1, -1])[:, None, None] * np.diag(charge)
    lattice = (1 - np.eye(3)) * [2.0, 2.1, 2.3]
    positions = np.array([[0, 0, 0], [0.5] * 3])
    return PhononCell(lattice, np.array([12, 8]), positions, np.diag(electronic), charges, constants)


def rotated(cell, rotation):
    turn = np.kron(np.eye(len(cell.atomic_numbers)), rotation)
    return cell._replace(
        lattice=cell.lattice @ rotation.T,
        electronic=rotation @ cell.electronic @ rotation.T,
        born_charges=rotation @ cell.born_charges @ rotation.T,
        force_constants=turn @ cell.force_constants @ turn.T,
    )


@pytest.fixture
def spectra():
    return infrared_spectra({'one': uniaxial()}, np.linspace(0, 30, 301), 0.2)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [([3, 3, 3], np.eye(3)), ([4, 3, 3], np.eye(3)), ([3, 5, 4], np.eye(3)), ([3, 3 + 1e-9, 3], np.eye(3))],
)
def test_cartesian_axes_are_in_order(values, expected):
    np.testing.assert_allclose(principal_axes(np.diag(values)), expected)


def test_other_axes_are_in_the_order_of_their_values():
    rotation = random_orthogonal(np.random.default_rng(3))
    axes = principal_axes(rotation @ np.diag([2.0, 3.0, 4.0]) @ rotation.T)
    np.testing.assert_allclose(np.abs(axes @ rotation), np.eye(3), atol=1e-9)
    assert (axes[range(3), np.abs(axes).argmax(axis=1)] > 0).all()
    assert axis_name(np.array([0, 1.0, 0])) == 'y'
    assert axis_name(np.array([0.6, 0, -0.8])) == '[0.60 0.00 -0.80]'


def test_equal_axes_are_one_group_and_the_ends_are_static_and_electronic(spectra):
    assert spectra.distinct_axes() == [[0, 1], [2]]
    along = spectra.permittivity[0]
    cell = uniaxial()
    static = cell.electronic + cell.modes().contributions.sum(axis=0)
    np.testing.assert_allclose(along[0].real, np.diag(static), rtol=1e-6)
    far = infrared_spectra({'one': cell}, np.array([0.0, 1e4]), 0.2)
    np.testing.assert_allclose(far.permittivity[0, 1].real, [3.1, 3.1, 4.0], rtol=1e-3)
    cubic = infrared_spectra({'one': uniaxial([ELECTRONIC] * 3, [CHARGE] * 3)}, spectra.frequencies, 0.2)
    assert cubic.distinct_axes() == [[0, 1, 2]]


def test_spectra_do_not_depend_on_the_orientation(spectra):
    cell = rotated(uniaxial(), random_orthogonal(np.random.default_rng(1)))
    other = infrared_spectra({'one': cell}, spectra.frequencies, 0.2)
    np.testing.assert_allclose(np.sort(other.reflectivity, axis=2), np.sort(spectra.reflectivity, axis=2), atol=1e-9)


def test_light_in_the_plane_of_a_monoclinic_crystal_travels_across_it():
    """The modes of the plane across z turn away from the axes of ε∞; its own axes depend on the frame."""
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    cell = uniaxial((3.1, 3.6, 2.5), (CHARGE, 1.5 * CHARGE, CHARGE))
    cell = cell._replace(electronic=turn @ cell.electronic @ turn.T)
    found = infrared_spectra({'one': cell}, np.linspace(0, 30, 301), 0.2)
    (across,) = np.flatnonzero(np.abs(found.axes[0] @ [0, 0, 1]) > 0.9)
    plane = [axis for axis in range(3) if axis != across]
    assert (found.incidence[plane] == across).all()
    other = infrared_spectra(
        {'one': rotated(cell, random_orthogonal(np.random.default_rng(7)))}, found.frequencies, 0.2
    )
    np.testing.assert_allclose(other.reflectivity, found.reflectivity, atol=1e-9)
    assert 0 <= found.reflectivity.min() < found.reflectivity.max() < 1
    row = next(csv.DictReader(io.StringIO(found.csv().decode())))
    assert [int(row[f'incidence_{axis}']) - 1 for axis in (1, 2, 3)] == found.incidence.tolist()
    assert json.loads(found.json())['incidence'] == (found.incidence + 1).tolist()


def test_axes_of_a_second_source_follow_the_first():
    first, second = uniaxial((3.0, 3.5, 4.0)), uniaxial((4.0, 3.4, 3.1))
    rotation = random_orthogonal(np.random.default_rng(2))
    cells = {'one': rotated(first, rotation), 'two': rotated(second, rotation)}
    found = infrared_spectra(cells, np.array([1e4, 2e4]), 0.2)
    np.testing.assert_allclose(np.abs(found.axes[0]), np.abs(found.axes[1]), atol=1e-9)
    np.testing.assert_allclose(found.permittivity[:, 0].real, [[3.0, 3.5, 4.0], [4.0, 3.4, 3.1]], atol=1e-3)
    assert found.distinct_axes() == [[0], [1], [2]]
    # the frame of the second source is another one, in which z is the axis that x is in the first
    turned = {'one': first, 'two': rotated(first, np.roll(np.eye(3), 1, axis=1))}
    found = infrared_spectra(turned, np.linspace(0, 30, 101), 0.2)
    np.testing.assert_allclose(found.permittivity[1], found.permittivity[0], rtol=1e-9)
    np.testing.assert_allclose(found.axes[1], np.roll(np.eye(3), 1, axis=0))


def test_the_range_ends_above_the_highest_longitudinal_frequency():
    cell = uniaxial()
    low, high = default_range({'one': cell})
    assert low == 0
    assert high == pytest.approx(1.2 * cell.longitudinal(np.array([0, 0, 1.0]))[-1])
    atom = PhononCell(np.eye(3), np.array([14]), np.zeros((1, 3)), np.eye(3), np.zeros((1, 3, 3)), np.zeros((3, 3)))
    assert default_range({'one': atom})[1] > 0


def test_files(spectra):
    rows = list(csv.DictReader(io.StringIO(spectra.csv().decode())))
    assert len(rows) == 301
    row = rows[100]
    assert (row['source'], float(row['frequency_thz'])) == ('one', pytest.approx(10))
    assert float(row['wavenumber_per_cm']) == pytest.approx(10 * WAVENUMBER)
    assert float(row['imaginary_3']) == pytest.approx(spectra.permittivity[0, 100, 2].imag, rel=1e-6)
    assert float(row['reflectivity_1']) == pytest.approx(spectra.reflectivity[0, 100, 0], rel=1e-6)
    directions = [[float(row[f'axis_{axis}_{name}']) for name in 'xyz'] for axis in (1, 2, 3)]
    np.testing.assert_allclose(directions, spectra.axes[0], atol=1e-7)
    (source,) = json.loads(spectra.json())['sources']
    np.testing.assert_allclose(source['real'], spectra.real[0])
    loaded = InfraredSpectra.load(io.BytesIO(spectra.npz()))
    assert loaded.content_hash == spectra.content_hash
    assert loaded.damping == 0.2

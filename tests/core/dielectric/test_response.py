"""The dielectric response and its file."""

import io
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import read_npz, write_npz

CRYSTAL = Crystal(
    'MgO',
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]]) * 2.1,
    np.array([12, 8], np.int16),
    np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
)


@pytest.fixture
def response():
    rng = np.random.default_rng(1)
    return DielectricResponse(
        CRYSTAL,
        rng.normal(size=(3, 3)),
        rng.normal(size=(3, 3)),
        rng.normal(size=(2, 3, 3)),
        np.arange(6.0) - 1,
        4.7,
        0.01,
        False,
        'quantumespresso',
        'PBEsol',
        {'cutoff': 1142.0, 'kpoints': [3, 3, 3]},
    )


def saved(response):
    stream = io.BytesIO()
    response.save(stream)
    stream.seek(0)
    return stream


def test_round_trip(response):
    again = DielectricResponse.load(saved(response))
    for name in ('electronic', 'ionic', 'born_charges', 'frequencies', 'total'):
        np.testing.assert_array_equal(getattr(again, name), getattr(response, name))
    for name in ('band_gap', 'max_force', 'scf_converged', 'engine', 'functional', 'settings', 'content_hash'):
        assert getattr(again, name) == getattr(response, name), name
    assert again.crystal.id == 'MgO'
    np.testing.assert_array_equal(again.crystal.lattice, CRYSTAL.lattice)
    assert saved(again).getvalue() == saved(response).getvalue()


def test_unknown_values_are_none():
    again = DielectricResponse.load(saved(DielectricResponse(CRYSTAL, 3 * np.eye(3))))
    assert again.ionic is None
    assert again.total is None
    assert again.born_charges is None
    assert again.frequencies is None
    assert again.band_gap is None
    assert again.max_force is None
    assert again.settings == {}


def test_content_hash_covers_every_field(response):
    hashes = {response.content_hash}
    for change in (
        {'electronic': response.electronic + 1e-12},
        {'ionic': None},
        {'band_gap': 4.8},
        {'scf_converged': True},
        {'functional': 'PBE'},
        {'settings': {}},
        {'crystal': CRYSTAL._replace(lattice=CRYSTAL.lattice * 1.1)},
    ):
        hashes.add(replace(response, **change).content_hash)
    assert len(hashes) == 8


def test_rotation_transforms_all_tensors(response):
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = response.rotated(turn)
    np.testing.assert_allclose(turned.crystal.lattice, CRYSTAL.lattice @ turn.T)
    np.testing.assert_allclose(turned.total, turn @ response.total @ turn.T)
    np.testing.assert_allclose(turned.born_charges[1], turn @ response.born_charges[1] @ turn.T)
    np.testing.assert_array_equal(turned.frequencies, response.frequencies)
    # the permittivity along a lattice vector does not change
    axis, image = CRYSTAL.lattice[0], turned.crystal.lattice[0]
    assert axis @ response.electronic @ axis == pytest.approx(image @ turned.electronic @ image)
    np.testing.assert_allclose(turned.rotated(turn.T).electronic, response.electronic)
    with pytest.raises(ValueError, match='rotation'):
        response.rotated(2 * np.eye(3))


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'electronic': np.eye(2)}, 'electronic'),
        ({'electronic': None}, 'electronic'),
        ({'ionic': np.full((3, 3), np.nan)}, 'ionic'),
        ({'born_charges': np.zeros((3, 3, 3))}, 'born_charges'),
        ({'frequencies': np.zeros(5)}, r"'frequencies'.*\(6\)"),
        ({'band_gap': float('inf')}, 'band_gap'),
        ({'crystal': CRYSTAL._replace(fractional_positions=np.zeros((3, 3)))}, 'fractional_positions'),
    ],
)
def test_values_that_do_not_fit_are_refused(response, change, name):
    with pytest.raises(FormatError, match=f'MgO: .*{name}'):
        replace(response, **change)


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'electronic': None}, 'electronic'),
        ({'lattice': None}, 'lattice'),
        ({'atomic_numbers': None}, 'atomic_numbers'),
        ({'engine': None}, 'engine'),
        ({'scf_converged': np.array(3)}, 'scf_converged'),
        ({'unknown': np.zeros(2)}, 'unknown'),
        ({'settings': np.array('[1]')}, 'settings'),
        ({'band_gap': np.zeros(2)}, 'band_gap'),
        ({'atomic_numbers': np.zeros(3, np.int16)}, 'fractional_positions'),
    ],
)
def test_invalid_files_are_refused(response, change, name):
    arrays = {**read_npz(saved(response), 'dielectric', 2), **change}
    stream = io.BytesIO()
    write_npz(stream, 'dielectric', 2, {name: array for name, array in arrays.items() if array is not None})
    stream.seek(0)
    with pytest.raises(FormatError, match=rf'dielectric\.npz: .*{name}'):
        DielectricResponse.load(stream)


def test_force_constants_rotate_block_by_block(response):
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6))
    full = replace(response, force_constants=root + root.T)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found = full.rotated(turn).force_constants
    np.testing.assert_allclose(found[3:, :3], turn @ full.force_constants[3:, :3] @ turn.T, atol=1e-12)
    assert DielectricResponse.load(saved(full)).force_constants is not None
    assert DielectricResponse.load(saved(response)).force_constants is None


def test_the_lattice_response_needs_charges_and_force_constants(response):
    assert response.phonon_cell() is None
    constants = np.kron([[1.0, -1.0], [-1.0, 1.0]], np.eye(3))
    cell = replace(response, force_constants=constants).phonon_cell()
    np.testing.assert_allclose(cell.born_charges.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(cell.born_charges[0] - cell.born_charges[1], np.subtract(*response.born_charges))
    assert cell.lattice is response.crystal.lattice or (cell.lattice == response.crystal.lattice).all()
    assert replace(response, force_constants=constants, born_charges=None).phonon_cell() is None

"""Small models with random weights, and crystals and labels for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalSet, Failure
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from aiida_goectp.core.dielectric.predictions import TENSORS, Predictions
from aiida_goectp.core.formats.model_card import ModelCard

CIF = """data_MgO
_cell_length_a 4.212
_cell_length_b 4.212
_cell_length_c 6.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_chemical_formula_sum 'Mg O'
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Mg1 Mg 0 0 0
O1 O 0.5 0.5 0.5
"""

_OPTIONS = {'width': 16, 'layers': 2, 'bins': 32}
_FORCE_CONSTANT_OPTIONS = {'scalars': 16, 'vectors': 8, 'tensors': 8, 'layers': 2, 'radial': 8, 'width': 16}


def one_thread() -> None:
    """Let torch use one thread, which is faster on a busy machine."""
    import torch

    torch.set_num_threads(1)


def write_model(
    path: Path,
    *,
    seed: int = 0,
    members: int = 1,
    targets=('electronic', 'ionic'),
    functionals=(),
    trained_on: CrystalSet | None = None,
    **card,
) -> Path:
    """Write a model file of a preset with random weights.

    :param trained_on: crystals that the file states as those of the training
    """
    import torch

    from aiida_goectp.core.network.checkpoint import save_model
    from aiida_goectp.core.network.model import architecture_of, build_network

    torch.manual_seed(seed)
    preset = card.setdefault('preset', 'goectp')
    options = _FORCE_CONSTANT_OPTIONS if preset == 'force_constants' else _OPTIONS
    architecture = architecture_of(preset, options, functionals)
    networks = [build_network(architecture, list(targets)) for _ in range(members)]
    card = {'name': path.stem, 'architecture': architecture, 'targets': list(targets), 'members': members, **card}
    save_model(path, networks, ModelCard(**card), None if trained_on is None else crystal_fingerprints(trained_on))
    return path


def write_lattice_model(path: Path, *, seed: int = 0) -> Path:
    """Write a model file of preset ``force_constants`` with random weights."""
    import torch

    from aiida_goectp.core.network.checkpoint import save_model
    from aiida_goectp.core.network.model import architecture_of, build_network

    torch.manual_seed(seed)
    options = {'scalars': 16, 'vectors': 8, 'tensors': 8, 'layers': 1, 'radial': 8, 'width': 16}
    architecture, targets = architecture_of('force_constants', options), ['electronic', 'ionic']
    card = ModelCard(name=path.stem, preset='force_constants', architecture=architecture, targets=targets, members=1)
    save_model(path, [build_network(architecture, targets)], card)
    return path


def write_mixed_model(path: Path, functionals=()) -> Path:
    """Write a committee of a message-passing network and one on descriptors, with random weights."""
    import torch

    from aiida_goectp.core.network.checkpoint import save_model
    from aiida_goectp.core.network.model import GoeCTP, architecture_of

    torch.manual_seed(1)
    kinds = [('goectp', {'width': 8, 'layers': 1, 'bins': 16}), ('descriptors', {'width': 8})]
    architectures = [architecture_of(preset, options, functionals) for preset, options in kinds]
    card = ModelCard(
        name='mixed',
        preset='goectp',
        architecture=architectures[0],
        architectures=architectures,
        targets=['electronic', 'ionic'],
        members=2,
        functional='PBEsol',
    )
    save_model(path, [GoeCTP(architecture, card.targets) for architecture in architectures], card)
    return path


def _fcc(edge, numbers, second):
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * edge / 2
    return lattice, numbers, [[0, 0, 0], [second] * 3]


def _perovskite(edge, numbers):
    a, b, x = numbers
    return (
        np.diag([edge, edge, 1.04 * edge]),
        [a, b, x, x, x],
        [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )


def _triclinic(rng, atoms):
    edge = 2.6 * np.ceil(atoms ** (1 / 3))
    grid = np.stack(np.meshgrid(*[np.arange(np.ceil(atoms ** (1 / 3)))] * 3), axis=-1).reshape(-1, 3)[:atoms]
    lattice = np.eye(3) * edge + rng.uniform(-0.2, 0.2, (3, 3))
    return lattice, rng.choice([8, 13, 14], atoms), (grid * 2.6 + rng.uniform(-0.3, 0.3, (atoms, 3))) / edge


def some_crystals(count: int = 24, seed: int = 0) -> CrystalSet:
    """Return crystals of 2 to 12 atoms with and without symmetry, small and large ones in turn."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in range(count):
        kinds = (
            _fcc(rng.uniform(4, 6), [*rng.choice([3, 11, 12, 19, 20], 1).tolist(), 8], 0.5),
            _triclinic(rng, int(rng.integers(3, 13))),
            _fcc(rng.uniform(5, 6), [31, 33], 0.25),
            _perovskite(rng.uniform(3.8, 4.2), [38, 22, 8]),
        )
        lattice, numbers, positions = kinds[row % 4]
        rows.append(Crystal(f'c{row}', lattice, np.array(numbers, np.int16), np.array(positions, dtype=float)))
    return CrystalSet.from_crystals(rows)


def big_crystal(atoms: int = 90) -> Crystal:
    """Return a crystal without symmetry."""
    lattice, numbers, positions = _triclinic(np.random.default_rng(5), atoms)
    return Crystal('big', lattice, np.array(numbers, np.int16), positions)


def bad_crystals() -> dict[str, Crystal]:
    """Return invalid crystals by the code of their failure."""
    good = some_crystals(1)[0]
    positions = good.fractional_positions
    return {
        'not_finite': good._replace(id='nan', fractional_positions=np.full_like(positions, np.nan)),
        'bad_lattice': good._replace(id='flat', lattice=np.zeros((3, 3))),
        'atoms_too_close': good._replace(id='close', fractional_positions=np.zeros_like(positions)),
        'unknown_element': good._replace(id='Rf', atomic_numbers=np.array([104, 8], np.int16)),
    }


def with_bad_rows() -> tuple[CrystalSet, np.ndarray, list[str]]:
    """Return valid and invalid crystals, the rows of the invalid ones, and the codes of their failures."""
    rows, bad = list(some_crystals(8)), bad_crystals()
    places = [0, 3, 4, len(rows) + len(bad) - 1]
    for place, crystal in zip(places, bad.values(), strict=True):
        rows.insert(place, crystal)
    return (
        CrystalSet.from_crystals(rows, failures=[Failure('gone', 'unreadable_file', 'cut off')]),
        np.array(places),
        list(bad),
    )


def some_dataset(count: int = 24, seed: int = 0) -> Dataset:
    """Return crystals with labels that are functions of the density; some ionic labels are missing."""
    crystals = some_crystals(count, seed)
    volumes = np.abs(np.linalg.det(crystals.lattices)) / crystals.atom_counts
    electronic = (1 + 30 / volumes)[:, None, None] * np.eye(3)
    ionic = (60 / volumes)[:, None, None] * np.eye(3)
    ionic[::5] = np.nan
    return Dataset(crystals, electronic, ionic)


def same(one: Predictions, other: Predictions, tolerance=1e-5) -> None:
    """Assert that two tables of predictions agree."""
    for name in ('ids', 'hashes', 'flags', 'errors'):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in TENSORS:
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance / 10, err_msg=name
        )

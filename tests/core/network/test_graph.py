"""Crystal graphs: the published edges, and independence of the description of the crystal."""

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.network.graph import NEIGHBOURS, TOLERANCE, build_graphs
from tests.core.network.random_crystals import random_crystal


def _graph(crystal, **options):
    offsets = np.array([0, len(crystal.atomic_numbers)])
    return build_graphs(crystal.lattice[None], offsets, crystal.fractional_positions, crystal.lattice[None], **options)


def _edges(source, target, vectors):
    """Return directed edges as (atoms, vectors), sorted by rounded values."""
    pairs = np.column_stack([np.r_[source, target], np.r_[target, source]])
    both = np.r_[vectors, -vectors]
    order = np.lexsort((*np.round(both, 2).T + 0.0, *pairs.T))
    return pairs[order], both[order]


def test_published_settings_give_the_published_edges(reference, reference_crystals):
    graphs = build_graphs(
        np.array([crystal.lattice for crystal in reference_crystals]),
        reference['ptr'],
        np.concatenate([crystal.fractional_positions for crystal in reference_crystals]),
        reference['lattice_vectors'].astype(float),
        double_self_images=True,
    )
    index = reference['edge_index']
    assert 2 * len(graphs.source) == index.shape[1]
    # each edge of a crystal has its partner within the rounding of the reference, equal edges as many
    for crystal in range(len(reference_crystals)):
        low, high = reference['ptr'][crystal : crystal + 2]
        ours = np.r_[graphs.source, graphs.target], np.r_[graphs.target, graphs.source]
        vectors = np.r_[graphs.vectors, -graphs.vectors]
        mine, theirs = (ours[0] >= low) & (ours[0] < high), (index[0] >= low) & (index[0] < high)
        left = np.column_stack([ours[0][mine], ours[1][mine], vectors[mine]])
        right = np.column_stack([*index[:, theirs], reference['edge_vector'][theirs]])
        assert len(left) == len(right)
        distances = np.abs(left[:, None] - right[None]).max(axis=2)
        close = distances < 2e-5
        np.testing.assert_array_equal(close.sum(axis=1), close.sum(axis=0)[close.argmax(axis=1)])
        assert close.any(axis=1).all()
        assert close.any(axis=0).all()


@pytest.mark.parametrize('seed', range(5))
def test_each_atom_has_its_nearest_neighbours(seed):
    """Compared with all periodic images within a large radius."""
    crystal = random_crystal('triclinic', '-P 1', np.random.default_rng(seed))
    graph = _graph(crystal)
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing='ij'), -1).reshape(-1, 3)
    cartesian = crystal.fractional_positions @ crystal.lattice
    steps = cartesian[None, :, None] + (grid @ crystal.lattice)[None, None] - cartesian[:, None, None]
    distances = np.linalg.norm(steps, axis=-1)
    n = len(cartesian)
    shell = np.sort(np.where(distances < 1e-9, np.inf, distances).reshape(n, -1), axis=1)[:, NEIGHBOURS - 1]
    limit = np.maximum(shell[:, None], shell[None, :])[..., None] + TOLERANCE
    wanted = ((distances > 1e-9) & (distances <= limit)).sum(axis=(1, 2))
    lattice_edges = 2 * (np.linalg.norm(crystal.lattice, axis=1)[None] > shell[:, None] + TOLERANCE).sum(axis=1)
    found = np.bincount(np.r_[graph.source, graph.target], minlength=n)
    np.testing.assert_array_equal(found, wanted + lattice_edges)


def test_shells_are_complete(crystal_set):
    """Rock salt has 6, 12, 8, … neighbours: 16 end within the second shell, so 18 are kept, with noise as well."""
    crystal = crystal_set[1]
    assert crystal.id == 'MgO'
    noise = np.random.default_rng(0).normal(scale=1e-6, size=(2, 3))
    for positions in (crystal.fractional_positions, crystal.fractional_positions + noise):
        graph = _graph(crystal._replace(fractional_positions=positions))
        lengths = np.linalg.norm(graph.vectors, axis=1)
        # 6 neighbours at a/2 and 12 at a/√2, the primitive lattice vectors among them
        assert len(lengths) == 2 * (6 + 12) // 2
        np.testing.assert_allclose(np.unique(np.round(lengths, 3)), [2.106, 2.978], atol=2e-3)


def test_the_radius_grows_in_large_and_in_needle_cells():
    for lattice in (
        np.diag([30.0, 3.0, 3.0]),
        np.diag([25.0, 25.0, 25.0]),
        np.array([[3, 0, 0], [14, 3, 0], [0, 9, 4.0]]),
    ):
        graph = _graph(Crystal('needle', lattice, np.array([14]), np.zeros((1, 3))))
        assert 2 * len(graph.source) >= NEIGHBOURS


def test_graphs_of_a_batch_equal_single_graphs(crystal_set):
    rows = list(crystal_set)
    many = build_graphs(
        crystal_set.lattices, crystal_set.atom_offsets, crystal_set.fractional_positions, crystal_set.lattices
    )
    for place, crystal in enumerate(rows):
        single = _graph(crystal)
        part = slice(*many.edge_offsets[place : place + 2])
        np.testing.assert_array_equal(many.source[part] - crystal_set.atom_offsets[place], single.source)
        np.testing.assert_allclose(many.vectors[part], single.vectors, atol=1e-12)


def test_unwrapped_coordinates_change_nothing(crystal_set):
    crystal = crystal_set[3]
    elsewhere = np.add(crystal.fractional_positions, [5, -3, 100])
    far = crystal._replace(fractional_positions=elsewhere)
    here, there = (_edges(*_graph(c)[:3]) for c in (crystal, far))
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_allclose(here[1], there[1], atol=1e-10)

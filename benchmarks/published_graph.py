"""Direct implementation of the published graph with the neighbour list of pymatgen and loops in Python.

Written from the description of the method (Hua et al., arXiv 2601.04755; Yan et al., ICLR 2024) for comparison with
:mod:`aiida_goectp.core.network.graph`, which the package uses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ('multiset', 'published_graph')

CUTOFF = 4.0
NEIGHBOURS = 16
TOLERANCE = 1e-4
"""Å; the published code compares distances exactly, so that rounding decides between equally distant neighbours"""

Image = tuple[int, int, int]
Edges = dict[tuple[int, int], set[Image]]


def published_graph(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the directed edges of a crystal.

    :param structure: with fractional coordinates in [0, 1)
    :return: source (E,), target (E,), vectors (E, 3) Å from source to target, and the three reference vectors (3, 3) Å
    """
    edges = _nearest(structure)
    references, images = _references(structure)
    for atom in range(len(structure)):
        for image in images:
            opposite = (-image[0], -image[1], -image[2])
            if image not in edges[atom, atom] and opposite not in edges[atom, atom]:
                edges[atom, atom].add(image)
    source, target, vectors = [], [], []
    for (i, j), found in edges.items():
        for image in found:
            shifted = structure.frac_coords[j] + np.array(image)
            step = structure.lattice.get_cartesian_coords(shifted - structure.frac_coords[i])
            source += [i, j]
            target += [j, i]
            vectors += [step, -step]
    return np.array(source), np.array(target), np.array(vectors), references


def _nearest(structure: Structure) -> Edges:
    """Return the images for which one atom of a pair is among the nearest neighbours of the other."""
    cutoff, longest = CUTOFF, max(structure.lattice.abc)
    while True:
        lists = structure.get_all_neighbors(cutoff + 2 * TOLERANCE)
        if min(len(found) for found in lists) >= NEIGHBOURS:
            break
        cutoff = longest if longest > cutoff else 2 * cutoff
    edges: Edges = defaultdict(set)
    for atom, found in enumerate(lists):
        found = sorted(found, key=lambda neighbour: neighbour.nn_distance)
        shell = found[NEIGHBOURS - 1].nn_distance
        for neighbour in found:
            if neighbour.nn_distance > shell + TOLERANCE:
                break
            other, (a, b, c) = neighbour.index, (int(step) for step in neighbour.image)
            if atom <= other:
                edges[atom, other].add((a, b, c))
            else:
                edges[other, atom].add((-a, -b, -c))
    return edges


def _references(structure: Structure) -> tuple[np.ndarray, list[Image]]:
    """Return the three reference lattice vectors, and their lattice translations."""
    lattice = structure.lattice
    found = lattice.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], max(lattice.abc) + 0.01, zip_results=True)
    images = [np.rint(item[3]).astype(int) for item in sorted(found, key=lambda item: item[1]) if item[1] > TOLERANCE]
    chosen: list[np.ndarray] = []
    for image in images:
        units = [vector / np.linalg.norm(vector) for vector in (np.array([*chosen, image]) @ lattice.matrix)]
        if np.linalg.matrix_rank(np.array(units), tol=1e-5) == len(chosen) + 1:
            chosen.append(image)
        if len(chosen) == 3:
            break
    vectors = np.array(chosen) @ lattice.matrix
    signs = np.array([-1 if vector @ vectors[0] < -1e-10 else 1 for vector in vectors])
    signs = signs if np.linalg.det(vectors * signs[:, None]) > 0 else -signs
    triple = np.array(chosen) * signs[:, None]
    return triple @ lattice.matrix, [(int(a), int(b), int(c)) for a, b, c in triple]


def multiset(
    lattice: np.ndarray, fractional: np.ndarray, source: np.ndarray, target: np.ndarray, vectors: np.ndarray
) -> Counter[tuple[int, ...]]:
    """Return the multiplicity of each directed edge (source, target, image) of a graph.

    :param lattice: (3, 3) Å, rows
    :param fractional: (n, 3) in [0, 1)
    """
    images = vectors @ np.linalg.inv(lattice) - (fractional[target] - fractional[source])
    rounded = np.rint(images).astype(int)
    if len(images) and np.abs(images - rounded).max() > 1e-3:
        raise ValueError('an edge vector does not connect two atoms')
    return Counter(map(tuple, np.column_stack([source, target, rounded]).tolist()))

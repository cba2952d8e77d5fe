"""From crystals to flat graphs, by preset; numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.layers import WIDEST_GAP, find_layers, with_vacuum_reduced
from aiida_goectp.core.crystals.reduction import polar_rotation
from aiida_goectp.core.crystals.symmetry import (
    CanonicalCell,
    canonical_cell,
    infrared_directions,
    point_group_projector,
)
from aiida_goectp.core.network.graph import build_graphs

__all__ = ('PRESETS', 'GraphArrays', 'evaluations_kept', 'prepare', 'published_references')


@dataclass(frozen=True)
class Evaluation:
    """One crystal as a network must see it: a cell, and one or more frames."""

    lattice: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    frames: np.ndarray
    """(m, 3, 3) Å, rows: the reference lattice vectors of each frame"""
    rotations: np.ndarray
    """(m, 3, 3) Q of each frame"""
    projectors: np.ndarray
    """(2, 9, 9) onto what the point group allows: of any tensor, and of an ionic one"""
    symmetry_known: bool
    dilution: np.ndarray
    """(4,) normal of the layers, and the ratio of the repeat across them in this cell to that of the crystal; 1 where
    nothing was changed"""


_AS_IT_IS = np.array([0.0, 0.0, 0.0, 1.0])


def _evaluate_goectp(crystal: Crystal) -> Evaluation:
    cell, dilution = canonical_cell(crystal), _AS_IT_IS
    # of the canonical cell, so that layers are found or not whatever the cell in which the crystal was given
    primitive = Crystal(crystal.id, cell.lattice, cell.atomic_numbers, cell.fractional_positions)
    layers = find_layers(primitive)
    if layers is not None and layers.gaps.max() > WIDEST_GAP:
        closer, thinner = with_vacuum_reduced(primitive, layers)
        cell, dilution = canonical_cell(closer), np.append(layers.normal, thinner)
    return Evaluation(
        cell.lattice,
        cell.atomic_numbers,
        cell.fractional_positions,
        cell.frames,
        cell.rotations,
        _projectors(cell),
        cell.symmetry_known,
        dilution,
    )


def _evaluate_published(crystal: Crystal) -> Evaluation:
    references = published_references(crystal.lattice)
    return Evaluation(
        np.asarray(crystal.lattice, dtype=np.float64),
        crystal.atomic_numbers,
        crystal.fractional_positions,
        references[None],
        polar_rotation(crystal.lattice)[None],
        np.stack([np.eye(9)] * 2),
        True,
        _AS_IT_IS,
    )


def _projectors(cell: CanonicalCell) -> np.ndarray:
    of_group = point_group_projector(cell.operations)
    seen = infrared_directions(cell.operations, cell.permutations)
    return np.stack([of_group, np.kron(seen, seen) @ of_group])


PRESETS: dict[str, Callable[[Crystal], Evaluation]] = {
    'goectp': _evaluate_goectp,
    'published': _evaluate_published,
    'descriptors': _evaluate_goectp,
}
"""How a crystal is shown to the network.

``goectp`` and ``descriptors``: its reduced primitive cell, in every frame that counts, projected onto the point group,
the layers of a layered crystal no farther apart than :data:`.WIDEST_GAP`; ``published``: the cell as
given, in one frame.
"""


def published_references(lattice: np.ndarray, tolerance: float = 1e-4) -> np.ndarray:
    """Return the three reference lattice vectors of the published graph.

    The shortest lattice translation, the next that is not collinear, the next that is not coplanar; the second and
    third make no obtuse angle with the first, and all are flipped if left-handed (Yan et al., ICLR 2024). Where lengths
    tie, which the published code leaves to rounding, the vector with the smaller image indices comes first.

    :param lattice: (3, 3) Å, rows
    :param tolerance: Å, lengths closer than this are equal
    :return: (3, 3) Å, rows
    """
    grid = np.arange(-3, 4)
    images = np.stack(np.meshgrid(grid, grid, grid, indexing='ij'), axis=-1).reshape(-1, 3)
    images = images[np.any(images != 0, axis=1)]
    vectors = images @ np.asarray(lattice, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.lexsort((*np.abs(images).T[::-1], np.round(lengths / tolerance)))
    chosen: list[np.ndarray] = []
    for vector in vectors[order]:
        trial = [*chosen, vector]
        spread = np.linalg.svd(np.array([v / np.linalg.norm(v) for v in trial]), compute_uv=False)
        if spread[-1] > 1e-5:
            chosen = trial
        if len(chosen) == 3:
            break
    first, second, third = chosen
    second, third = (v * (-1 if v @ first < -1e-10 else 1) for v in (second, third))
    triple = np.array([first, second, third])
    return triple if np.linalg.det(triple) > 0 else -triple


@dataclass(frozen=True)
class GraphArrays:
    """Graphs of many crystals as flat numpy arrays; a crystal owns one graph for each frame."""

    graph_offsets: np.ndarray
    """(c + 1,) graphs of each crystal"""
    atom_offsets: np.ndarray
    """(g + 1,) atoms of each graph"""
    edge_offsets: np.ndarray
    """(g + 1,) undirected edges of each graph"""
    numbers: np.ndarray
    """(N,)"""
    source: np.ndarray
    """(U,) atom within its graph"""
    target: np.ndarray
    """(U,)"""
    vectors: np.ndarray
    """(U, 3) Å"""
    references: np.ndarray
    """(g, 3, 3) Å"""
    rotations: np.ndarray
    """(g, 3, 3)"""
    volumes: np.ndarray
    """(g,) Å³"""
    projectors: np.ndarray
    """(c, 2, 9, 9) onto what the point group allows: of any tensor, and of an ionic one"""
    symmetry_known: np.ndarray
    """(c,)"""
    dilution: np.ndarray
    """(c, 4) normal of layers that were brought closer, and the ratio of the repeats; 1 where nothing was changed"""
    described: np.ndarray | None = None
    """(g, k) what :func:`.describe_once` returns, if it was asked"""

    def __len__(self) -> int:
        return len(self.projectors)

    @classmethod
    def concatenate(cls, parts: Sequence[GraphArrays]) -> GraphArrays:
        """Return the graphs of all parts, one after the other; one at least."""
        if len(parts) == 1:
            return parts[0]
        columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(cls)}
        for name in ('graph_offsets', 'atom_offsets', 'edge_offsets'):
            ends = np.cumsum([0, *(offsets[-1] for offsets in columns[name])])
            shifted = [offsets[1:] + end for offsets, end in zip(columns[name], ends, strict=False)]
            columns[name] = [np.zeros(1, dtype=np.int64), *shifted]
        asked = columns.pop('described')
        described = None if any(numbers is None for numbers in asked) else np.concatenate(asked)
        return cls(**{name: np.concatenate(column) for name, column in columns.items()}, described=described)

    def take(self, crystals: Sequence[int] | np.ndarray) -> GraphArrays:
        """Return the graphs of the given crystals, in the given order."""
        rows = np.asarray(crystals, dtype=np.int64)
        graphs, graph_offsets = _ranges(self.graph_offsets, rows)
        atoms, atom_offsets = _ranges(self.atom_offsets, graphs)
        edges, edge_offsets = _ranges(self.edge_offsets, graphs)
        return GraphArrays(
            graph_offsets,
            atom_offsets,
            edge_offsets,
            self.numbers[atoms],
            self.source[edges],
            self.target[edges],
            self.vectors[edges],
            self.references[graphs],
            self.rotations[graphs],
            self.volumes[graphs],
            self.projectors[rows],
            self.symmetry_known[rows],
            self.dilution[rows],
            None if self.described is None else self.described[graphs],
        )


def _ranges(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the members of the given rows of a ragged array, one after the other, and their new offsets."""
    counts = offsets[rows + 1] - offsets[rows]
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.repeat(offsets[rows] - ends[:-1], counts) + np.arange(ends[-1]), ends


_kept: dict[Hashable, Any] | None = None


@contextmanager
def evaluations_kept(store: dict[Hashable, Any]) -> Iterator[None]:
    """Analyse each crystal once only within this context, for whoever prepares the same ones again and again.

    :param store: where the analyses are kept, some kilobytes a crystal; empty at first
    """
    global _kept
    before, _kept = _kept, store
    try:
        yield
    finally:
        _kept = before


def _evaluate(crystal: Crystal, preset: str) -> Evaluation:
    kept = _kept
    if kept is None:
        return PRESETS[preset](crystal)
    arrays = (crystal.lattice, crystal.atomic_numbers, crystal.fractional_positions)
    key = preset, *(np.asarray(array).tobytes() for array in arrays)
    if key not in kept:
        kept[key] = PRESETS[preset](crystal)
    return kept[key]


def prepare(
    crystals: Iterable[Crystal], preset: str = 'goectp', references: Sequence[np.ndarray] | None = None
) -> GraphArrays:
    """Return the graphs of many crystals under a preset.

    :param crystals: crystals that :func:`aiida_goectp.core.crystals.validation.check_crystal` accepts
    :param preset: a key of :data:`PRESETS`
    :param references: (3, 3) reference vectors of each crystal instead of the preset's own choice
    """
    evaluations = [_evaluate(crystal, preset) for crystal in crystals]
    frames = [len(item.frames) for item in evaluations]
    repeated = [item for item, m in zip(evaluations, frames, strict=True) for _ in range(m)]
    triples = [item.frames for item in evaluations] if references is None else [r[None] for r in references]
    vectors = np.concatenate([np.zeros((0, 3, 3)), *triples])
    atom_offsets = np.concatenate([[0], np.cumsum([len(item.numbers) for item in repeated])]).astype(np.int64)
    lattices = np.array([item.lattice for item in repeated]).reshape(-1, 3, 3)
    graphs = build_graphs(
        lattices,
        atom_offsets,
        np.concatenate([np.zeros((0, 3)), *(item.positions for item in repeated)]),
        vectors,
        double_self_images=preset == 'published',
    )
    local = np.repeat(atom_offsets[:-1], np.diff(graphs.edge_offsets))
    return GraphArrays(
        np.concatenate([[0], np.cumsum(frames)]).astype(np.int64),
        atom_offsets,
        graphs.edge_offsets,
        np.concatenate([np.zeros(0, np.int64), *(item.numbers for item in repeated)]).astype(np.int64),
        graphs.source - local,
        graphs.target - local,
        graphs.vectors,
        vectors,
        np.concatenate([np.zeros((0, 3, 3)), *(item.rotations for item in evaluations)]),
        np.abs(np.linalg.det(lattices)),
        np.array([item.projectors for item in evaluations]).reshape(-1, 2, 9, 9),
        np.array([item.symmetry_known for item in evaluations], dtype=bool),
        np.array([item.dilution for item in evaluations]).reshape(-1, 4),
    )

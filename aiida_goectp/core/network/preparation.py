"""Preparation of crystals for the network: canonical cell, frames and graphs of a preset, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
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
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.network.force_constants.cells import CellArrays, build_cells
from aiida_goectp.core.network.graph import build_graphs, without_edges

__all__ = (
    'MAX_GRAPH_ATOMS',
    'MAX_MATRIX_ATOMS',
    'PRESETS',
    'GraphArrays',
    'PreparedCrystal',
    'analysis_cache',
    'build_arrays',
    'for_preset',
    'prepare',
    'published_references',
)


MAX_GRAPH_ATOMS = 50_000
"""atoms of the primitive cell times frames of one crystal; about 0.14 MB each in the evaluation of the network"""


MAX_MATRIX_ATOMS = 1_000
"""atoms of the primitive cell with preset ``force_constants``, whose matrices grow with their square"""


@dataclass(frozen=True)
class PreparedCrystal:
    """Cell and frames in which the network evaluates a crystal."""

    lattice: np.ndarray
    """(3, 3) Å, rows"""
    numbers: np.ndarray
    """(n,) atomic numbers"""
    positions: np.ndarray
    """(n, 3) fractional"""
    frames: np.ndarray
    """(m, 3, 3) Å, rows: the reference lattice vectors of each frame"""
    rotations: np.ndarray
    """(m, 3, 3) rotation (or roto-inversion) Q of each frame: a tensor O of the canonical frame is Q O Qᵀ in the frame
    of the crystal"""
    projectors: np.ndarray
    """(2, 9, 9) projectors onto the tensors that the point group allows: any tensor, and an ionic one"""
    symmetry_known: bool
    """whether a space group was found"""
    vacuum: np.ndarray
    """(4,) normal of the layers, and the ratio of the repeat across them in this cell to that of the crystal; the ratio
    is 1 if the layers were not brought closer"""
    primitive_atom: np.ndarray
    """index within this cell of each atom of the crystal as given"""


_NO_VACUUM = np.array([0.0, 0.0, 0.0, 1.0])


def _prepare_goectp(crystal: Crystal) -> PreparedCrystal:
    cell, vacuum, atoms = _without_wide_gaps(crystal)
    frames = cell.frames
    return _prepared(cell, vacuum, atoms, frames, polar_rotation(frames))


def _prepare_force_constants(crystal: Crystal) -> PreparedCrystal:
    cell, vacuum, atoms = _without_wide_gaps(crystal)
    # the network needs no frame; one stands for the crystal
    return _prepared(cell, vacuum, atoms, cell.lattice[None], np.eye(3)[None])


def _without_wide_gaps(crystal: Crystal) -> tuple[CanonicalCell, np.ndarray, np.ndarray]:
    """Return the canonical cell with layers no farther apart than allowed, and the last two fields of
    :class:`PreparedCrystal`."""
    cell = canonical_cell(crystal)
    # layers of the canonical cell, so that the result does not depend on the given cell
    primitive = Crystal(crystal.id, cell.lattice, cell.atomic_numbers, cell.fractional_positions)
    layers = find_layers(primitive)
    if layers is None or layers.gaps.max() <= WIDEST_GAP:
        return cell, _NO_VACUUM, cell.primitive_atom
    closer, ratio = with_vacuum_reduced(primitive, layers)
    reduced = canonical_cell(closer)
    return reduced, np.append(layers.normal, ratio), reduced.primitive_atom[cell.primitive_atom]


def _prepared(
    cell: CanonicalCell, vacuum: np.ndarray, atoms: np.ndarray, frames: np.ndarray, rotations: np.ndarray
) -> PreparedCrystal:
    return PreparedCrystal(
        cell.lattice,
        cell.atomic_numbers,
        cell.fractional_positions,
        frames,
        rotations,
        _projectors(cell),
        cell.symmetry_known,
        vacuum,
        atoms,
    )


def _prepare_published(crystal: Crystal) -> PreparedCrystal:
    references = published_references(crystal.lattice)
    return PreparedCrystal(
        np.asarray(crystal.lattice, dtype=np.float64),
        crystal.atomic_numbers,
        crystal.fractional_positions,
        references[None],
        polar_rotation(crystal.lattice)[None],
        np.stack([np.eye(9)] * 2),
        True,
        _NO_VACUUM,
        np.arange(len(crystal.atomic_numbers)),
    )


def _projectors(cell: CanonicalCell) -> np.ndarray:
    group = point_group_projector(cell.operations)
    active = infrared_directions(cell.operations, cell.permutations)
    ionic = group if (active == np.eye(3)).all() else np.kron(active, active) @ group
    return np.array([group, ionic])


PRESETS: dict[str, Callable[[Crystal], PreparedCrystal]] = {
    'goectp': _prepare_goectp,
    'published': _prepare_published,
    'descriptors': _prepare_goectp,
    'force_constants': _prepare_force_constants,
}
"""Name of a preset → preparation of a crystal.

``goectp``, ``descriptors`` and ``force_constants`` take the reduced primitive cell, projectors onto the point group,
and layers no farther apart than :data:`.WIDEST_GAP`. ``goectp`` and ``descriptors`` take one frame for each coset of
the Laue group in the holohedry; ``force_constants`` has no graph, but the neighbours within a radius and the reciprocal
lattice vectors of that cell. ``published`` takes the given cell in a single frame, without projection.
"""


def for_preset(prepared: PreparedCrystal, preset: str) -> PreparedCrystal:
    """Return what a preset takes of a crystal that was prepared for preset ``goectp``.

    :param preset: a key of :data:`PRESETS` other than ``published``
    """
    if preset != 'force_constants':
        return prepared
    return replace(prepared, frames=prepared.lattice[None], rotations=np.eye(3)[None])


def published_references(lattice: np.ndarray, tolerance: float = 1e-4) -> np.ndarray:
    """Return the three reference lattice vectors of the published graph.

    The shortest lattice translation, the next that is not collinear, and the next that is not coplanar. The second and
    third are inverted if they make an obtuse angle with the first, and all three if they are left-handed (Yan et al.,
    ICLR 2024). Of vectors of equal length the one with the smaller image indices comes first; the published code leaves
    this to rounding.

    :param lattice: (3, 3) Å, rows
    :param tolerance: Å, lengths that differ by less are equal
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
    """Graphs of c crystals as flat arrays, one graph for each frame of a crystal: g graphs, N atoms, U edges."""

    graph_offsets: np.ndarray
    """(c + 1,) graphs of each crystal"""
    atom_offsets: np.ndarray
    """(g + 1,) atoms of each graph"""
    edge_offsets: np.ndarray
    """(g + 1,) undirected edges of each graph"""
    numbers: np.ndarray
    """(N,) atomic numbers"""
    source: np.ndarray
    """(U,) index of an atom within its graph"""
    target: np.ndarray
    """(U,) index of an atom within its graph"""
    vectors: np.ndarray
    """(U, 3) Å, from source to target"""
    references: np.ndarray
    """(g, 3, 3) Å, rows: reference lattice vectors"""
    rotations: np.ndarray
    """(g, 3, 3) Q of each frame"""
    volumes: np.ndarray
    """(g,) Å³"""
    projectors: np.ndarray
    """(c, 2, 9, 9); see :class:`PreparedCrystal`"""
    symmetry_known: np.ndarray
    """(c,)"""
    vacuum: np.ndarray
    """(c, 4); see :class:`PreparedCrystal`"""
    descriptors: np.ndarray | None = None
    """(g, k) result of :func:`.precompute_descriptors`"""
    cells: CellArrays | None = None
    """primitive cells of the crystals, with preset ``force_constants``"""

    def __len__(self) -> int:
        return len(self.projectors)

    @property
    def pairs(self) -> int:
        """Number of pairs of neighbours, by which the memory of an evaluation grows."""
        return len(self.source if self.cells is None else self.cells.source)

    @classmethod
    def concatenate(cls, parts: Sequence[GraphArrays]) -> GraphArrays:
        """Return the graphs of one or more parts in order."""
        if len(parts) == 1:
            return parts[0]
        columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(cls)}
        for name in ('graph_offsets', 'atom_offsets', 'edge_offsets'):
            ends = np.cumsum([0, *(offsets[-1] for offsets in columns[name])])
            shifted = [offsets[1:] + end for offsets, end in zip(columns[name], ends, strict=False)]
            columns[name] = [np.zeros(1, dtype=np.int64), *shifted]
        pieces = columns.pop('descriptors')
        descriptors = None if any(piece is None for piece in pieces) else np.concatenate(pieces)
        cells = columns.pop('cells')
        joined = None if any(piece is None for piece in cells) else CellArrays.concatenate(cells)
        arrays = {name: np.concatenate(column) for name, column in columns.items()}
        return cls(**arrays, descriptors=descriptors, cells=joined)

    def take(self, crystals: Sequence[int] | np.ndarray) -> GraphArrays:
        """Return the graphs of the given crystals, in the given order."""
        rows = np.asarray(crystals, dtype=np.int64)
        graphs, graph_offsets = ranges(self.graph_offsets, rows)
        atoms, atom_offsets = ranges(self.atom_offsets, graphs)
        edges, edge_offsets = ranges(self.edge_offsets, graphs)
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
            self.vacuum[rows],
            None if self.descriptors is None else self.descriptors[graphs],
            None if self.cells is None else self.cells.take(rows),
        )


_cache: dict[Hashable, Any] | None = None


@contextmanager
def analysis_cache(store: dict[Hashable, Any]) -> Iterator[None]:
    """Analyse each crystal only once within this context, where the same crystals are prepared repeatedly.

    :param store: cache of :class:`PreparedCrystal`, some kilobytes a crystal; empty at first
    """
    global _cache
    before, _cache = _cache, store
    try:
        yield
    finally:
        _cache = before


def _prepare_crystal(crystal: Crystal, preset: str) -> PreparedCrystal:
    cache = _cache
    if cache is None:
        return PRESETS[preset](crystal)
    arrays = (crystal.lattice, crystal.atomic_numbers, crystal.fractional_positions)
    key = preset, *(np.asarray(array).tobytes() for array in arrays)
    if key not in cache:
        cache[key] = PRESETS[preset](crystal)
    return cache[key]


def _check_size(prepared: PreparedCrystal, preset: str) -> None:
    """Check that the evaluation of a crystal has bounded memory.

    :raises CrystalError: it is too large
    """
    atoms, frames = len(prepared.numbers), len(prepared.frames)
    if preset == 'force_constants' and atoms > MAX_MATRIX_ATOMS:
        raise CrystalError(
            'too_large', f'{atoms} atoms in the primitive cell; {MAX_MATRIX_ATOMS} are allowed with preset {preset}'
        )
    if atoms * frames > MAX_GRAPH_ATOMS:
        raise CrystalError(
            'too_large',
            f'{atoms} atoms in the primitive cell, evaluated in {frames} frames; the product may be {MAX_GRAPH_ATOMS}, '
            'which takes about 7 GB; use a smaller cell',
        )


def prepare(
    crystals: Iterable[Crystal], preset: str = 'goectp', references: Sequence[np.ndarray] | None = None
) -> GraphArrays:
    """Return the graphs of crystals for a preset.

    :param crystals: crystals that :func:`aiida_goectp.core.crystals.validation.check_crystal` accepts
    :param preset: a key of :data:`PRESETS`
    :param references: (3, 3) Å, reference vectors of each crystal, to override those of a preset with a single frame
    :raises CrystalError: a crystal beyond :data:`MAX_GRAPH_ATOMS` or :data:`MAX_MATRIX_ATOMS`
    """
    return build_arrays([_prepare_crystal(crystal, preset) for crystal in crystals], preset, references)


def build_arrays(
    prepared: Sequence[PreparedCrystal], preset: str, references: Sequence[np.ndarray] | None = None
) -> GraphArrays:
    """Return the graphs of prepared crystals, which takes a small part of the time of their preparation.

    Arguments and errors as for :func:`prepare`.

    :param prepared: crystals as the preset prepares them
    """
    frames = [len(item.frames) for item in prepared]
    for item in prepared:
        _check_size(item, preset)
    repeated = [item for item, m in zip(prepared, frames, strict=True) for _ in range(m)]
    triples = [item.frames for item in prepared] if references is None else [r[None] for r in references]
    vectors = np.concatenate([np.zeros((0, 3, 3)), *triples])
    atom_offsets = np.concatenate([[0], np.cumsum([len(item.numbers) for item in repeated])]).astype(np.int64)
    lattices = np.array([item.lattice for item in repeated]).reshape(-1, 3, 3)
    graphs = (
        without_edges(len(repeated))
        if preset == 'force_constants'
        else build_graphs(
            lattices,
            atom_offsets,
            np.concatenate([np.zeros((0, 3)), *(item.positions for item in repeated)]),
            vectors,
            double_self_images=preset == 'published',
        )
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
        np.concatenate([np.zeros((0, 3, 3)), *(item.rotations for item in prepared)]),
        np.abs(np.linalg.det(lattices)),
        np.array([item.projectors for item in prepared]).reshape(-1, 2, 9, 9),
        np.array([item.symmetry_known for item in prepared], dtype=bool),
        np.array([item.vacuum for item in prepared]).reshape(-1, 4),
        cells=_cells(prepared) if preset == 'force_constants' else None,
    )


def _cells(prepared: Sequence[PreparedCrystal]) -> CellArrays:
    return build_cells(
        [item.lattice for item in prepared],
        [item.numbers for item in prepared],
        [item.positions for item in prepared],
        [item.primitive_atom for item in prepared],
        [item.vacuum[3] == 1 for item in prepared],
    )

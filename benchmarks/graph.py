"""Time of graph construction, compared with a direct implementation of the same graph in Python.

python benchmarks/graph.py FILE.jsonl.gz [--limit 300] [--json RESULT.json]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from common import arguments, clock, finish, load, one_thread, table
from published_graph import multiset, published_graph

from aiida_goectp.core.crystals import Crystal, CrystalSet, symmetry
from aiida_goectp.core.crystals.symmetry import canonical_cell
from aiida_goectp.core.network.graph import Graphs, build_graphs
from aiida_goectp.core.network.preparation import prepare
from aiida_goectp.data.pymatgen_convert import to_pymatgen

REPEATS = 5


def wrapped(crystals: CrystalSet) -> list[Crystal]:
    """Return the crystals with coordinates in [0, 1)."""
    return [
        crystal._replace(fractional_positions=crystal.fractional_positions - np.floor(crystal.fractional_positions))
        for crystal in crystals
    ]


def build(crystals: list[Crystal], offsets: np.ndarray, references: np.ndarray) -> Graphs:
    """Return the graphs of all crystals under the published settings."""
    return build_graphs(
        np.array([crystal.lattice for crystal in crystals]),
        offsets,
        np.concatenate([crystal.fractional_positions for crystal in crystals]),
        references,
        double_self_images=True,
    )


def differing(crystals: list[Crystal], offsets: np.ndarray, graphs: Graphs, published: list) -> list[str]:
    """Return the ids of crystals whose edge multisets differ."""
    found = []
    for row, (crystal, theirs) in enumerate(zip(crystals, published, strict=True)):
        edges = slice(graphs.edge_offsets[row], graphs.edge_offsets[row + 1])
        source, target = (index[edges] - offsets[row] for index in (graphs.source, graphs.target))
        vectors = graphs.vectors[edges]
        directed = np.r_[source, target], np.r_[target, source], np.r_[vectors, -vectors]
        cell = crystal.lattice, crystal.fractional_positions
        if multiset(*cell, *directed) != multiset(*cell, *theirs[:3]):
            found.append(crystal.id)
    return found


def without_search(crystals: list[Crystal], preset: str) -> float:
    """Return the CPU time of the preparation of crystals in seconds, less that of the symmetry searches within it.

    Both are of the same run, since the speed of a machine can change between two.
    """
    find, inside, seconds = symmetry.find_symmetry, 0.0, []

    def timed(*cell: Any) -> Any:
        nonlocal inside
        with clock() as measured:
            found = find(*cell)
        inside += measured.cpu
        return found

    symmetry.find_symmetry = timed
    for _ in range(REPEATS):
        inside = 0.0
        with clock() as whole:
            prepare(crystals, preset)
        seconds.append(whole.cpu - inside)
    symmetry.find_symmetry = find
    return min(seconds)


def best(function: Callable[..., object], *arguments: object) -> float:
    """Return the CPU time of the fastest of some runs, in seconds."""
    seconds = []
    for _ in range(REPEATS):
        with clock() as measured:
            function(*arguments)
        seconds.append(measured.cpu)
    return min(seconds)


def main() -> None:
    """Measure and print."""
    one_thread()
    options = arguments(__doc__.splitlines()[0], limit=300).parse_args()
    crystals = load(options)
    rows, offsets = wrapped(crystals), crystals.atom_offsets
    structures = [to_pymatgen(crystal) for crystal in rows]
    published, seconds = [], []
    for structure in structures:
        with clock() as measured:
            published.append(published_graph(structure))
        seconds.append(measured.cpu)
    references = np.array([graph[3] for graph in published])
    graphs = build(rows, offsets, references)  # compiles as well
    prepare(rows[:2])
    prepare(rows[:2], 'force_constants')
    different = differing(rows, offsets, graphs, published)
    n = len(rows)
    times = {
        'published graph, Python and pymatgen': sum(seconds),
        'the same graph, this package': best(build, rows, offsets, references),
        'preset published, complete': best(prepare, rows, 'published'),
        'preset goectp, complete': best(prepare, rows, 'goectp'),
        'preset force_constants, complete': best(prepare, rows, 'force_constants'),
        '  of both: symmetry and reduced cell': best(lambda: [canonical_cell(crystal) for crystal in rows]),
        'preset force_constants, without symmetry search': without_search(rows, 'force_constants'),
        'preset goectp, without symmetry search': without_search(rows, 'goectp'),
    }
    lines = [
        {
            'what': name,
            'ms per crystal': 1e3 * value / n,
            'speed-up': times['published graph, Python and pymatgen'] / value,
        }
        for name, value in times.items()
    ]
    table(f'{n} crystals of {options.file.name}, {offsets[-1] / n:.1f} atoms on average; CPU time, one thread', lines)
    edges = 2 * len(graphs.source) / n
    print(
        f'  median of the first line: {1e3 * float(np.median(seconds)):.3g} ms; {edges:.0f} directed edges per crystal'
    )
    print(f'  edge multisets that differ: {len(different)} {", ".join(different[:5])}')
    finish(
        options, {'crystals': n, 'times': lines, 'median_ms': 1e3 * float(np.median(seconds)), 'different': different}
    )


if __name__ == '__main__':
    main()

"""Flow charts of the manual: ``python docs/_ext/draw_flows.py`` writes docs/explanation/figures/*.svg.

Boxes are data (rounded), processes (square) or files (dashed). A flow is a list of rows of boxes; arrows connect
neighbours within a row, and the last box of a row with the first box of the next row.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use('svg')
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FIGURES = Path(__file__).parents[1] / 'explanation' / 'figures'
WIDTH, HEIGHT, GAP, LEADING = 2.9, 0.78, 0.45, 1.25
FILL = {'data': '#dbe9f6', 'process': '#fdeacc', 'file': '#ffffff'}


class Box(NamedTuple):
    """A box of a flow."""

    kind: str
    title: str
    place: str = ''
    """second line: module, or a description"""


def data(title: str, place: str = '') -> Box:
    """Return a box for a node or a table."""
    return Box('data', title, place)


def process(title: str, place: str = '') -> Box:
    """Return a box for a process or a function."""
    return Box('process', title, place)


def file(title: str, place: str = '') -> Box:
    """Return a box for a file."""
    return Box('file', title, place)


FLOWS: dict[str, list[list[Box]]] = {
    'campaign': [
        [
            data('pool of crystals'),
            process('networks predict', 'tensors ± σ, on the GPU'),
            process('acquisition picks', 'a batch of candidates'),
            process('DFPT verifies', 'VASP or Quantum ESPRESSO'),
            process('quality gates', 'accept or refuse labels'),
            process('retraining', 'on old and new labels'),
        ],
    ],
    'goectp': [
        [
            data('crystal', 'lattice L and atoms'),
            process('polar decomposition', 'L = Q P gives the frame Q'),
            process('graph network', 'on distances and angles'),
            data('tensor O', 'in the frame'),
            process('rotation back', 'Q O Qᵀ, then point group'),
            data('tensor ε ± σ', 'in the axes of the crystal'),
        ],
    ],
    'crystal': [
        [
            file('structure file', 'CIF, POSCAR, extended XYZ, …'),
            process('read and validate', 'core/crystals/readers'),
            data('CrystalSet', 'core/crystals/crystalset'),
            process('primitive cell, graph', 'core/network/preparation'),
            data('PreparedBatch', 'core/learning/batches'),
        ],
        [
            process('networks', 'core/network'),
            process('axes of the input cell', 'core/network'),
            process('standard deviations', 'core/learning/uncertainty'),
            data('PredictedBatch', 'core/learning/results'),
            file('predictions.npz', 'core/dielectric/predictions'),
        ],
    ],
    'screen': [
        [
            data('goectp.crystals'),
            process('filter_crystals', 'calculations/rank'),
            process('PredictWorkChain', 'workflows/predict, per shard'),
            process('goectp predict', 'a CalcJob, calculations/predict'),
            data('goectp.predictions', 'parsers/predict'),
        ],
        [
            process('merge_predictions', 'calculations/rank'),
            process('rank_crystals', 'calculations/rank'),
            data('goectp.ranking'),
            process('select_top', 'calculations/select'),
            data('selection', 'with StructureData nodes'),
        ],
    ],
    'round': [
        [
            process('PredictWorkChain', 'predict the pool'),
            process('pick_batch', 'calculations/picks'),
            data('goectp.picks'),
            process('VerifyWorkChain', 'workflows/verify'),
            process('collect_labels', 'calculations/campaign'),
        ],
        [
            process('record_round', 'the history'),
            process('RetrainWorkChain', 'workflows/campaign/retrain'),
            process('compare_models', 'calculations/retraining'),
            data('goectp.model', 'the better of the two'),
            process('should_stop', 'core/selection/stopping'),
        ],
    ],
    'label': [
        [
            data('StructureData'),
            process('engine work chain', 'workflows/dfpt/ENGINE'),
            process('DFPT jobs', 'VASP or Quantum ESPRESSO'),
            process('collect, rotate back', 'workflows/dfpt/ENGINE/collect'),
            data('goectp.dielectric', 'tensors with their cell'),
        ],
        [
            process('quality gates', 'core/dielectric/gates'),
            data('verdict', 'accepted, electronic-only, …'),
            process('joining', 'core/datasets/joining'),
            data('goectp.dataset', 'functional, origin, gates'),
            process('training', 'core/learning/train'),
        ],
    ],
}
LOOPS = {'campaign': (5, 1, 'until a stop rule applies')}
"""flow → (from box, to box, text) of an arrow back below the last row"""


def draw(name: str) -> None:
    """Draw a flow to its SVG file; equal input gives equal bytes."""
    rows = FLOWS[name]
    columns = max(len(row) for row in rows)
    width, height = columns * (WIDTH + GAP), len(rows) * LEADING + (0.45 if name in LOOPS else 0)
    figure, axes = plt.subplots(figsize=(width * 0.72, height * 0.72))
    axes.set_xlim(0, width)
    axes.set_ylim(-height, 0)
    axes.axis('off')
    centres = [[_place(row, column) for column in range(len(boxes))] for row, boxes in enumerate(rows)]
    for row, boxes in enumerate(rows):
        for column, box in enumerate(boxes):
            _box(axes, box, *centres[row][column])
            if column:
                _arrow(axes, _side(centres[row][column - 1], 1), _side(centres[row][column], -1))
        if row:
            _turn(axes, centres[row - 1][-1], centres[row][0])
    if name in LOOPS:
        _loop(axes, centres[-1], *LOOPS[name])
    with plt.rc_context({'svg.hashsalt': name, 'svg.fonttype': 'path'}):
        figure.savefig(FIGURES / f'{name}.svg', bbox_inches='tight', metadata={'Date': None, 'Creator': None})
    plt.close(figure)


def _place(row: int, column: int) -> tuple[float, float]:
    return GAP / 2 + WIDTH / 2 + column * (WIDTH + GAP), -LEADING / 2 - row * LEADING


def _side(centre: tuple[float, float], sign: int) -> tuple[float, float]:
    return centre[0] + sign * WIDTH / 2, centre[1]


def _box(axes: plt.Axes, box: Box, x: float, y: float) -> None:
    shape = 'round,pad=0,rounding_size=0.25' if box.kind == 'data' else 'square,pad=0'
    axes.add_patch(
        FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2),
            WIDTH,
            HEIGHT,
            boxstyle=shape,
            facecolor=FILL[box.kind],
            edgecolor='#333333',
            linestyle='--' if box.kind == 'file' else '-',
        )
    )
    axes.text(x, y + (0.15 if box.place else 0), box.title, ha='center', va='center', fontsize=8.5, weight='bold')
    if box.place:
        axes.text(x, y - 0.17, box.place, ha='center', va='center', fontsize=6.6, color='#333333')


def _arrow(axes: plt.Axes, start: tuple[float, float], end: tuple[float, float], style: str = 'arc3') -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle='-|>', mutation_scale=10, color='#333333', connectionstyle=style)
    )


def _turn(axes: plt.Axes, last: tuple[float, float], first: tuple[float, float]) -> None:
    """Draw the arrow from the last box of a row to the first box of the next row."""
    middle = (last[1] + first[1]) / 2
    axes.plot([last[0], last[0], first[0]], [last[1] - HEIGHT / 2, middle, middle], color='#333333', linewidth=1)
    _arrow(axes, (first[0], middle), (first[0], first[1] + HEIGHT / 2))


def _loop(axes: plt.Axes, centres: list[tuple[float, float]], start: int, end: int, text: str) -> None:
    (x1, y), (x0, _) = centres[start], centres[end]
    low = y - HEIGHT / 2 - 0.35
    axes.plot([x1, x1, x0], [y - HEIGHT / 2, low, low], color='#333333', linewidth=1)
    _arrow(axes, (x0, low), (x0, y - HEIGHT / 2))
    axes.text((x0 + x1) / 2, low + 0.06, text, ha='center', va='bottom', fontsize=7.5, style='italic')


if __name__ == '__main__':
    FIGURES.mkdir(exist_ok=True)
    for flow in FLOWS:
        draw(flow)

"""Drawing of a directed acyclic graph in layers, from top to bottom, as SVG.

Layers by the longest path; order within a layer by barycentres (Sugiyama, Tagawa, Toda, IEEE Trans. SMC 11, 109
(1981)), with a dummy box where an arrow crosses a layer; places by weighted isotonic regression.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

import numpy as np

from aiida_goectp.core.formats.terminal import printable

__all__ = ('Box', 'draw_layers')

_WIDTH, _HEIGHT, _GAP, _LEADING, _MARGIN = 200.0, 42.0, 22.0, 34.0, 12.0
"""pixels: size of a box, distance of boxes and of layers, margin"""
_DUMMY_WIDTH = 14.0
_FILL = {'data': '#dbe9f6', 'process': '#fdeacc'}
_LINE = '#333333'
_MAX_TEXT = 28
"""characters that fit into a box"""
_SWEEPS = 8
_TO_AXIS = 0.1
"""weight of the vertical axis of the graph beside that of a neighbour"""
_LONGEST = 6
"""layers that an arrow from data may cross"""


@dataclass(eq=False)
class Box:
    """A box of the graph: ``data`` (rounded) or ``process`` (square); empty for a place where an arrow passes."""

    kind: str
    title: str = ''
    detail: str = ''
    layer: int = 0
    x: float = 0.0
    repeated: bool = False
    """drawn again, near a reader"""

    @property
    def width(self) -> float:
        """Pixels."""
        return _WIDTH if self.kind else _DUMMY_WIDTH

    @property
    def weight(self) -> float:
        """How much the places of others depend on this box: little on data that is drawn again."""
        return 0.05 if self.repeated else 1.0

    @property
    def y(self) -> float:
        """Upper edge in pixels."""
        return _MARGIN + self.layer * (_HEIGHT + _LEADING)


def draw_layers(boxes: Sequence[Box], edges: Sequence[tuple[Box, Box]]) -> str:
    """Return an SVG image; equal input gives equal bytes.

    :param boxes: sources before what they lead to, at least one
    :param edges: pairs of boxes without a cycle
    """
    _set_layers(boxes, edges)
    boxes, edges = _with_repeated(boxes, edges)
    paths, links = _with_dummies(edges)
    members = {id(box): box for box in [*boxes, *(box for path in paths for box in path)]}.values()
    layers = [[box for box in members if box.layer == layer] for layer in range(1 + max(box.layer for box in boxes))]
    above, below = defaultdict(list), defaultdict(list)
    for first, second in links:
        below[id(first)].append(second)
        above[id(second)].append(first)
    both = defaultdict(list, {id(box): above[id(box)] + below[id(box)] for box in members})
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            _arrange(layer, above if down else below)
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            _arrange(layer, both, reorder=False)
    left = min(box.x - box.width / 2 for layer in layers for box in layer)
    for layer in layers:
        for box in layer:
            box.x += _MARGIN - left
    width = max(box.x + box.width / 2 for layer in layers for box in layer) + _MARGIN
    height = len(layers) * (_HEIGHT + _LEADING) - _LEADING + 2 * _MARGIN
    return _svg(boxes, paths, width, height)


def _set_layers(boxes: Sequence[Box], edges: Sequence[tuple[Box, Box]]) -> None:
    """Set the layer of each box: one below its lowest source; a box without source is just above its first reader."""
    sources = {id(second) for _, second in edges}
    for _ in boxes:
        changed = False
        for first, second in edges:
            if second.layer <= first.layer:
                second.layer, changed = first.layer + 1, True
        if not changed:
            break
    for box in boxes:
        readers = [second.layer for first, second in edges if first is box]
        if id(box) not in sources and readers:
            box.layer = min(readers) - 1


def _with_repeated(boxes: Sequence[Box], edges: Sequence[tuple[Box, Box]]) -> tuple[list[Box], list[tuple[Box, Box]]]:
    """Return boxes and edges in which data is drawn again, dashed, just above a reader that is far below."""
    repeated: dict[tuple[int, int], Box] = {}
    found = []
    for first, second in edges:
        if first.kind == 'data' and second.layer - first.layer > _LONGEST:
            place = (id(first), second.layer)
            again = Box(first.kind, first.title, first.detail, second.layer - 1, repeated=True)
            found.append((repeated.setdefault(place, again), second))
        else:
            found.append((first, second))
    return [*boxes, *repeated.values()], found


def _with_dummies(edges: Iterable[tuple[Box, Box]]) -> tuple[list[list[Box]], list[tuple[Box, Box]]]:
    """Return each edge as a path with one box in each layer, and all pairs of neighbours in these paths."""
    paths = []
    for first, second in edges:
        between = [Box('', layer=layer) for layer in range(first.layer + 1, second.layer)]
        paths.append([first, *between, second])
    return paths, [pair for path in paths for pair in pairwise(path)]


def _arrange(layer: list[Box], neighbours: dict[int, list[Box]], reorder: bool = True) -> None:
    """Order the boxes of a layer by the mean place of their neighbours, and place them near it without overlap.

    The weighted sum of the squared distances from the wanted places is minimal: no sweep moves the graph to one side.
    """
    wanted = {id(box): _mean_place(neighbours[id(box)], box.x) for box in layer}
    for place, box in enumerate(box for box in layer if box.repeated):
        wanted[id(box)] += 1.0 + place if place % 2 else -1.0 - place  # to both sides of the reader in turn
    if reorder:
        layer.sort(key=lambda box: wanted[id(box)])
    widths = np.array([box.width for box in layer])
    offsets = np.concatenate([[0.0], np.cumsum((widths[:-1] + widths[1:]) / 2 + _GAP)])
    targets = np.array([wanted[id(box)] for box in layer]) - offsets
    places = _ascending(targets, np.array([box.weight for box in layer])) + offsets
    for box, place in zip(layer, places.tolist(), strict=True):
        box.x = place


def _mean_place(boxes: Sequence[Box], place: float) -> float:
    """Return the mean place of boxes, drawn slightly to the axis x = 0; without boxes the given place."""
    weights = [box.weight for box in boxes]
    total = sum(weight * box.x for weight, box in zip(weights, boxes, strict=True))
    return total / (sum(weights) + _TO_AXIS) if boxes else place


def _ascending(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the ascending numbers nearest to given ones by weighted least squares: runs that descend get their mean.

    Isotonic regression by pooling adjacent violators (Best, Chakravarti, Math. Program. 47, 425 (1990)).

    :param values: (n,)
    :param weights: (n,), positive
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, size = value, weight, 1
        while pools and pools[-1][0] > mean:
            before, more, number = pools.pop()
            mean = (before * more + mean * total) / (more + total)
            total, size = more + total, number + size
        pools.append((mean, total, size))
    return np.repeat([mean for mean, _, _ in pools], [size for _, _, size in pools])


def _svg(boxes: Sequence[Box], paths: Sequence[Sequence[Box]], width: float, height: float) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="system-ui, \'Noto Sans\', \'DejaVu Sans\', sans-serif" role="img" '
        'aria-label="Provenance graph">',
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{_LINE}"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        *(_arrow(path) for path in paths),
        *(_drawn(box) for box in boxes),
        '</svg>',
    ]
    return '\n'.join(parts)


def _arrow(path: Sequence[Box]) -> str:
    first, *rest = path
    text = f'M{first.x:.1f} {first.y + _HEIGHT:.1f}'
    y = first.y + _HEIGHT
    for box in rest:
        top, bend = box.y, _LEADING / 2
        text += f'C{_previous(path, box).x:.1f} {y + bend:.1f} {box.x:.1f} {top - bend:.1f} {box.x:.1f} {top:.1f}'
        y = top
        if not box.kind:
            y = top + _HEIGHT
            text += f'V{y:.1f}'
    return f'<path d="{text}" fill="none" stroke="{_LINE}" stroke-width="1.2" marker-end="url(#arrow)"/>'


def _previous(path: Sequence[Box], box: Box) -> Box:
    return path[list(path).index(box) - 1]


def _drawn(box: Box) -> str:
    radius = 12 if box.kind == 'data' else 0
    title = printable(box.title)
    dashes = ' stroke-dasharray="5 3"' if box.repeated else ''
    return (
        f'<g><title>{escape(title)}, {escape(printable(box.detail))}</title>'
        f'<rect x="{box.x - _WIDTH / 2:.1f}" y="{box.y:.1f}" width="{_WIDTH:.0f}" height="{_HEIGHT:.0f}" rx="{radius}" '
        f'fill="{_FILL[box.kind]}" stroke="{_LINE}"{dashes}/>'
        f'<text x="{box.x:.1f}" y="{box.y + 17:.1f}" text-anchor="middle" font-size="12.5" font-weight="600" '
        f'fill="#111111">{escape(_shortened(title))}</text>'
        f'<text x="{box.x:.1f}" y="{box.y + 33:.1f}" text-anchor="middle" font-size="11" fill="#333333">'
        f'{escape(_shortened(printable(box.detail)))}</text></g>'
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT // 2 - 1] + '…' + text[-_MAX_TEXT // 2 :]

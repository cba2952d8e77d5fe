"""Readable provenance: the data and the processes that lead to a result, equal steps drawn once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.report.layered import Box, draw_layers

__all__ = ('Step', 'provenance_steps', 'provenance_svg')

_NAMES: dict[type, str] = {
    CrystalsData: 'crystals',
    DatasetData: 'dataset',
    DielectricData: 'DFPT response',
    ModelData: 'model',
    PicksData: 'picks',
    PredictionsData: 'predictions',
    RankingData: 'ranking',
    orm.StructureData: 'structure',
    orm.SinglefileData: 'file',
    orm.List: 'list',
    orm.Dict: 'dictionary',
}
"""drawn types of data; settings, codes and folders of jobs are not drawn"""
_FULL_ROUNDS = 3
"""a campaign with more rounds is drawn with its first and last round, and one box for the others"""
_ROUND = re.compile(r'round_(\d+)_')


@dataclass
class Step:
    """A box of the graph: equal nodes, all data or all processes."""

    kind: str
    """data or process"""
    name: str
    members: list[Any] = field(default_factory=list)
    """nodes"""
    sources: list[Step] = field(default_factory=list)
    """boxes from which an arrow leads to this one"""


def provenance_svg(node: orm.Node) -> str:
    """Return an SVG image of the provenance of a process or of a data node.

    :raises ValueError: a node without any data that is drawn
    """
    steps = provenance_steps(node)
    boxes = {id(step): Box(step.kind, *_texts(step)) for step in steps}
    edges = [(boxes[id(source)], boxes[id(step)]) for step in steps for source in step.sources]
    return draw_layers(list(boxes.values()), edges)


def provenance_steps(node: orm.Node) -> list[Step]:
    """Return the boxes of the provenance graph, sources first.

    The graph begins with the outputs of the process, or with the data node, and goes back to data without creator.
    Processes that the process has called are single boxes, with all that they call; so are processes before it. Equal
    steps, such as the shards of a screen, are one box, as are the middle rounds of a campaign.

    :raises ValueError: a node without any data that is drawn
    """
    graph = _Graph(node if isinstance(node, orm.ProcessNode) else None)
    ends = [node] if graph.root is None else _outputs(graph.root)
    graph.walk([item for item in ends if _is_drawn(item)])
    if not graph.data:
        raise ValueError(f'node {node.pk} has no data to draw; give a process with outputs, or a data node')
    return graph.grouped()


def _outputs(process: Any) -> list[Any]:
    """Return what a process returned or created; while it runs, what its calls have."""
    link_types = (LinkType.CREATE, LinkType.RETURN)
    found = process.base.links.get_outgoing(link_type=link_types).all_nodes()
    if found:
        return list(found)
    return [item for call in process.called for item in call.base.links.get_outgoing(link_type=link_types).all_nodes()]


def _is_drawn(node: Any) -> bool:
    if isinstance(node, orm.Dict | orm.List) and node.creator is None:
        return False  # settings
    return isinstance(node, tuple(_NAMES))


def _name(node: Any) -> str:
    """Return what a data node is; for plain lists and dictionaries the name of the output that it was."""
    if isinstance(node, orm.Dict | orm.List):
        links = node.base.links.get_incoming(link_type=(LinkType.RETURN, LinkType.CREATE)).all()
        links.sort(key=lambda link: (link.link_type is LinkType.CREATE, link.node.pk))
        label = str(links[0].link_label).partition('__')[0]
        if label not in ('result', 'output_parameters'):
            return label.replace('_', ' ')
    return next(text for kind, text in _NAMES.items() if isinstance(node, kind))


class _Graph:
    """Data nodes and the processes that create and read them.

    :param root: process whose calls are single boxes; None for the provenance of data
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        self.data: dict[str, Any] = {}
        self.creators: dict[str, Any] = {}
        """UUID of data → process that created it, as it is drawn"""
        self.inputs: dict[str, list[Any]] = {}
        """UUID of a process → data that it reads"""
        self.processes: dict[str, Any] = {}
        self.hidden: dict[str, tuple[int, int]] = {}
        """UUID of a process in the middle rounds → first and last of these rounds"""
        if root is not None:
            self._hide_rounds()

    def _hide_rounds(self) -> None:
        rounds: dict[str, int] = {}
        for link in self.root.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all():
            match = _ROUND.match(link.link_label)
            if match:
                rounds[link.node.uuid] = int(match.group(1))
        last = max(rounds.values(), default=0)
        if last > _FULL_ROUNDS:
            self.hidden = {uuid: (2, last - 1) for uuid, number in rounds.items() if 1 < number < last}

    def walk(self, ends: Iterable[Any]) -> None:
        """Follow data to its creators, and these to their inputs."""
        waiting = list(ends)
        while waiting:
            item = waiting.pop()
            if item.uuid in self.data:
                continue
            self.data[item.uuid] = item
            if item.creator is None:
                continue
            process = self._drawn_process(item.creator)
            self.creators[item.uuid] = process
            if process.uuid not in self.processes:
                self.processes[process.uuid] = process
                links = process.base.links.get_incoming(link_type=(LinkType.INPUT_CALC, LinkType.INPUT_WORK))
                read = {one.uuid: one for one in links.all_nodes() if _is_drawn(one)}
                self.inputs[process.uuid] = list(read.values())
                waiting += self.inputs[process.uuid]

    def _drawn_process(self, process: Any) -> Any:
        """Return the process that the root called and that contains a process; the outermost one if it did not."""
        while process.caller is not None and (self.root is None or process.caller.uuid != self.root.uuid):
            process = process.caller
        return process

    def grouped(self) -> list[Step]:
        """Return the boxes."""
        readers: dict[str, list[str]] = defaultdict(list)
        for uuid, items in self.inputs.items():
            for item in items:
                readers[item.uuid].append(uuid)
        steps: dict[Any, Step] = {}
        of_node: dict[str, Step] = {}

        def process_step(process: Any) -> Step:
            if process.uuid not in of_node:
                sources = {id(step): step for step in map(data_step, self.inputs[process.uuid])}
                between = self.hidden.get(process.uuid)
                key = ('rounds',) if between else (process.process_label, frozenset(sources))
                name = f'rounds {between[0]} to {between[1]}' if between else str(process.process_label)
                step = steps.setdefault(key, Step('process', name))
                step.members.append(process)
                _add_sources(step, sources.values())
                of_node[process.uuid] = step
            return of_node[process.uuid]

        def data_step(item: Any) -> Step:
            if item.uuid not in of_node:
                creator = self.creators.get(item.uuid)
                source = None if creator is None else process_step(creator)
                name = _name(item)
                key = (name, id(source) if source is not None else tuple(sorted(readers[item.uuid])))
                step = steps.setdefault(key, Step('data', name))
                step.members.append(item)
                _add_sources(step, [] if source is None else [source])
                of_node[item.uuid] = step
            return of_node[item.uuid]

        for item in sorted(self.data.values(), key=lambda node: int(node.pk or 0)):
            data_step(item)
        return _without_inner(list(steps.values()))


def _add_sources(step: Step, sources: Iterable[Step]) -> None:
    step.sources += [source for source in sources if all(source is not known for known in step.sources)]


def _without_inner(steps: list[Step]) -> list[Step]:
    """Return the boxes without data that is created and read only within the middle rounds of a campaign."""
    rounds = [step for step in steps if step.kind == 'process' and step.name.startswith('rounds ')]
    if not rounds:
        return steps
    (middle,) = rounds
    readers: dict[int, list[Step]] = defaultdict(list)
    for step in steps:
        for source in step.sources:
            readers[id(source)].append(step)
    inner = {
        id(step)
        for step in steps
        if step.kind == 'data' and step.sources == [middle] and all(item is middle for item in readers[id(step)])
    }
    middle.sources = [step for step in middle.sources if step.sources != [middle]]
    kept = [step for step in steps if id(step) not in inner]
    for step in kept:
        step.sources = [source for source in step.sources if id(source) not in inner]
    return kept


def _texts(step: Step) -> tuple[str, str]:
    """Return title and second line of a box."""
    pks = sorted(int(node.pk) for node in step.members)
    number = len(pks)
    where = f'PK {pks[0]}' if number == 1 else f'PK {pks[0]} to {pks[-1]}'
    name = step.name if number == 1 or step.name.startswith('rounds ') else f'{step.name} × {number}'
    if step.kind == 'process':
        failed = sum(1 for node in step.members if node.is_finished and not node.is_finished_ok)
        return name, where + (f', {failed} failed' if failed else '')
    (first, *_) = step.members
    size = ''
    if number == 1 and isinstance(first, CrystalsData | PredictionsData | DatasetData | RankingData | PicksData):
        size = f'{len(first):,} rows, '
    elif number == 1 and isinstance(first, ModelData):
        size = f'{first.card.name}, '
    elif number == 1 and isinstance(first, orm.SinglefileData):
        size = f'{first.filename}, '
    return name, size + where

"""Provenance graphs: boxes, arrows, grouping, and the drawing."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.report.layered import Box, draw_layers
from aiida_goectp.report.provenance import provenance_steps, provenance_svg
from tests.cli.runner import flat, invoke
from tests.conftest import textbook
from tests.workflows.campaign.campaign import screened


@pytest.fixture(scope='module')
def selection(empty_profile):
    inputs, _ = screened(textbook())
    return inputs['selection']


def names_of(steps):
    return {id(step): f'{step.name} × {len(step.members)}' for step in steps}


def test_boxes_lead_from_the_file_to_the_selection(selection):
    steps = provenance_steps(selection)
    names = names_of(steps)
    assert list(names.values()) == [
        *('file × 1', 'import_structures × 1', 'crystals × 1', 'predict × 1', 'predictions × 1'),
        *('rank_crystals × 1', 'ranking × 1', 'select_top × 1', 'selection × 1'),
    ]
    sources = {step.name: sorted(source.name for source in step.sources) for step in steps}
    assert sources['rank_crystals'] == ['crystals', 'predictions']
    assert sources['select_top'] == ['crystals', 'ranking']
    assert sources['file'] == []


def some_campaign(rounds):
    """Return a work chain that has called two steps a round, each with the data of the one before."""
    root = orm.WorkChainNode()
    root.set_process_label('ActiveLearningWorkChain')
    root.store()
    data = orm.Dict({}).store()
    made = orm.CalcFunctionNode()
    made.set_process_label('begin')
    made.base.links.add_incoming(root, LinkType.CALL_CALC, 'begin_history')
    made.store()
    data = orm.Dict({})
    data.base.links.add_incoming(made, LinkType.CREATE, 'history')
    data.store()
    for number in range(1, rounds + 1):
        for step in ('pick', 'record'):
            call = orm.CalcFunctionNode()
            call.set_process_label(step)
            call.base.links.add_incoming(data, LinkType.INPUT_CALC, 'history')
            call.base.links.add_incoming(root, LinkType.CALL_CALC, f'round_{number:02d}_{step}')
            call.store()
            data = orm.Dict({})
            data.base.links.add_incoming(call, LinkType.CREATE, 'history')
            data.store()
    data.base.links.add_incoming(root, LinkType.RETURN, 'history')
    return root


@pytest.mark.parametrize(('rounds', 'boxes'), [(3, 14), (9, 12)])
def test_middle_rounds_of_a_campaign_are_one_box(aiida_profile, rounds, boxes):
    steps = provenance_steps(some_campaign(rounds))
    assert len(steps) == boxes
    middle = [step for step in steps if step.name.startswith('rounds')]
    assert [step.name for step in middle] == ([] if rounds == 3 else ['rounds 2 to 8'])
    assert [len(step.members) for step in middle] == ([] if rounds == 3 else [14])


def test_equal_steps_are_one_box(aiida_profile):
    crystals, shards = orm.SinglefileData.from_string('a').store(), []
    for _ in range(3):
        call = orm.CalcFunctionNode()
        call.set_process_label('predict')
        call.base.links.add_incoming(crystals, LinkType.INPUT_CALC, 'crystals')
        call.store()
        part = orm.SinglefileData.from_string('b')
        part.base.links.add_incoming(call, LinkType.CREATE, 'predictions')
        shards.append(part.store())
    merge = orm.CalcFunctionNode()
    merge.set_process_label('merge')
    for number, part in enumerate(shards):
        merge.base.links.add_incoming(part, LinkType.INPUT_CALC, f'part_{number}')
    merge.store()
    end = orm.SinglefileData.from_string('c')
    end.base.links.add_incoming(merge, LinkType.CREATE, 'result')
    names = names_of(provenance_steps(end.store()))
    assert list(names.values()) == ['file × 1', 'predict × 3', 'file × 3', 'merge × 1', 'file × 1']


def rectangles(svg):
    root = ElementTree.fromstring(svg)
    found = root.iter('{http://www.w3.org/2000/svg}rect')
    size = [float(root.get(name)) for name in ('width', 'height')]
    return size, [[float(one.get(key)) for key in ('x', 'y', 'width', 'height')] for one in found if one.get('x')]


def test_boxes_are_inside_and_do_not_overlap(selection):
    (width, height), boxes = rectangles(provenance_svg(selection))
    assert len(boxes) == 9
    for place, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for other_x, other_y, *_ in boxes[place + 1 :]:
            assert abs(other_x - x) >= w or abs(other_y - y) >= h


def test_texts_are_escaped():
    boxes = [Box('data', '<script>alert(1)</script>', 'a & b'), Box('process', 'x\x1b[31m')]
    svg = draw_layers(boxes, [(boxes[0], boxes[1])])
    assert '<script' not in svg
    assert '\x1b' not in svg
    assert ElementTree.fromstring(svg) is not None


def test_command(selection, tmp_path):
    path = tmp_path / 'graph.svg'
    invoke('graph', selection.pk, '-o', path)
    assert path.read_text().startswith('<svg')
    assert invoke('graph', selection.pk, '-o', '-').strip() == path.read_text().strip()
    assert '--force' in flat(invoke('graph', selection.pk, '-o', path, status=2))
    assert '.svg' in flat(invoke('graph', selection.pk, '-o', tmp_path / 'graph.png', status=2))
    empty = orm.WorkChainNode().store()
    assert 'no data to draw' in flat(invoke('graph', empty.pk, '-o', tmp_path / 'none.svg', status=2))


def test_data_that_is_read_far_below_is_drawn_again():
    boxes = [Box('data' if place % 2 == 0 else 'process', str(place)) for place in range(10)]
    edges = [*pairwise(boxes), (boxes[0], boxes[9])]
    svg = draw_layers(boxes, edges)
    assert svg.count('stroke-dasharray') == 1
    assert svg.count('<title>0, ') == 2
    assert svg.count('marker-end') == len(edges)


def test_a_long_chain_stays_on_its_axis():
    """Data that is drawn again beside each reader does not move the later steps to one side."""
    shared = [Box('data', f'shared {number}') for number in range(3)]
    boxes, edges, last = [*shared], [], shared[0]
    for number in range(20):
        step, made = Box('process', f'step {number}'), Box('data', f'made {number}')
        edges += [(source, step) for source in dict.fromkeys((last, *shared))] + [(step, made)]
        boxes += [step, made]
        last = made
    (width, _), found = rectangles(draw_layers(boxes, edges))
    assert len(found) > 80
    assert width < 1100
    steps = [box.x for box in boxes if box.kind == 'process']
    assert max(steps) - min(steps) < 150
    for place, (x, y, w, h) in enumerate(found):
        for other_x, other_y, *_ in found[place + 1 :]:
            assert abs(other_x - x) >= w or abs(other_y - y) >= h

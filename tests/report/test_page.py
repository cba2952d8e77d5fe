"""Report pages: content, escaping, errors, and use in a browser."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from aiida import orm
from aiida.common.extendeddicts import AttributeDict

from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.report.asked import asked
from aiida_goectp.report.candidates import Computed, candidates_of_ranking
from aiida_goectp.report.page import report_html
from aiida_goectp.report.payload import payload
from aiida_goectp.report.results import load_result
from aiida_goectp.report.tables import failure_tables, summary
from tests.cli.runner import flat, invoke
from tests.report.conftest import HOSTILE
from tests.report.screens import data_of


@pytest.fixture(scope='module')
def html(screen):
    return report_html(screen)


class Tags(HTMLParser):
    """Tags, addresses, and text outside of scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ('src', 'href')]
        assert not [name for name, _ in attributes if name.startswith('on')]

    def handle_data(self, text):
        self.texts.append(text)


def test_candidates_are_in_the_order_of_their_rank(html, screen):
    data = data_of(html)
    ranking = screen.outputs.ranking.ranking
    columns = data['columns']
    assert columns['rank'][:4] == [1, 2, 3, 4]
    assert columns['id'][:4] == [str(name) for name in ranking.ids[ranking.top()]]
    assert columns['selected'] == [1, 1, 1, 0, 0, 0, 0]
    row = columns['id'].index('MgO')
    assert columns['gap'][row] == 7.8
    assert columns['electronic'][row] == pytest.approx(3.0)
    assert columns['total_std'][row] == pytest.approx(0.45)
    assert columns['score'][row] == pytest.approx(7.8 * 4.5)
    assert columns['score_std'][row] == pytest.approx(7.8 * 0.45, rel=1e-3)
    assert data['tensors'][row][2] == pytest.approx([4.5, 4.5, 4.5, 0, 0, 0])
    lattice, numbers, positions = data['crystals'][row]
    assert (len(lattice), numbers, len(positions)) == (9, [12, 8], 6)
    assert data['elements']['12'][0] == 'Mg'
    failed = columns['id'].index('GaAs')
    assert (columns['rank'][failed], columns['total'][failed], data['tensors'][failed]) == (0, None, None)
    assert 'made to fail' in columns['reason'][failed]
    assert data['crystals'][columns['id'].index('broken.cif')] is None


def test_front_and_lines_of_equal_merit(html):
    data = data_of(html)
    for value, gaps, permittivities in data['lines']:
        for gap, permittivity in zip(gaps, permittivities, strict=True):
            assert gap * permittivity == pytest.approx(value, rel=2e-3)
    columns = data['columns']
    front = [(columns['gap'][row], columns['total'][row]) for row in data['front']]
    assert front == sorted(front)
    assert [value for _, value in front] == sorted((value for _, value in front), reverse=True)


def test_nothing_is_loaded_and_nothing_runs_that_came_from_a_file(html):
    assert html.count('</script>') == 3
    parser = Tags()
    parser.feed(html)
    assert parser.tags.count('script') == 3
    assert all(address.startswith(('#', 'data:')) for address in parser.addresses)
    assert '<img src=x' not in html
    assert HOSTILE in data_of(html)['columns']['id']
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src 'unsafe-inline'" not in policy


def test_sections(html, screen):
    parser = Tags()
    parser.feed(html)
    text = ' '.join(' '.join(parser.texts).split())
    for part in ('band gap (eV) ≥ 1.2', 'gap_total = Eg · ε_poly', 'tiny', 'broken.cif', 'cut off', 'arxiv.org/abs'):
        assert part in text, part
    assert str(screen.inputs.crystals.pk) in text
    assert 'rank_crystals' in text  # provenance


def test_failed_rows_are_not_crystals(screen):
    numbers = dict(summary(load_result(screen)))
    assert [numbers[name] for name in ('crystals', 'ranked', 'excluded', 'could not be read')] == ['6', '4', '2', '1']
    assert f'Which of the 6 crystals of node {screen.inputs.crystals.pk} ' in asked(load_result(screen))[0]


def test_only_accepted_parts_are_compared(screen):
    """Of two accepted results one has no prediction; the ionic parts of the others are not valid."""
    result = load_result(screen)
    averages = {'electronic': 2.0, 'ionic': 1.0, 'total': 3.0}
    labels = ('accepted', 'electronic-only', 'refused')
    computed = {row: Computed(label, averages=averages) for row, label in enumerate(labels)}
    failed = result.candidates.ids.tolist().index('GaAs')
    computed[failed] = Computed('accepted', averages=averages)
    rows = replace(result.candidates, computed=computed)
    outputs = AttributeDict({'summary': orm.Dict({'core_hours': 1.0})})
    verification = SimpleNamespace(outputs=outputs)
    numbers = dict(summary(replace(result, candidates=rows, verifications=(verification,))))
    assert numbers['mean relative error of ε total, 1 accepted'] == f'{abs(rows.averages["total"][0] / 3 - 1):.0%}'
    found = {row: item['accepted'] for row, item in payload(rows)['computed'].items()}
    assert found == {'0': list(PARTS), '1': ['electronic'], '2': [], str(failed): list(PARTS)}


def test_outputs_stand_for_their_process(screen):
    assert load_result(screen.outputs.ranking).process.pk == screen.pk
    assert load_result(screen.outputs.selection).process.pk == screen.pk


def test_first_candidates_only(screen):
    html = report_html(screen, max_candidates=2)
    assert len(data_of(html)['columns']['id']) == 2
    assert '5 more are in the nodes' in html


def test_number_of_atoms_in_a_page_is_bounded(screen, monkeypatch):
    candidates = load_result(screen).candidates
    first = sum(len(candidates.crystals[row].atomic_numbers) for row in range(3))
    monkeypatch.setattr('aiida_goectp.report.payload.MAX_ATOMS', first)
    html = report_html(screen)
    found = data_of(html)
    assert [row for row, crystal in enumerate(found['crystals']) if crystal is not None] == [0, 1, 2]
    assert f'without those of {len(candidates.crystals) - 3} crystals' in html
    assert len(found['columns']['formula']) == len(candidates)


def test_limit_keeps_counts_and_rows(screen):
    whole, part = load_result(screen), load_result(screen, 1, ['GaAs'])
    assert summary(part) == summary(whole)
    assert failure_tables(part) == failure_tables(whole)
    assert (len(whole.candidates), len(part.candidates), part.candidates.omitted) == (7, 2, 5)
    assert part.candidates.ids.tolist() == [str(whole.candidates.ids[0]), 'GaAs']
    for name in ('rank', 'score', 'score_std', 'gap'):
        assert getattr(part.candidates, name)[0] == getattr(whole.candidates, name)[0]
    np.testing.assert_array_equal(part.candidates.tensors['total'][0], whole.candidates.tensors['total'][0])
    assert [crystal.id for crystal in part.candidates.crystals.values()] == part.candidates.ids.tolist()


def test_rows_with_a_dft_result_are_kept_beyond_the_limit(screen):
    ranking, inputs = screen.outputs.ranking.ranking, screen.inputs
    row = int(np.argmax(ranking.rank))
    key = str(ranking.ids[row]), str(ranking.hashes[row])
    computed = {key: Computed('accepted')}
    with screen.outputs.ranking.open_rows() as file:
        found = candidates_of_ranking(file, inputs.crystals, screen.outputs.predictions, (), computed, limit=1)
    assert found.rank.tolist() == [1, int(ranking.rank[row])]
    assert found.computed == {1: computed[key]}
    assert found.averages['total'][1] == ranking.total[row]


def test_command(screen, tmp_path):
    path = tmp_path / 'out.html'
    assert str(path) in flat(invoke('report', screen.pk, '--html', path)).replace(' ', '')
    assert path.read_text().startswith('<!DOCTYPE html>')
    assert '--force' in flat(invoke('report', screen.pk, '--html', path, status=2))
    assert invoke('report', screen.outputs.ranking.pk, '--html', path, '--force')


def test_other_nodes_are_refused(screen, tmp_path):
    number = orm.Int(1).store()
    for node in (number, screen.outputs.ranking.creator):
        output = flat(invoke('report', node.pk, '--html', tmp_path / 'never.html', status=2))
        assert str(node.pk) in output
        assert 'expected a screen' in output
    unfinished = orm.WorkChainNode()
    unfinished.set_process_label('ScreenWorkChain')
    unfinished.store()
    assert 'no ranking' in flat(invoke('report', unfinished.pk, '--html', tmp_path / 'never.html', status=2))

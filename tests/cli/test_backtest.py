"""``aiida-goectp backtest`` on a file, to its table and figure."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from aiida_goectp.cli.backtest import _training, backtest
from aiida_goectp.cli.views.backtests import discovery_table
from aiida_goectp.core.selection.backtest import summarise
from tests import tiny
from tests.cli.runner import flat
from tests.core.selection.backtest.toy import toy_dataset

OPTIONS = ['--top-k', '5', '--start', '30', '--batch', '6', '--budget', '12', '--seeds', '1', '--device', 'cpu']


@pytest.fixture(autouse=True)
def one_thread():
    tiny.one_thread()


@pytest.fixture
def data(tmp_path):
    toy_dataset(70).save(tmp_path / 'dataset.npz')
    (tmp_path / 'settings.json').write_text('{"preset": "descriptors", "options": {"width": 8}, "epochs": 1}')
    (tmp_path / 'policy.json').write_text('{"folds": 2}')
    return tmp_path


def invoke(data, *more):
    files = ['--settings', data / 'settings.json', '--policy', data / 'policy.json', '--output', data / 'out']
    return CliRunner().invoke(backtest, [str(item) for item in (data / 'dataset.npz', *OPTIONS, *files, *more)])


def test_table_results_and_figure_of_a_resumed_backtest(data):
    result = invoke(data, '--acquisition', 'greedy')
    assert result.exit_code == 0, result.output
    assert '30 labels at the start, 40 candidates' in result.output
    assert 'greedy, seed 0' in result.output
    for word in ('labels for 80%', 'random', 'perfect', 'found with 12 (%)'):
        assert word in result.output
    results = json.loads((data / 'out' / 'results.json').read_text())
    assert results['acquisitions'][0]['labels'] == [0, 6, 12]
    assert results['settings']['filters']['unseen_elements']
    assert (data / 'out' / 'discovery.png').stat().st_size > 5000
    again = invoke(data, '--acquisition', 'greedy', '--acquisition', 'random')
    assert again.exit_code == 0, again.output
    assert 'resuming' in again.output
    printed = invoke(data, '--acquisition', 'greedy', '--quiet', '--json')
    assert json.loads(printed.stdout) == json.loads((data / 'out' / 'results.json').read_text())
    raw = [line.split('\t') for line in invoke(data, '--acquisition', 'greedy', '--raw').stdout.splitlines()]
    assert [line[0] for line in raw] == ['greedy', 'random', 'perfect']
    other = invoke(data, '--acquisition', 'greedy', '--top-k', '6')
    assert other.exit_code == 2
    assert str(data / 'out') in flat(other.output)


@pytest.mark.parametrize('before', [{'software': {'sources': 'earlier'}}, {}])
def test_rounds_of_other_software_are_not_continued(data, before):
    assert invoke(data, '--acquisition', 'greedy').exit_code == 0
    settings, results = data / 'out' / 'settings.json', (data / 'out' / 'results.json').read_bytes()
    found = json.loads(settings.read_text())
    del found['software']
    settings.write_text(json.dumps(found | before))
    again = invoke(data, '--acquisition', 'greedy', '--acquisition', 'random')
    assert again.exit_code == 2
    assert f'sources {"earlier" if before else None}' in flat(again.output)
    assert (data / 'out' / 'results.json').read_bytes() == results


def test_pruning_is_part_of_the_identity_and_its_share_is_printed(data):
    result = invoke(data, '--acquisition', 'greedy', '--budget', '18', '--pruning', 'margin=1,every=2')
    assert result.exit_code == 0, result.output
    share = json.loads((data / 'out' / 'results.json').read_text())['acquisitions'][0]['predicted']
    assert 0 < share <= 1
    assert f'greedy: {share:.0%} as many predictions' in result.output
    other = invoke(data, '--acquisition', 'greedy', '--budget', '18')
    assert other.exit_code == 2
    assert str(data / 'out') in flat(other.output)
    assert json.loads((data / 'out' / 'settings.json').read_text())['backtest']['pruning']['margin'] == 1


def test_initial_model_gives_its_architecture_and_a_warning(data):
    model = tiny.write_model(data / 'model.safetensors')
    (data / 'settings.json').write_text('{"epochs": 1, "layer_augmentation_copies": 0}')
    result = invoke(data, '--acquisition', 'greedy', '--budget', '6', '--model', model)
    assert result.exit_code == 0, result.output
    assert 'Warning' in result.output
    line = json.loads((data / 'out' / 'greedy' / 'seed-0.jsonl').read_text().splitlines()[-1])
    assert line['round']['retrained']
    assert 'failed' not in line['round']['retraining_reason']


@pytest.mark.parametrize(('start', 'preset'), [(199, 'descriptors'), (200, 'force_constants')])
def test_labels_with_force_constants_are_learned_from_them(start, preset):
    labels = toy_dataset(20)
    atoms = len(labels.crystals.atomic_numbers)
    whole = replace(
        labels, force_constants=np.zeros((2 * atoms, 3, 3), np.float32), born_charges=np.zeros((atoms, 3, 3))
    )
    assert _training(None, None, whole, start).preset == preset
    assert _training(None, None, labels, start).preset == 'descriptors'


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        (['--acquisition', 'greedi'], "'greedi'"),
        (['--figure-of-merit', 'best'], "'best'"),
        (['--figure-of-merit', 'gap_total'], 'band_gap'),
        (['--start', '66'], '71'),
        (['--batch', '0'], '--batch'),
        (['--model', 'nothing'], 'nothing'),
        (['--device', 'abacus'], 'abacus'),
        (['--pruning', 'margin'], 'margin=3'),
        (['--pruning', 'margin=x'], 'margin'),
        (['--pruning', 'margins=3'], "'margin'"),
        (['--pruning', 'every=1', '--acquisition', 'greedy'], 'pruning.every'),
        (['--pruning', 'every=4', '--acquisition', 'random'], 'random'),
    ],
)
def test_invalid_options_are_refused_before_the_first_round(data, options, name):
    result = invoke(data, *options)
    assert result.exit_code == 2, result.output
    assert name in flat(result.output)
    assert not (data / 'out' / 'results.json').exists()


@pytest.mark.parametrize(
    ('name', 'text', 'key'),
    [('settings', '{"epoch": 3}', "'epochs'"), ('policy', '{"mode": "never"}', 'mode')],
)
def test_invalid_files_are_named(data, name, text, key):
    (data / f'{name}.json').write_text(text)
    result = invoke(data)
    assert result.exit_code == 2
    assert f'{name}.json' in result.output
    assert key in result.output


def test_unreached_fractions_are_not_averaged():
    found = summarise('greedy', {0: ([0, 6, 12], [0, 3, 4]), 1: ([0, 6, 12], [0, 1, 3])}, 5)
    cells = [list(column.cells) for column in discovery_table([found], 40, 12).columns]
    greedy, random, perfect = ([str(column[row]) for column in cells] for row in range(3))
    assert greedy == ['greedy', '2', '9 ± 4', '> 12 (1 of 2 seeds reached it)', '> 12', '70 ± 14']
    assert random[3] == f'{4 * 41 / 6:.0f}'
    assert perfect[1:] == ['', '3', '4', '5', '100.0']

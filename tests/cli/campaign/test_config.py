"""The configuration of a campaign: what is right, and what is said of each wrong key before anything is stored."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.campaign.config import CampaignConfig, read_config
from aiida_goectp.cli.campaign.template import TEMPLATE
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import NAME

LEAST = {'pool': 'pool.npz', 'dataset': 'start.npz', 'engine': NAME}


def invoke(*arguments):
    return CliRunner().invoke(main, [str(item) for item in arguments])


def flat(result):
    """Return the output on one line, without the frame that click may draw."""
    return ' '.join(result.output.split())


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a configuration."""

    def put(content):
        path = tmp_path / 'mine.yaml'
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return put


@pytest.fixture
def files(tmp_path, write, write_model, aiida_code_installed, aiida_profile):
    """Write all that a campaign needs beside its configuration; return the least of one that is right."""
    pool = searching.crystals(range(1, 24, 2))
    pool.save(tmp_path / 'pool.npz')
    known = searching.crystals(range(0, 54, 2), 's')
    electronic = np.array([searching.epsilon(crystal) * np.eye(3) for crystal in known])
    names = np.array(['PBE'] * len(known))
    Dataset(known, electronic, 0.5 * electronic, functional=names).save(tmp_path / 'start.npz')
    mixed = np.where(np.arange(len(known)) % 2, 'PBE', 'PBEsol')
    Dataset(known, electronic, 0.5 * electronic, functional=mixed).save(tmp_path / 'mixed.npz')
    write_model('search').rename(tmp_path / 'search.safetensors')
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    return {**LEAST, 'model': 'search.safetensors', 'code': code.full_label, 'dfpt': {'arguments': {'table': {}}}}


def test_the_template_is_valid_and_shows_everything(write):
    result = invoke('campaign', 'template')
    assert result.output == TEMPLATE
    config = read_config(write(result.output))
    assert config.engine == 'quantumespresso'
    everything = '\n'.join(line.removeprefix('# ').replace('  # ', '  ') for line in TEMPLATE.splitlines()[4:])
    for name in CampaignConfig.model_fields:
        assert f'{name}:' in everything or name == 'description', name
    for name in ('picking', 'stop_rules', 'dfpt'):
        for field in CampaignConfig.model_fields[name].annotation.model_fields:
            assert f'{field}:' in everything, (name, field)


def test_what_is_commented_out_in_the_template_is_valid_too(write):
    lines = TEMPLATE.splitlines()[3:]
    text = [line.replace('# ', '', 1) if _is_setting(line) else line for line in lines]
    config = read_config(write('\n'.join(text)))
    assert config.stop_rules.stable_top.k == 10
    assert config.dfpt.codes == {'pw': 'pw@cluster', 'ph': 'ph@cluster'}
    assert config.picking.filters.elements_none == ('Cd', 'Pb')
    assert config.predictions == '1234'


def _is_setting(line):
    bare = line.strip()
    return bare.startswith('# ') and bare[2:].partition(':')[0].isidentifier()


def test_short_and_long_forms():
    short = CampaignConfig(pool=12, dataset='d.npz', engine='vasp')
    assert (short.pool.source, short.dataset.source) == (('12',), 'd.npz')
    long = CampaignConfig(pool={'source': ['a', 'b']}, dataset={'source': 'd.npz'}, engine='vasp', picking=None)
    assert long.pool.source == ('a', 'b')
    assert CampaignConfig(**LEAST, thresholds={'insulating': False}).thresholds == {'insulating': None}
    assert CampaignConfig(**LEAST, stop_rules={'max_rounds': 3}).given('stop_rules') == {'max_rounds': 3}
    assert CampaignConfig(**LEAST).given('picking') == {}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'batchsize': 3}, 'mine.yaml:4: batchsize: no such setting; there are: label, description, pool,'),
        ({'stop_rule': {}}, "mine.yaml:4: stop_rule: no such setting (did you mean 'stop_rules'?)"),
        (
            {'picking': {'batch_sise': 3}},
            "mine.yaml:5: picking.batch_sise: no such setting (did you mean 'batch_size'?)",
        ),
        (
            {'picking': {'batch_size': 0}},
            'mine.yaml:5: picking.batch_size: should be greater than or equal to 1, found 0',
        ),
        ({'picking': {'figure_of_merit': 'gap'}}, "picking.figure_of_merit: unknown figure of merit 'gap'"),
        (
            {'picking': {'filters': {'min_gp': 1}}},
            "mine.yaml:6: picking.filters.min_gp: no such setting (did you mean 'min",
        ),
        ({'picking': {'filters': {'elements_all': ['Xx']}}}, 'mine.yaml:6: picking.filters.elements_all: '),
        (
            {'picking': {'acquisition': {'name': 'gready'}}},
            "acquisition.name: unknown function 'gready'",
        ),
        ({'picking': {'diversity': {'structures': 'x'}}}, 'mine.yaml:6: picking.diversity.structures: '),
        (
            {'stop_rules': {'max_rounds': -1}},
            'mine.yaml:5: stop_rules.max_rounds: should be greater than or equal to 0',
        ),
        ({'stop_rules': {'max_rounds': None}}, 'mine.yaml:4: stop_rules: nothing bounds the campaign; give max_rounds'),
        ({'stop_rules': {'stable_top': 3}}, 'mine.yaml:5: stop_rules.stable_top: '),
        ({'retraining': {'mode': 'finetune'}}, "mine.yaml:5: retraining.mode: should be 'fine-tune' or 'scratch'"),
        ({'retraining': {'folds': 1}}, 'mine.yaml:5: retraining.folds: should be greater than or equal to 2, found 1'),
        ({'training': {'epoch': 1}}, "mine.yaml:5: training.epoch: no such setting (did you mean 'epochs'?)"),
        ({'dfpt': {'code': 'pw@x'}}, "mine.yaml:5: dfpt.code: no such setting (did you mean 'codes'?)"),
        ({'dfpt': {'codes': 'pw@x'}}, 'mine.yaml:5: dfpt.codes: should be a valid dictionary'),
        ({'dfpt': {'wall_time': 3}}, 'mine.yaml:5: dfpt.wall_time: should be greater than or equal to 60, found 3'),
        ({'thresholds': {'beauty': 1}}, "mine.yaml:4: thresholds: no gate is named 'beauty'; there are: scf_converged"),
        ({'thresholds': {'insulating': 'high'}}, 'mine.yaml:5: thresholds.insulating: '),
        ({'pool': {'source': []}}, 'mine.yaml:2: pool.source: '),
        ({'pool': {'sauce': 'a'}}, 'mine.yaml:1: pool.source: is missing; give a value'),
        (
            {'dataset': {'source': 'a', 'functionals': 'PBE'}},
            "dataset.functionals: no such setting (did you mean 'func",
        ),
        ({'gpus': -1}, 'mine.yaml:4: gpus: should be greater than or equal to 0, found -1'),
        ({'seed': 1.5}, 'mine.yaml:4: seed: should be a valid integer'),
        ({'max_concurrent': 0}, 'mine.yaml:4: max_concurrent: should be greater than or equal to 1, found 0'),
        ({'reuse': 'perhaps'}, 'mine.yaml:4: reuse: should be a valid boolean'),
        ({'engine': None}, 'mine.yaml:3: engine: is missing; give a value'),
    ],
)
def test_each_wrong_key_has_its_message(write, changes, message):
    result = invoke('campaign', 'start', write({**LEAST, **changes}))
    assert result.exit_code == 2
    assert message in flat(result)


def test_all_wrong_keys_are_named_at_once(write):
    result = invoke('campaign', 'start', write('pool: 1\npool: 2\nseed: x\npicking:\n  batch_size: y\n'))
    for part in (
        '2: pool: stands there twice',
        '3: seed:',
        '5: picking.batch_size:',
        'dataset: is missing',
        'engine: is',
    ):
        assert part in flat(result)


@pytest.mark.parametrize('text', ['', '- 1', 'a: [', 'pool'])
def test_what_is_no_configuration(write, text):
    result = invoke('campaign', 'start', write(text))
    assert result.exit_code == 2
    assert 'holds no settings; `aiida-goectp campaign template`' in flat(result) or 'no YAML' in flat(result)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'pool': 'pol.npz'}, "pool: 'pol.npz' is no file or folder in"),
        ({'pool': ['pool.npz', 'other']}, 'pool: no file or folder other in'),
        ({'pool': {'source': 'pool.npz', 'properties': 'gaps.csv'}}, 'pool: no file gaps.csv in'),
        ({'dataset': 999999}, "dataset: '999999' is no file or folder in"),
        ({'dataset': 'pool.npz'}, 'dataset: pool.npz: '),
        ({'dataset': {'source': 'start.npz', 'split_file': 'no.json'}}, 'dataset: no file no.json in'),
        ({'model': 'goectp-large'}, "model: 'goectp-large' is no file in"),
        ({'model': 'pool.npz'}, 'model: '),
        ({'code': 'none@localhost'}, 'code: '),
        ({'engine': 'vaps'}, "engine: engine 'vaps'"),
        ({'dfpt': {'arguments': {'tabel': 1}}}, 'dfpt: the engine'),
        ({'dfpt': {'arguments': {'table': {}}, 'potentials': 'PBE'}}, 'takes no potentials'),
        ({'dfpt': {'arguments': {'table': {}}, 'codes': {'pw': 'a@b'}}}, 'dfpt: codes: pw=a@b: say for which role'),
        ({'pool': 'xenon.npz'}, 'TableDfptWorkChain refuses the first 1 candidates; xe: the table has no potential'),
        ({'dataset': 'mixed.npz'}, 'dataset: labels of several functionals (PBE, PBEsol), which no training mixes'),
        ({'predictions': 999999}, 'predictions: '),
        ({'labels': 999999}, 'labels: '),
        ({'split': 'mine'}, "split 'mine': the dataset has none"),
        ({'protocol': 'quick'}, "no protocol is named 'quick'"),
        ({'device': 'gpu'}, "device 'gpu'"),
        ({'overrides': {'predict': {'goectp': {'devise': 1}}}}, 'has no input predict.goectp.devise'),
        ({'overrides': {'colour': 1}}, 'has no input colour'),
        ({'training': {'members': 3}}, 'as many members as there are folds'),
        (
            {'picking': {'figure_of_merit': 'gap_total'}, 'pool': 'bare.npz'},
            'needs the property band_gap; the pool has',
        ),
        ({'picking': {'filters': {'max_hull': 0.1}}}, "'e_above_hull'"),
        ({'picking': {'filters': {'min_gap': 100}}}, 'pool: none of its 12 crystals passes the filters'),
        ({'pool': 'known.npz'}, 'are known from the dataset already'),
    ],
)
def test_what_is_refused_before_anything_is_stored(files, write, tmp_path, changes, message):
    if changes.get('pool') == 'bare.npz':
        replace(searching.crystals(range(1, 24, 2)), properties={}).save(tmp_path / 'bare.npz')
    if changes.get('pool') == 'known.npz':
        Dataset.load(tmp_path / 'start.npz').crystals.save(tmp_path / 'known.npz')
    if changes.get('pool') == 'xenon.npz':
        atom = Crystal('xe', searching.FCC * 6.2, np.array([54], np.int16), np.zeros((1, 3)))
        CrystalSet.from_crystals([atom]).save(tmp_path / 'xenon.npz')
    before = orm.QueryBuilder().append(orm.Node).count()
    result = invoke('campaign', 'start', write({**files, **changes}), '--run')
    assert result.exit_code == 2, result.output
    assert message in flat(result)
    assert orm.QueryBuilder().append(orm.Node).count() == before


def test_all_that_is_not_there_is_named_at_once(files, write):
    result = invoke(
        'campaign',
        'start',
        write({**files, 'pool': 'no', 'dataset': 'nor', 'model': 'not', 'code': 'x@y', 'engine': 'z'}),
    )
    for key in ('pool:', 'dataset:', 'model:', 'code:', 'engine:'):
        assert f' {key} ' in flat(result)


def test_a_dry_run_says_what_would_run_and_stores_nothing(files, write):
    before = orm.QueryBuilder().append(orm.Node).count()
    config = {
        **files,
        'picking': {'batch_size': 3, 'filters': {'min_gap': 2}},
        'stop_rules': {'max_rounds': 2, 'max_core_hours': 5, 'stable_top': {'k': 4}},
        'retraining': {'folds': 3},
        'training': {'epochs': 7},
    }
    result = invoke('campaign', 'start', write(config), '--dry-run')
    assert result.exit_code == 0, result.output
    assert orm.QueryBuilder().append(orm.Node).count() == before
    for part in (
        'mine.yaml is in order; nothing is stored or started',
        '12 crystals (pool.npz), 10 pass the filters, 0 of these are known: 10 candidates',
        'looks for total, by greedy',
        'dataset 27 rows (start.npz), 27 to learn from, of PBE, a split by formula is made',
        'begins with search (',  # the file, or the node of equal content that another test has stored
        'at most 6 calculations in rounds of 3, and 5 core-hours',
        'retrains after each round; fine-tunes 3 members of 7 epochs',
        'stops by max_rounds 2, max_core_hours 5, stable_top (k 4, rounds 3)',
    ):
        assert part in flat(result), part


def test_nodes_instead_of_files(files, write):
    dataset = searching.start_dataset()
    pool = CrystalsData(searching.crystals(range(1, 24, 2))).store()
    model = ModelData.get_or_create('goectp-small')
    config = {**files, 'pool': pool.pk, 'dataset': dataset.uuid, 'model': model.pk}
    result = invoke('campaign', 'start', write(config), '--dry-run')
    assert result.exit_code == 0, result.output
    assert f'12 crystals (node {pool.pk})' in flat(result)
    assert f'begins with goectp-small (node {model.pk})' in flat(result)
    result = invoke('campaign', 'start', write({**config, 'pool': {'source': pool.pk, 'properties': 'x.csv'}}))
    assert 'properties belong to files' in flat(result)


def test_without_a_daemon_nothing_is_stored(files, write):
    before = orm.QueryBuilder().append(orm.Node).count()
    result = invoke('campaign', 'start', write(files))
    assert result.exit_code == 2
    assert 'use --run' in flat(result)
    assert orm.QueryBuilder().append(orm.Node).count() == before

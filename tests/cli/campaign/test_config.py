"""Configuration of a campaign: validation of each key before anything is stored, and the dry run."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from aiida import orm

from aiida_goectp.cli.campaign.config import CampaignConfig, read_config
from aiida_goectp.cli.campaign.plan import candidates
from aiida_goectp.cli.campaign.template import TEMPLATE
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from tests.cli.runner import flat, invoke
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import NAME

MINIMAL = {'pool': 'pool.npz', 'dataset': 'start.npz', 'engine': NAME}


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
    """Write the files of a campaign, and return a minimal valid configuration."""
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
    return {**MINIMAL, 'model': 'search.safetensors', 'code': code.full_label, 'dfpt': {'arguments': {'table': {}}}}


def test_template_is_valid_and_contains_every_key(write):
    output = invoke('campaign', 'template')
    assert output == TEMPLATE
    assert read_config(write(output)).engine == 'quantumespresso'
    uncommented = '\n'.join(line.removeprefix('# ').replace('  # ', '  ') for line in TEMPLATE.splitlines()[4:])
    for name in CampaignConfig.model_fields:
        assert f'{name}:' in uncommented or name == 'description', name
    for name in ('picking', 'stop_rules', 'dfpt'):
        for field in CampaignConfig.model_fields[name].annotation.model_fields:
            assert f'{field}:' in uncommented, (name, field)


def test_commented_keys_of_the_template_are_valid(write):
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


def test_short_forms():
    short = CampaignConfig(pool=12, dataset='d.npz', engine='vasp')
    assert (short.pool.source, short.dataset.source) == (('12',), 'd.npz')
    long = CampaignConfig(pool={'source': ['a', 'b']}, dataset={'source': 'd.npz'}, engine='vasp', picking=None)
    assert long.pool.source == ('a', 'b')
    assert CampaignConfig(**MINIMAL, thresholds={'insulating': False}).thresholds == {'insulating': None}
    assert CampaignConfig(**MINIMAL, stop_rules={'max_rounds': 3}).given('stop_rules') == {'max_rounds': 3}
    assert CampaignConfig(**MINIMAL).given('picking') == {}


@pytest.mark.parametrize(
    ('changes', 'key', 'hint'),
    [
        ({'batchsize': 3}, 'mine.yaml:4: batchsize: ', 'picking'),
        ({'stop_rule': {}}, 'mine.yaml:4: stop_rule: ', "'stop_rules'"),
        ({'picking': {'batch_sise': 3}}, 'mine.yaml:5: picking.batch_sise: ', "'batch_size'"),
        ({'picking': {'batch_size': 0}}, 'mine.yaml:5: picking.batch_size: ', ' 0'),
        ({'picking': {'figure_of_merit': 'gap'}}, 'mine.yaml:5: picking.figure_of_merit: ', "'gap'"),
        ({'picking': {'filters': {'min_gp': 1}}}, 'mine.yaml:6: picking.filters.min_gp: ', "'min_gap'"),
        ({'picking': {'filters': {'elements_all': ['Xx']}}}, 'mine.yaml:6: picking.filters.elements_all: ', 'Xx'),
        ({'picking': {'acquisition': {'name': 'gready'}}}, 'mine.yaml:6: picking.acquisition.name: ', "'greedy'"),
        ({'picking': {'diversity': {'copies': 'so'}}}, 'mine.yaml:6: picking.diversity.copies: ', "'so'"),
        ({'stop_rules': {'max_rounds': -1}}, 'mine.yaml:5: stop_rules.max_rounds: ', '-1'),
        ({'stop_rules': {'max_rounds': None}}, 'mine.yaml:4: stop_rules: ', 'max_core_hours'),
        ({'stop_rules': {'stable_top': 3}}, 'mine.yaml:5: stop_rules.stable_top: ', '3'),
        ({'retraining': {'mode': 'finetune'}}, 'mine.yaml:5: retraining.mode: ', "'fine-tune'"),
        ({'retraining': {'folds': 1}}, 'mine.yaml:5: retraining.folds: ', ' 1'),
        ({'training': {'epoch': 1}}, 'mine.yaml:5: training.epoch: ', "'epochs'"),
        ({'dfpt': {'code': 'pw@x'}}, 'mine.yaml:5: dfpt.code: ', "'codes'"),
        ({'dfpt': {'codes': 'pw@x'}}, 'mine.yaml:5: dfpt.codes: ', "'pw@x'"),
        ({'dfpt': {'wall_time': 3}}, 'mine.yaml:5: dfpt.wall_time: ', '60'),
        ({'thresholds': {'insulatin': 1}}, 'mine.yaml:5: thresholds.insulatin: ', "'insulating'"),
        ({'dataset': {'source': 'a', 'functional': 'PBEsoll'}}, 'mine.yaml:4: dataset.functional: ', "'PBEsol'"),
        ({'picking': {'acquisition': {'options': {'kapa': 1}}}}, 'mine.yaml:7: picking.acquisition.options.kapa: ', ''),
        ({'thresholds': {'insulating': 'high'}}, 'mine.yaml:5: thresholds.insulating: ', "'high'"),
        ({'pool': {'source': []}}, 'mine.yaml:2: pool.source: ', ''),
        ({'pool': {'sauce': 'a'}}, 'mine.yaml:1: pool.source: ', ''),
        ({'dataset': {'source': 'a', 'functionals': 'PBE'}}, 'mine.yaml:4: dataset.functionals: ', "'functional'"),
        ({'gpus': -1}, 'mine.yaml:4: gpus: ', '-1'),
        ({'seed': 1.5}, 'mine.yaml:4: seed: ', '1.5'),
        ({'max_concurrent': 0}, 'mine.yaml:4: max_concurrent: ', ' 0'),
        ({'reuse': 'perhaps'}, 'mine.yaml:4: reuse: ', "'perhaps'"),
        ({'engine': None}, 'mine.yaml:3: engine: ', ''),
    ],
)
def test_invalid_keys_are_named_with_line_and_hint(write, changes, key, hint):
    output = flat(invoke('campaign', 'start', write({**MINIMAL, **changes}), status=2))
    assert key in output
    assert hint in output.partition(key)[2]


def test_all_invalid_keys_are_named(write):
    text = 'pool: 1\nseed: x\npicking:\n  batch_size: y\n  acquisition: {name: z}\n'
    output = flat(invoke('campaign', 'start', write(text), status=2))
    for key in (
        'mine.yaml:2: seed: ',
        'mine.yaml:4: picking.batch_size: ',
        'mine.yaml:5: picking.acquisition.name: ',
        ' dataset: ',
        ' engine: ',
    ):
        assert key in output


def test_errors_are_in_the_order_of_their_lines(write):
    output = flat(invoke('campaign', 'start', write('sed: 1\npicking: {batch_size: 0}\nstop: {}\n'), status=2))
    assert output.index('mine.yaml:1: ') < output.index('mine.yaml:2: ') < output.index('mine.yaml:3: ')


def test_a_repeated_key_is_named(write):
    text = 'pool: 1\nseed: 2\npool: 2\n'
    assert "mine.yaml:3: the key 'pool'" in flat(invoke('campaign', 'start', write(text), status=2))


@pytest.mark.parametrize(
    ('text', 'place'),
    [('', 'mine.yaml: '), ('- 1', 'mine.yaml: '), ('pool: 1\na: [', 'mine.yaml:2: '), ('pool', 'mine.yaml: ')],
)
def test_other_files_are_no_configuration(write, text, place):
    assert place in flat(invoke('campaign', 'start', write(text), status=2))


@pytest.mark.parametrize(
    ('changes', 'key', 'name'),
    [
        ({'pool': 'pol.npz'}, 'pool: ', 'pol.npz'),
        ({'pool': ['pool.npz', 'other']}, 'pool: ', 'other'),
        ({'pool': {'source': 'pool.npz', 'properties': 'gaps.csv'}}, 'pool: ', 'gaps.csv'),
        ({'dataset': 999999}, 'dataset: ', '999999'),
        ({'dataset': 'pool.npz'}, 'dataset: ', 'pool.npz'),
        ({'dataset': {'source': 'start.npz', 'split_file': 'no.json'}}, 'dataset: ', 'no.json'),
        ({'model': 'goectp-large'}, 'model: ', 'goectp-large'),
        ({'model': 'pool.npz'}, 'model: ', 'pool.npz'),
        ({'code': 'none@localhost'}, 'code: ', 'none@localhost'),
        ({'engine': 'vaps'}, 'engine: ', "'vaps'"),
        ({'dfpt': {'arguments': {'tabel': 1}}}, 'dfpt: ', 'tabel'),
        ({'dfpt': {'arguments': {'table': {}}, 'potentials': 'PBE'}}, 'dfpt: ', 'potentials'),
        ({'dfpt': {'arguments': {'table': {}}, 'codes': {'pw': 'a@b'}}}, 'dfpt: ', 'pw=a@b'),
        ({'pool': 'xenon.npz'}, 'dfpt: ', ' xe: '),
        ({'dataset': 'mixed.npz'}, 'dataset: ', 'PBE, PBEsol'),
        ({'predictions': 999999}, 'predictions: ', '999999'),
        ({'labels': 999999}, 'labels: ', '999999'),
        ({'split': 'mine'}, 'split: ', "'mine'"),
        ({'protocol': 'quick'}, 'protocol: ', "'quick'"),
        ({'device': 'gpu'}, 'mine.yaml:9: device: ', "'gpu'"),
        ({'overrides': {'predict': {'goectp': {'devise': 1}}}}, 'overrides: ', 'predict.goectp.devise'),
        ({'overrides': {'colour': 1}}, 'overrides: ', 'colour'),
        ({'training': {'members': 3}}, 'mine.yaml:10: training.members: ', 'folds'),
        ({'picking': {'figure_of_merit': 'gap_total'}, 'pool': 'bare.npz'}, '', 'band_gap'),
        ({'picking': {'filters': {'max_hull': 0.1}}}, 'mine.yaml:10: picking.filters: ', 'e_above_hull'),
        ({'picking': {'filters': {'min_gap': 100}}}, 'pool: ', ' 12 '),
        ({'pool': 'known.npz'}, 'pool: ', ' 27 '),
    ],
)
def test_invalid_values_are_refused_before_anything_is_stored(files, write, tmp_path, changes, key, name):
    if changes.get('pool') == 'bare.npz':
        replace(searching.crystals(range(1, 24, 2)), properties={}).save(tmp_path / 'bare.npz')
    if changes.get('pool') == 'known.npz':
        Dataset.load(tmp_path / 'start.npz').crystals.save(tmp_path / 'known.npz')
    if changes.get('pool') == 'xenon.npz':
        atom = Crystal('xe', searching.FCC * 6.2, np.array([54], np.int16), np.zeros((1, 3)))
        CrystalSet.from_crystals([atom]).save(tmp_path / 'xenon.npz')
    before = orm.QueryBuilder().append(orm.Node).count()
    output = flat(invoke('campaign', 'start', write({**files, **changes}), '--run', status=2))
    assert f' {key}' in output
    assert name in output.partition(f' {key}')[2]
    assert orm.QueryBuilder().append(orm.Node).count() == before


def test_all_missing_nodes_and_files_are_named(files, write):
    missing = {'pool': 'no', 'dataset': 'nor', 'model': 'not', 'code': 'x@y', 'engine': 'z'}
    output = flat(invoke('campaign', 'start', write({**files, **missing}), status=2))
    for key in missing:
        assert f' {key}: ' in output


def test_dry_run_stores_nothing(files, write):
    before = orm.QueryBuilder().append(orm.Node).count()
    config = {
        **files,
        'picking': {'batch_size': 3, 'filters': {'min_gap': 2}},
        'stop_rules': {'max_rounds': 2, 'max_core_hours': 5, 'stable_top': {'k': 4}},
        'retraining': {'folds': 3},
        'training': {'epochs': 7},
    }
    output = flat(invoke('campaign', 'start', write(config), '--dry-run'))
    assert orm.QueryBuilder().append(orm.Node).count() == before
    for text in (
        'pool 12 crystals (pool.npz), 10 pass the filters, 0 of these known, 10 candidates',
        'objective total, acquisition greedy',
        'dataset 27 rows (start.npz), 27 trainable, PBE, new split',
        'model search (',  # the file, or the node of equal content that another test has stored
        'budget at most 6 calculations in rounds of 3, and 5 core-hours',
        'retraining after each round, fine-tuning, 3 members, 7 epochs',
        'stop rules max_rounds 2, max_core_hours 5, stable_top (k 4, rounds 3)',
    ):
        assert text in output, text


@pytest.mark.parametrize(('copies', 'count'), [(True, 2), (False, 1)])
def test_crystals_of_further_labels_are_known(files, write, copies, count):
    """One is that of the pool, one was relaxed, and one is in the dataset."""
    labels = searching.start_dataset([3, 5, 52]).dataset
    lattices = labels.crystals.lattices.copy()
    lattices[1] *= 1.004
    labels = replace(labels, crystals=replace(labels.crystals, lattices=lattices))
    node = DatasetData(labels).store()
    config = {**files, 'labels': node.pk, 'picking': {'diversity': {'copies': copies}}}
    output = flat(invoke('campaign', 'start', write(config), '--dry-run'))
    assert f'12 pass the filters, {count} of these known, {12 - count} candidates' in output
    assert f'new split by formula, 3 further labels (node {node.pk})' in output


def test_copies_are_only_searched_until_there_are_enough_candidates(aiida_profile):
    """A start must not compare all of a large pool to find the first crystals that the engine could be given."""
    known = searching.start_dataset([52])
    alike = known.dataset.crystals[0]
    others = [Crystal(f'x{row}', np.eye(3) * (5 + row / 1000), [2], [[0.0, 0.0, 0.0]]) for row in range(1000)]
    pool = CrystalSet.from_crystals([*others, alike._replace(lattice=alike.lattice * 1.004)])
    builder = SimpleNamespace(pool=CrystalsData(pool), dataset=known, labels=None, picking=orm.Dict())
    assert candidates(builder)[1].tolist() == [False] * 1000 + [True]
    assert not candidates(builder, 5)[1].any()


def test_nodes_instead_of_files(files, write):
    dataset = searching.start_dataset()
    pool = CrystalsData(searching.crystals(range(1, 24, 2))).store()
    model = ModelData.get_or_create('goectp-small')
    config = {**files, 'pool': pool.pk, 'dataset': dataset.uuid, 'model': model.pk}
    output = flat(invoke('campaign', 'start', write(config), '--dry-run'))
    assert f'12 crystals (node {pool.pk})' in output
    assert f'model goectp-small (node {model.pk}); warning: it predicts PBEsol, the labels are of PBE' in output
    config['pool'] = {'source': pool.pk, 'properties': 'x.csv'}
    assert ' pool: properties: ' in flat(invoke('campaign', 'start', write(config), status=2))


def test_submission_requires_the_daemon(files, write):
    before = orm.QueryBuilder().append(orm.Node).count()
    assert '--run' in invoke('campaign', 'start', write(files), status=2)
    assert orm.QueryBuilder().append(orm.Node).count() == before


def test_faults_of_keys_and_of_nodes_are_reported_together(files, write):
    path = write({**files, 'pool': 'none.npz', 'seed': -1, 'code': 'none@nowhere', 'batchsize': 2})
    output = flat(invoke('campaign', 'start', path, '--dry-run', status=2))
    for key, line in (('pool', 1), ('code', 5), ('seed', 9), ('batchsize', 10)):
        assert f'mine.yaml:{line}: {key}: ' in output


def test_faults_of_inputs_and_codes_are_reported_with_the_others(files, write, aiida_code_installed):
    gone = aiida_code_installed(label='gone', filepath_executable='/no/such/program')
    changes = {'code': gone.full_label, 'split': 'mine', 'max_concurrent': 0, 'seed': -1, 'labels': 999999}
    path = write({**files, **changes, 'overrides': {'predict': {'goectp': {'devise': 1}}}})
    output = flat(invoke('campaign', 'start', path, '--dry-run', status=2))
    lines = {'code': 5, 'split': 9, 'max_concurrent': 10, 'seed': 11, 'labels': 12, 'overrides': 13}
    for key, line in lines.items():
        assert f'mine.yaml:{line}: {key}: ' in output
    rest = {'code': gone.full_label, 'split': 'mine', 'picking': {'filters': {'max_hull': 0.1}}, 'seed': -1}
    output = flat(invoke('campaign', 'start', write({**files, **rest}), '--dry-run', status=2))
    for key, line in (('code', 5), ('split', 9), ('picking.filters', 11), ('seed', 13)):
        assert f'mine.yaml:{line}: {key}' in output

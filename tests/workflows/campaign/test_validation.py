"""Labels, functionals and splits of the starting dataset, before a campaign starts."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.calculations.datasets import import_dataset
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.functionals import unnamed
from aiida_goectp.core.selection.folds import with_base_split
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.campaign.validation import campaign_errors, hold_out_warning
from tests import tiny
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import TableDfptWorkChain
from tests.workflows.test_train import NETWORK


class PlusUEngine(TableDfptWorkChain):
    """Engine with U for some of the crystals."""

    @classmethod
    def functional_of(cls, inputs):
        return 'PBEsol+U(Mg-d 5.3)' if 'Mg' in inputs['structure'].get_symbols_set() else 'PBEsol'


class PBEsolEngine(TableDfptWorkChain):
    @classmethod
    def functional_of(cls, inputs):
        return 'PBEsol'


class UnnamedEngine(TableDfptWorkChain):
    """Engine whose functional has no name."""

    @classmethod
    def functional_of(cls, inputs):
        return unnamed('ggax, ggac')


@pytest.fixture
def errors(aiida_profile, aiida_code_installed):
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    pool = searching.some_pool()

    def check(engine=TableDfptWorkChain, functionals=('PBE',), trained=(), ionic=True, model=None, **retraining):
        rows = searching.crystals(range(0, 54, 2), 's')
        electronic = np.array([searching.epsilon(crystal) * np.eye(3) for crystal in rows])
        names = np.array([functionals[row % len(functionals)] for row in range(len(rows))])
        data = Dataset(rows, electronic, 0.5 * electronic if ionic else None, functional=names)
        overrides = {'settings': {'functionals': list(trained)} if trained else {}, 'retraining': retraining}
        dataset = import_dataset(searching.file_of(data, 'start.npz'))
        builder = searching.campaign(code, model, pool=pool, dataset=dataset, overrides=overrides)
        builder.engine = orm.Str(f'{__name__}:{engine.__name__}')
        return campaign_errors(builder_inputs(builder))

    return check


@pytest.fixture
def known_errors(aiida_profile, aiida_code_installed):
    """Return the errors of a campaign on a dataset."""
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')

    def check(dataset, **nodes):
        builder = searching.campaign(code, dataset=dataset, **{'pool': searching.some_pool(), **nodes})
        return campaign_errors(builder_inputs(builder))

    return check


@pytest.mark.parametrize(
    ('engine', 'functionals', 'trained', 'words'),
    [
        (PBEsolEngine, ['PBEsol'], (), ()),
        (PBEsolEngine, ['PBE', 'PBEsol'], ['PBEsol', 'PBE'], ()),
        (PBEsolEngine, ['PBE'], ['PBEsol', 'PBE'], ()),
        (PBEsolEngine, ['unknown'], (), ('dataset: labels of unknown', 'PBEsol')),
        (PBEsolEngine, ['PBE'], (), ('dataset: labels of PBE', '[PBEsol, PBE]')),
        (UnnamedEngine, ['PBE'], (), ("set training.functionals to ['unnamed (ggax, ggac)', PBE]",)),
        (UnnamedEngine, ['PBE'], ['unnamed (ggax, ggac)', 'PBE'], ()),
        (PlusUEngine, ['PBEsol'], (), ('PBEsol+U(Mg-d 5.3)', '[PBEsol+U]')),
        (PlusUEngine, ['PBEsol'], ['PBEsol+U'], ()),
        (PlusUEngine, ['PBEsol+U(Mg-d 4)'], ['PBEsol+U'], ('dfpt: labels of', 'Mg-d 4 and Mg-d 5.3')),
        (TableDfptWorkChain, ['unknown'], (), ()),  # an engine that does not know its functional
    ],
)
def test_labels_that_no_retraining_could_take(errors, engine, functionals, trained, words):
    found = errors(engine, functionals, trained)
    assert len(found) == bool(words), found
    assert all(word in found[0] for word in words)


def test_without_retrainings_the_functional_is_free(errors):
    assert errors(PBEsolEngine, ['PBE'], every_rounds=None) == []


def test_a_first_training_needs_labels_of_both_tensors(errors, write_model):
    (found,) = errors(ionic=False)
    assert 'dataset: no training row has an ionic label' in found
    model = write_model('known', architecture={'options': NETWORK['options']})
    assert errors(ionic=False, model=ModelData.get_or_create(model)) == []


def test_each_member_of_the_first_committee_needs_labels_of_both_tensors(known_errors):
    """Labels of the hold-out are not trained on, and a label of the campaign is not in the training of its fold."""
    table = with_base_split(searching.start_dataset().dataset)[0]
    column = table.splits['campaign']

    def start(rows, splits=()):
        ionic = np.where(rows[:, None, None], table.ionic, np.nan)
        return DatasetData(replace(table, ionic=ionic, splits={name: table.splits[name] for name in splits}))

    message = 'dataset: no training row has an ionic label'
    for splits in ((), ('campaign',)):
        nodes = {'split': orm.Str('campaign')} if splits else {}
        assert known_errors(start(column == 'train', splits), **nodes) == []
        (found,) = known_errors(start(column != 'train', splits), **nodes)
        assert message in found
    nothing = start(np.zeros(len(table), bool))
    (found,) = known_errors(nothing, labels=searching.start_dataset([1]))
    assert message in found
    assert known_errors(nothing, labels=searching.start_dataset([1, 3])) == []  # one in each fold


def test_the_dataset_of_an_earlier_campaign_needs_its_base_split(known_errors):
    start = with_base_split(searching.start_dataset().dataset)[0]
    node = DatasetData(start).store()
    (found,) = known_errors(node)
    assert 'set split: campaign' in found
    assert known_errors(node, split=orm.Str('campaign')) == []
    (found,) = known_errors(searching.start_dataset(range(0, 6, 2)))
    assert 'dataset: no base split can be made: 3 trainable rows' in found
    assert known_errors(searching.start_dataset()) == []


def test_the_pareto_front_needs_band_gaps(known_errors):
    bare = CrystalsData(CrystalSet.from_crystals(list(searching.crystals(range(4)))))
    dataset = searching.start_dataset()
    assert known_errors(dataset, overrides={'picking': {'acquisition': {'name': 'pareto'}}}) == []
    (error,) = known_errors(dataset, pool=bare, overrides={'picking': {'acquisition': {'name': 'pareto'}}})
    assert 'pareto' in error
    assert 'band_gap' in error


@pytest.fixture
def warning(aiida_profile, aiida_code_installed, tmp_path):
    """Return the warning about the hold-out of a campaign that starts with a model."""
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    pool = searching.some_pool()

    def check(dataset, trained_on, **nodes):
        model = ModelData(tiny.write_model(tmp_path / 'model.safetensors', trained_on=trained_on))
        return hold_out_warning(builder_inputs(searching.campaign(code, model, pool=pool, dataset=dataset, **nodes)))

    return check


def test_a_model_that_was_trained_on_rows_of_the_hold_out(warning):
    table = with_base_split(searching.start_dataset().dataset)[0]
    parts = {part: table.part('campaign', part).crystals for part in ('train', 'test')}
    node = DatasetData(table)
    for rows, words in (
        (parts['train'], None),
        (parts['test'].take([1]), f'1 of {len(parts["test"])} rows of the hold-out'),
        (None, 'does not state the crystals'),
    ):
        found = warning(node, rows, split=orm.Str('campaign'))
        assert words in found if words else found is None
    own_split = warning(searching.start_dataset(), parts['train'])
    assert f'{len(parts["train"])} of {len(table)} trainable rows' in own_split
    assert warning(searching.start_dataset(), searching.crystals([1])) is None
    never = {'retraining': {'every_rounds': None}}
    assert warning(node, None, split=orm.Str('campaign'), overrides=never) is None
    assert warning(node, None, split=orm.Str('campaign'), retrain=False) is None

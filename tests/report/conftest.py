"""A screen with one hostile id and one failed prediction, and a verification."""

from dataclasses import replace

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.calculations.verification import content_hash
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.conftest import textbook
from tests.report.screens import stored_screen, uncertain
from tests.workflows.campaign import searching
from tests.workflows.campaign.campaign import screened
from tests.workflows.dfpt.table_engine import NAME
from tests.workflows.test_train import NETWORK

HOSTILE = '</script><img src=x onerror="alert(1)">$x<b>&'


@pytest.fixture(scope='module')
def hostile_set():
    crystal_set = textbook()
    ids = crystal_set.ids.astype('<U80')
    ids[3] = HOSTILE
    return replace(crystal_set, ids=ids)


@pytest.fixture(scope='module')
def screen(empty_profile, hostile_set, predict_by_hand, write_model):
    """Ranked by gap_total: MgO, AlN, TiO2 and the hostile one; Si is too small a gap, GaAs fails."""
    table = uncertain(predict_by_hand(hostile_set, failed=[2]))
    return stored_screen(hostile_set, table, write_model(), filters={'min_gap': 1.2})


@pytest.fixture(scope='module')
def verification(screen):
    """The best three crystals, computed from a table: GaAs is accepted, Si refused as a metal, TiO2 fails."""
    inputs, table = screened(textbook(), 3)
    keys = {item['id']: content_hash(inputs['structures'][item['structure']]) for item in inputs['selection']}
    table[keys['Si']]['band_gap'] = 0.0
    del table[keys['TiO2']]
    _, node = run_get_node(
        VerifyWorkChain, **inputs, engine=NAME, dfpt={'table': orm.Dict(table)}, reuse=orm.Bool(False)
    )
    assert node.is_finished_ok, node.exit_message
    return node


@pytest.fixture(scope='module')
def campaign(empty_profile, write_model, predict_by_hand):
    """Two rounds of two picks with given predictions, without a training; one of the calculations fails."""
    computer = orm.Computer('nowhere', 'localhost', '', 'core.local', 'core.direct', '/tmp').store()
    code = orm.InstalledCode(label='any', computer=computer, filepath_executable='/bin/true').store()
    pool = searching.some_pool()
    model = ModelData.get_or_create(write_model('search', architecture={'options': NETWORK['options']}))
    predictions = PredictionsData(predict_by_hand(pool.crystals, model.content_hash)).store()
    table = searching.table_of(pool)
    del table[str(pool.crystals.hashes[-2])]
    builder = searching.campaign(code, model, table=table, pool=pool, predictions=predictions, retrain=False)
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node

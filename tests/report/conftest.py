"""A screen with one hostile id and one failed prediction."""

from dataclasses import replace

import pytest

from tests.conftest import textbook
from tests.report.screens import stored_screen, uncertain

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

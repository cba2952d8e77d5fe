"""Latest import: crystals of other origins are left out."""

from datetime import timedelta

import pytest
from aiida import orm

from aiida_goectp.calculations.rank import filter_crystals
from aiida_goectp.calculations.structures import import_structures
from aiida_goectp.cli.doctor.trials import _magnesia
from aiida_goectp.cli.files import file_inputs
from aiida_goectp.cli.predict.sources import CrystalSource
from aiida_goectp.cli.queries import latest_import, latest_node
from aiida_goectp.data.crystals import CrystalsData
from tests import tiny


@pytest.fixture
def cif(tmp_path):
    path = tmp_path / 'MgO.cif'
    path.write_text(tiny.CIF)
    return path


def test_crystals_of_other_commands_are_not_imports(crystals, cif):
    filter_crystals(crystals, orm.Dict({'min_gap': 1.2}))
    predicted = CrystalSource((cif,), False).store('aiida-goectp predict')
    trial = _magnesia()
    assert (trial.label, _magnesia().pk) == ('aiida-goectp doctor', trial.pk)
    assert crystals.pk < predicted.pk < trial.pk
    assert latest_import().pk == crystals.pk
    assert CrystalSource((crystals,), False).store('aiida-goectp predict').label == ''


def test_the_latest_of_two_imports(crystals, cif):
    imported = import_structures(**file_inputs([cif], False)[0])
    filter_crystals(crystals, orm.Dict({'min_gap': 1.2}))  # of the earlier one
    assert latest_import().pk == imported.pk


def test_the_doctor_leaves_an_import_of_the_same_crystal(aiida_profile_clean):
    crystals = _magnesia().crystals
    own = type(_magnesia())(crystals).store()
    assert _magnesia().pk != own.pk
    assert latest_import().pk == own.pk


def test_the_latest_crystals_are_the_youngest_ones(aiida_profile_clean, crystal_set):
    """An archive is imported in any order, so that PKs say nothing about time."""
    young, old = (CrystalsData(crystal_set).store() for _ in range(2))
    old.backend_entity.model.ctime = young.ctime - timedelta(hours=1)
    assert latest_import().pk == young.pk
    assert latest_node('goectp.crystals').pk == young.pk

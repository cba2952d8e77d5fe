"""The example structures: composition, symmetry, bond lengths and density agree with the statements of each file."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
import spglib
from ase.formula import Formula
from ase.neighborlist import neighbor_list
from pymatgen.io.cif import CifParser

FOLDER = Path(__file__).parents[1] / 'examples' / 'structures'
FILES = sorted(FOLDER.glob('*.cif'))
U_IN_G = 1.66053906892  # atomic mass unit per Å^3 in g/cm^3 (CODATA 2022)


with (FOLDER / 'properties.csv').open(encoding='utf-8', newline='') as stream:
    PROPERTIES = {row['id']: row for row in csv.DictReader(stream)}
MEASURED = [path for path in FILES if PROPERTIES[path.stem]['density_measured']]
"""the other phases are not stable at room temperature"""


def _stated(path: Path, name: str) -> str:
    return re.search(rf"^{name}\s+'?(.*?)'?$", path.read_text(encoding='ascii'), re.MULTILINE)[1]


def test_each_file_has_its_row_of_properties():
    assert len(FILES) >= 40
    assert len(MEASURED) >= 40
    assert sorted(PROPERTIES) == sorted(path.stem for path in FILES)


def test_readme_lists_every_file():
    text = (FOLDER / 'README.md').read_text(encoding='utf-8')
    assert set(re.findall(r'^\| `(\S+)\.cif`', text, re.MULTILINE)) == set(PROPERTIES)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_composition_read_by_ase_and_pymatgen(path):
    stated = Formula(_stated(path, '_chemical_formula_sum').replace(' ', ''))
    atoms = ase.io.read(path)
    structure = CifParser(path).parse_structures(primitive=False)[0]
    units = int(_stated(path, '_cell_formula_units_Z'))
    assert Formula(atoms.get_chemical_formula()).count() == (stated * units).count()
    assert Formula(structure.composition.formula.replace(' ', '')).count() == (stated * units).count()
    assert np.allclose(atoms.cell.cellpar(), structure.lattice.parameters, atol=1e-6)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_space_group(path):
    atoms = ase.io.read(path)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    assert spglib.get_symmetry_dataset(cell, symprec=1e-3).number == int(_stated(path, '_space_group_IT_number'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_shortest_distance_is_a_bond_length(path):
    distances = neighbor_list('d', ase.io.read(path), 4.0)
    assert 1.25 < distances.min() < 3.6  # the shortest is C–O in a carbonate, 1.28 Å; the longest Cs–Cl, 3.57 Å


@pytest.mark.parametrize('path', MEASURED, ids=lambda path: path.stem)
def test_density_agrees_with_the_measured_one(path):
    measured = PROPERTIES[path.stem]['density_measured']
    atoms = ase.io.read(path)
    assert atoms.get_masses().sum() / atoms.get_volume() * U_IN_G == pytest.approx(float(measured), rel=0.03)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_source_is_named(path):
    text = path.read_text(encoding='ascii')
    assert re.search(r'^_journal_year\s+(19|20)\d\d$', text, re.MULTILINE)
    assert '_publ_author_name' in text

"""Right-handed cells, and kinds of the input in structures parsed from outputs of VASP."""

from __future__ import annotations

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.workflows.dfpt.vasp.structures import invert_lattice, is_left_handed, with_kinds_of

ORIGINAL = (('Fe', 'Fe1'), ('Fe', 'Fe2'), ('O', 'O'))


def _structure(sites, edge=4.0):
    structure = orm.StructureData(cell=[[edge, 0, 0], [0, edge, 0], [0, 0, edge]])
    for index, (symbol, kind) in enumerate(sites):
        structure.append_atom(position=(0, 0, index * edge / 4), symbols=symbol, name=kind)
    return structure.store()


def test_kinds_are_restored_with_provenance(aiida_profile):
    original, parsed = _structure(ORIGINAL), _structure((('Fe', 'Fe'), ('Fe', 'Fe'), ('O', 'O')), 4.4)
    found = with_kinds_of(parsed, original)
    assert found.get_site_kindnames() == ['Fe1', 'Fe2', 'O']
    assert found.cell == parsed.cell
    assert [site.position for site in found.sites] == [site.position for site in parsed.sites]
    assert found.creator.inputs.structure.uuid == parsed.uuid
    assert found.creator.inputs.original.uuid == original.uuid


def test_equal_kinds_make_no_node(aiida_profile):
    original, parsed = _structure(ORIGINAL), _structure(ORIGINAL, 4.4)
    assert with_kinds_of(parsed, original) is parsed
    assert with_kinds_of(parsed, orm.CifData()) is parsed


@pytest.mark.parametrize(
    'sites', [(('Fe', 'Fe'), ('O', 'O'), ('Fe', 'Fe')), (('Fe', 'Fe'), ('O', 'O'))], ids=['order', 'number']
)
def test_other_sites_are_refused(aiida_profile, sites):
    with pytest.raises(ValueError, match='Fe Fe O'):
        with_kinds_of(_structure(sites), _structure(ORIGINAL))


def test_the_inverted_lattice_has_the_atoms_of_the_cell(aiida_profile):
    structure = _structure(ORIGINAL).clone()
    structure.set_cell([[0, 4, 0], [4, 0, 0], [0, 0.5, 4]])
    assert is_left_handed(structure.store())
    inverted = invert_lattice(structure)
    assert not is_left_handed(inverted)
    assert inverted.cell == (-np.array(structure.cell)).tolist()
    assert [site.position for site in inverted.sites] == [site.position for site in structure.sites]
    assert inverted.get_site_kindnames() == ['Fe1', 'Fe2', 'O']
    assert inverted.creator.inputs.structure.uuid == structure.uuid

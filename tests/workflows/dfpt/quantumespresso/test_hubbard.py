"""DFT+U of a structure in the name of the functional."""

from __future__ import annotations

import pytest

pytest.importorskip('aiida_quantumespresso')

from aiida_quantumespresso.data.hubbard_structure import HubbardStructureData

from aiida_goectp.core.dfpt.espresso_functional import functional_name
from aiida_goectp.workflows.dfpt.quantumespresso.hubbard import with_hubbard
from aiida_goectp.workflows.dfpt.quantumespresso.orientation import align_symmetry_axes
from tests.workflows.dfpt.quantumespresso.quantum_espresso import rocksalt

pytestmark = pytest.mark.usefixtures('aiida_profile')
PARAMETERS = {'SYSTEM': {'ecutwfc': 60}}


def _name(structure):
    return functional_name('PBESOL', with_hubbard(PARAMETERS, structure))


def test_structure_without_u_changes_nothing():
    plain = rocksalt('Ni', 'O', 4.2)
    assert with_hubbard(PARAMETERS, plain) == PARAMETERS
    assert with_hubbard(PARAMETERS, HubbardStructureData.from_structure(plain)) == PARAMETERS


def test_u_of_a_structure_is_named_as_that_of_the_parameters():
    structure = HubbardStructureData.from_structure(rocksalt('Ni', 'O', 4.2))
    structure.initialize_onsites_hubbard('Ni', '3d', 6.2, 'U', use_kinds=False)
    assert _name(structure) == 'PBEsol+U(ortho-atomic: Ni 6.2)'
    assert _name(align_symmetry_axes(structure.store())['structure']) == _name(structure)


@pytest.mark.parametrize(
    ('element', 'orbital', 'kind'), [('O', '2s', 'U'), ('Ni', '3d', 'J'), ('Ni', '4p', 'U')], ids=lambda word: word
)
def test_other_parameters_have_no_name(element, orbital, kind):
    structure = HubbardStructureData.from_structure(rocksalt('Ni', 'O', 4.2))
    structure.initialize_onsites_hubbard('Ni', '3d', 6.2, 'U', use_kinds=False)
    structure.initialize_onsites_hubbard(element, orbital, 1.0, kind, use_kinds=False)
    assert _name(structure) == 'unnamed (hubbard_parameters)'

"""Family of generated potentials in a profile."""

from __future__ import annotations

import shutil

import pytest

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import PseudoError, generate_family

pytest.importorskip('aiida_pseudo', reason='needs aiida-pseudo')
pytestmark = pytest.mark.skipif(shutil.which('ld1.x') is None, reason='needs ld1.x of Quantum ESPRESSO')


@pytest.mark.usefixtures('aiida_profile_clean')
def test_family_has_potentials_and_cutoffs():
    family = generate_family(['H', 'O'], 'light')
    assert family.is_stored
    assert sorted(family.elements) == ['H', 'O']
    assert family.get_pseudo('O').z_valence == 6
    assert family.get_default_stringency() == 'normal'
    assert set(family.get_cutoff_stringencies()) == {'low', 'normal', 'high'}
    assert family.get_recommended_cutoffs(elements=('H', 'O'), unit='Ry') == (80.0, 320.0)
    with pytest.raises(PseudoError, match="'light'"):
        generate_family(['H'], 'light')

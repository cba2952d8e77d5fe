"""Table of recipes, and the inputs of ld1.x."""

from __future__ import annotations

import re

import pytest
from ase.data import atomic_numbers

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import RECIPES, PseudoError, generate
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.family import recommended_cutoffs
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.ld1 import comparison_input, generation_input

QUICKSTART = ('H', 'Li', 'B', 'C', 'N', 'O', 'F', 'Na', 'Mg', 'Al', 'Si', 'Cl')
CORES = {'[Ne]': 10}


def _electrons(configuration):
    shells = configuration.split()
    return sum(CORES.get(shell) or max(float(shell[2:]), 0) for shell in shells)


def test_elements_of_the_quickstart_have_recipes():
    assert set(QUICKSTART) <= set(RECIPES)


@pytest.mark.parametrize('symbol', RECIPES)
def test_charges_add_up(symbol):
    recipe = RECIPES[symbol]
    assert recipe.atomic_number == atomic_numbers[symbol]
    valence = sum(max(channel.occupation, 0) for channel in recipe.channels)
    core = _electrons(recipe.configuration) - valence
    assert core == recipe.atomic_number - recipe.valence
    assert _electrons(recipe.tests[0]) == recipe.valence, 'the first test is the neutral atom'
    assert recipe.local in {channel.angular_momentum for channel in recipe.channels}
    assert list(recipe.cutoffs) == sorted(recipe.cutoffs)


@pytest.mark.parametrize('symbol', RECIPES)
def test_local_channel_is_the_last_line(symbol):
    recipe = RECIPES[symbol]
    lines = generation_input(recipe).strip().splitlines()
    assert int(lines[-1].split()[2]) == recipe.local
    assert int(lines[-1 - len(recipe.channels)]) == len(recipe.channels)
    assert re.search(rf'nconf={len(recipe.tests)}\b', comparison_input(recipe))


def test_cutoffs_have_the_form_of_aiida_pseudo():
    assert recommended_cutoffs(['Si'], 'low') == {'Si': {'cutoff_wfc': 30.0, 'cutoff_rho': 120.0}}
    for symbol in RECIPES:
        low, normal, high = (recommended_cutoffs([symbol], s)[symbol]['cutoff_wfc'] for s in ('low', 'normal', 'high'))
        assert low < normal < high


def test_element_without_recipe_is_refused_before_any_run(tmp_path):
    with pytest.raises(PseudoError, match='U, Fe'):
        generate(['Si', 'U', 'Fe'], tmp_path / 'out', ld1='/nowhere/ld1.x')
    assert not (tmp_path / 'out').exists()


def test_missing_ld1_is_named(tmp_path):
    with pytest.raises(PseudoError, match='/nowhere/ld1'):
        generate(['Si'], tmp_path, ld1='/nowhere/ld1.x')

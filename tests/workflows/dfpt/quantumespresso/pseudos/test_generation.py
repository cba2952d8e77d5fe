"""Generation with ld1.x: all recipes pass the checks, poor ones fail."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import RECIPES, Channel, PseudoError, generate, generation
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.checks import (
    comparison_problems,
    file_problems,
    phase_error,
)
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.ld1 import Comparison, Level, read_comparisons
from tests.damaged import damaged

pytestmark = pytest.mark.skipif(shutil.which('ld1.x') is None, reason='needs ld1.x of Quantum ESPRESSO')


@pytest.mark.parametrize('symbol', RECIPES)
def test_recipe_passes_the_checks(symbol, tmp_path):
    (path,) = generate([symbol], tmp_path)
    recipe = RECIPES[symbol]
    assert path == tmp_path / f'{symbol}.UPF'
    assert not file_problems(path, recipe)
    log = (tmp_path / f'{symbol}.log').read_text()
    tested = read_comparisons(log)[1:]  # the first is the configuration of the generation
    assert len(tested) == len(recipe.tests)
    assert not comparison_problems(tested, recipe)
    # the reference configuration, the neutral atom or the ion, is reproduced best
    reference = tested[-1] if recipe.configuration.endswith('0') else tested[0]
    inner = reference.levels[0]
    assert abs(inner.error) < 2e-4


def _replace_recipe(monkeypatch, symbol, **changes):
    monkeypatch.setattr(generation, 'RECIPES', {symbol: replace(RECIPES[symbol], **changes)})


def test_poor_potential_is_not_written(monkeypatch, tmp_path):
    _replace_recipe(monkeypatch, 'Li', channels=(Channel('1S', 2, 2.2), Channel('2P', 0, 1.3)))
    with pytest.raises(PseudoError, match=r'Li: .*1S'):
        generate(['Li'], tmp_path)
    assert not list(tmp_path.iterdir())


def test_error_of_ld1_is_passed_on(monkeypatch, tmp_path):
    _replace_recipe(monkeypatch, 'O', local=0, channels=(Channel('2P', 4, 1.3),))
    with pytest.raises(PseudoError, match=r'generate\.in: Error in routine'):
        generate(['O'], tmp_path)


def test_file_of_another_element_or_truncated_file_fails(tmp_path):
    (path,) = generate(['H'], tmp_path)
    problems = '; '.join(file_problems(path, RECIPES['C']))
    assert "element is 'H', not 'C'" in problems
    assert 'valence charge is 1' in problems
    path.write_text(path.read_text()[:2000])
    assert 'cannot be read' in file_problems(path, RECIPES['H'])[0]


def test_ghost_state_fails():
    recipe = replace(RECIPES['H'], tests=('1s1',))
    level = Level('1S', 0, 1.0, -0.465, -0.465)
    good = Comparison((level,), 0.0, {0: (-0.465, 0.1)})
    below = Comparison((level,), 0.0, {0: (-1.7, -0.465)})
    between = Comparison((level,), 0.0, {0: (-0.465, -0.3)})
    other = Comparison((level,), 0.0, {0: (-0.465, 0.1), 1: (-0.8, 0.2)})
    assert not comparison_problems([good], recipe)
    for bad in (below, between, other):
        assert 'ghost' in comparison_problems([bad], recipe)[0]


@pytest.fixture(scope='module')
def hydrogen(tmp_path_factory):
    """Return the UPF file, the output of ld1.x, and a folder to write to."""
    folder = tmp_path_factory.mktemp('ld1')
    (path,) = generate(['H'], folder)
    output = (folder / 'H.log').read_text()
    return path.read_text(), output[output.index('Testing the pseudopotential') :], folder


@given(data=st.data())
def test_any_damage_of_an_output_is_read_or_a_problem(hydrogen, data):
    for tested in (hydrogen[1], data.draw(damaged(hydrogen[1]))):
        problems = comparison_problems(read_comparisons(tested), RECIPES['H'])
        assert all(isinstance(problem, str) for problem in problems)


@pytest.mark.parametrize('word', ['********', 'NaN', '1e400', '1.2.3'])
def test_a_damaged_level_is_a_problem(hydrogen, word):
    tested = read_comparisons(hydrogen[1])
    level = f'{tested[0].levels[0].pseudo:.5f}'
    assert level in hydrogen[1]
    assert comparison_problems(read_comparisons(hydrogen[1].replace(level, word)), RECIPES['H'])


@given(data=st.data())
def test_any_damage_of_a_potential_is_read_or_a_problem(hydrogen, data):
    path = hydrogen[2] / 'damaged.UPF'
    path.write_text(data.draw(damaged(hydrogen[0])), encoding='utf-8', errors='replace')
    assert all(isinstance(problem, str) for problem in file_problems(path, RECIPES['H']))


@pytest.mark.parametrize('text', ['', '1.0 2.0\n', '1.0 ****\n', '1.0 2.0\n1.0\n', 'x\x00'])
@pytest.mark.filterwarnings('ignore:loadtxt')
def test_damaged_logarithmic_derivatives_have_no_error_estimate(text, tmp_path):
    good, bad = tmp_path / 'good', tmp_path / 'bad'
    good.write_text('1.0 2.0\n2.0 3.0\n')
    bad.write_text(text)
    assert phase_error(good, good) == 0
    assert np.isnan(phase_error(good, bad))
    assert np.isnan(phase_error(good, tmp_path / 'none'))

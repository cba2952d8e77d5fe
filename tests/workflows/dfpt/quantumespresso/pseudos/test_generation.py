"""Generation with ld1.x: all recipes pass the checks, poor ones fail."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import RECIPES, Channel, PseudoError, generate, generation
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.checks import comparison_problems, file_problems
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.ld1 import Comparison, Level, read_comparisons

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

"""Files of figures are reproducible, and the settings of the user are not changed."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import pytest

from aiida_goectp.core.figures import learning_curve_figure, save_figure


@pytest.mark.parametrize('ending', ['png', 'svg', 'pdf'])
def test_equal_figures_give_equal_bytes(tmp_path, ending):
    contents = []
    for name in ('one', 'two'):
        figure = learning_curve_figure([10, 100], {'total': [3.0, 1.0]})
        contents.append(save_figure(figure, tmp_path / 'new' / f'{name}.{ending}').read_bytes())
    assert contents[0] == contents[1]
    assert len(contents[0]) > 1000


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'figure\.exe: .*\.png, \.svg, \.pdf'):
        save_figure(learning_curve_figure([1], {'total': [1.0]}), tmp_path / 'figure.exe')


def test_settings_of_the_user_are_not_changed():
    before = dict(mpl.rcParams)
    learning_curve_figure([10, 100], {'total': [3.0, 1.0]})
    assert dict(mpl.rcParams) == before


def test_importing_figures_is_fast():
    program = 'import sys, aiida_goectp.core.figures\nprint(*{name.partition(".")[0] for name in sys.modules})'
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    assert not {'torch', 'aiida', 'pymatgen', 'matplotlib', 'scipy'} & set(result.stdout.split())

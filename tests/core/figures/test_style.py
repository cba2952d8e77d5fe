"""Figures become files, the same each time, and leave no trace in the user's matplotlib."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import pytest

from aiida_goectp.core.figures import learning_curve_figure, save_figure


@pytest.mark.parametrize('ending', ['png', 'svg', 'pdf'])
def test_the_same_figure_gives_the_same_bytes(tmp_path, ending):
    contents = []
    for name in ('one', 'two'):
        figure = learning_curve_figure([10, 100], {'total': [3.0, 1.0]})
        contents.append(save_figure(figure, tmp_path / 'new' / f'{name}.{ending}').read_bytes())
    assert contents[0] == contents[1]
    assert len(contents[0]) > 1000


def test_an_ending_that_is_no_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'are written as .png, .svg, .pdf'):
        save_figure(learning_curve_figure([1], {'total': [1.0]}), tmp_path / 'figure.exe')


def test_the_users_settings_stay():
    before = dict(mpl.rcParams)
    learning_curve_figure([10, 100], {'total': [3.0, 1.0]})
    assert dict(mpl.rcParams) == before


def test_the_import_is_light():
    program = 'import sys, aiida_goectp.core.figures\nprint(*{name.partition(".")[0] for name in sys.modules})'
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    assert not {'torch', 'aiida', 'pymatgen', 'matplotlib', 'scipy'} & set(result.stdout.split())

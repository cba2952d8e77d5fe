"""The command line as a whole: quick help, no torch, readable errors."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main

HEAVY = ('torch', 'pymatgen', 'ase', 'numba', 'aiida.orm', 'sqlalchemy')


@pytest.mark.parametrize(
    'command',
    [
        [],
        ['setup'],
        ['import'],
        ['screen'],
        ['show'],
        ['model'],
        ['model', 'list'],
        ['campaign'],
        ['campaign', 'start'],
    ],
)
def test_help(command):
    result = CliRunner().invoke(main, [*command, '--help'])
    assert result.exit_code == 0
    assert 'Usage: ' in result.output


def test_help_imports_nothing_heavy():
    program = (
        'import sys\nfrom aiida_goectp.cli import main\n'
        'main(["screen", "--help"], standalone_mode=False)\n'
        f'heavy = [name for name in {HEAVY!r} if name in sys.modules]\n'
        'assert not heavy, heavy'
    )
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_wrong_command_suggests_the_right_one():
    result = CliRunner().invoke(main, ['sceen'])
    assert result.exit_code == 2
    assert 'screen' in result.output

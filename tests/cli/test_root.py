"""``aiida-goectp`` as a whole: help of every command, import time, suggestions."""

import subprocess
import sys

import click
import pytest

from aiida_goectp.cli import main
from aiida_goectp.cli.data import data_goectp
from tests.cli.runner import invoke

HEAVY = ('torch', 'pymatgen', 'ase', 'numba', 'numpy', 'rich', 'aiida.orm', 'sqlalchemy')


def commands(command, path=()):
    yield path, command
    for name, child in getattr(command, 'commands', {}).items():
        yield from commands(child, (*path, name))


@pytest.mark.parametrize(
    ('path', 'command'), commands(main), ids=lambda item: ' '.join(item) if isinstance(item, tuple) else ''
)
def test_help_of_each_command(path, command):
    assert command.get_short_help_str(limit=60).rstrip('.') == command.help.splitlines()[0].rstrip('.')
    assert 'Usage: ' in invoke(*path, '--help')


@pytest.mark.parametrize('command', [main, data_goectp], ids=lambda command: command.name)
def test_each_option_has_a_help_text(command):
    silent = [
        (*path, parameter.name)
        for path, item in commands(command)
        for parameter in item.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert not silent


def test_help_imports_nothing_heavy():
    program = (
        'import sys\nfrom aiida_goectp.cli import main\n'
        'main(["screen", "--help"], standalone_mode=False)\n'
        f'heavy = [name for name in {HEAVY!r} if name in sys.modules]\n'
        'assert not heavy, heavy'
    )
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_misspelt_command_is_corrected():
    assert 'screen' in invoke('sceen', status=2)

"""``aiida-goectp`` as a whole: help of every command, import time, suggestions."""

import os
import subprocess
import sys

import click
import pytest

from aiida_goectp.cli import main
from aiida_goectp.cli.data import data_goectp
from aiida_goectp.core.executable.main import main as goectp
from tests.cli.runner import invoke

WITHOUT_DATA = {
    main: {
        'setup dfpt',
        'dataset export',
        'plot',
        'report',
        'graph',
        'phonons phonopy',
        'model export',
        'campaign export',
        'campaign stop',
        'campaign template',
    },
    data_goectp: {f'{kind} export' for kind in data_goectp.commands},
    goectp: {'prepare', 'train', 'join'},
}
"""commands that write files or change something, and print messages only"""
HEAVY = ('torch', 'pymatgen', 'ase', 'numba', 'numpy', 'rich', 'aiida.orm', 'sqlalchemy')


def commands(command, path=()):
    yield path, command
    context = click.Context(command)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        yield from commands(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize(
    ('path', 'command'), commands(main), ids=lambda item: ' '.join(item) if isinstance(item, tuple) else ''
)
def test_help_of_each_command(path, command):
    assert command.get_short_help_str(limit=60).rstrip('.') == command.help.splitlines()[0].rstrip('.')
    assert 'Usage: ' in invoke(*path, '--help')


@pytest.mark.parametrize('root', WITHOUT_DATA, ids=['aiida-goectp', 'verdi data goectp', 'goectp'])
def test_commands_that_print_data_have_json_and_raw(root):
    missing = {
        ' '.join(path)
        for path, item in commands(root)
        if not isinstance(item, click.Group) and not {'--json', '--raw'} <= {o for p in item.params for o in p.opts}
    }
    assert missing == WITHOUT_DATA[root]


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


def test_a_closed_pipe_ends_a_command_without_a_traceback():
    """Also one whose message AiiDA prints, after which its handler would go on."""
    program = (
        'import click, os, sys\n'
        'from aiida.cmdline.utils.log import CliHandler\n'
        'from aiida_goectp.cli import echo\n'
        'echo.verdi.CMDLINE_LOGGER.addHandler(CliHandler())\n'
        '@click.group(cls=echo.CommandGroup)\n'
        'def main(): pass\n'
        '@main.command()\n'
        'def one():\n'
        '    echo.echo_success("done")\n'
        '    os._exit(9)\n'
        'main(["one"])\n'
    )
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, '-c', program]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, '')


def test_misspelt_command_is_corrected():
    assert 'screen' in invoke('sceen', status=2)


@pytest.mark.parametrize('arguments', [('model', 'list'), ('show', '5')])
def test_message_without_a_profile(arguments, tmp_path):
    """A command and a parameter that load the profile state the same, without the configuration of AiiDA."""
    program = 'import sys\nfrom aiida_goectp.cli import main\nmain(sys.argv[1:])'
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path)}
    command = [sys.executable, '-c', program, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr
    assert {'source .venv/bin/activate', 'export AIIDA_PATH=$PWD/.aiida'} <= {
        line.strip() for line in result.stderr.splitlines()
    }
    assert 'CONFIG_VERSION' not in result.stderr

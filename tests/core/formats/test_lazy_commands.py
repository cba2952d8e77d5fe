"""Groups of commands that are imported when they are needed."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main as aiida_goectp
from aiida_goectp.core.executable.main import main as goectp


@pytest.mark.parametrize('group', [goectp, aiida_goectp], ids=lambda group: group.name)
def test_summaries_are_the_first_lines_of_the_help(group):
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    assert {name: item.get_short_help_str(200) for name, item in commands.items()} == {
        name: item.summary for name, item in group.lazy_commands.items()
    }
    assert set(commands) == set(group.commands)


def test_help_imports_no_command():
    program = (
        'import sys\nfrom aiida_goectp.core.executable.main import main\n'
        'main(["--help"], standalone_mode=False)\n'
        'print([name for name in sys.modules if name.startswith("aiida_goectp.core.executable.") or name == "numpy"])'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['aiida_goectp.core.executable.main']"
    assert all(name in done.stdout for name in goectp.lazy_commands)


def test_unknown_command():
    result = CliRunner().invoke(goectp, ['predikt'])
    assert (result.exit_code, 'predikt' in result.stderr) == (2, True)

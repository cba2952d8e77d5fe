"""The recorded session of the manual: its commands, run in a new profile, and what they print.

``python -m tests.recorded_session`` in an empty folder writes the outputs into the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'tutorials' / 'recorded_session.md'
_BLOCK = re.compile(r'(?<=^```console\n).*?(?=^```)', re.DOTALL | re.MULTILINE)


def recorded(text: str) -> list[list[str]]:
    """Return the lines of each command of a page: the command, and its output."""
    commands: list[list[str]] = []
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith('$ '):
                commands.append([])
            commands[-1].append(line)
    return commands


def new_profile(folder: Path) -> dict[str, str]:
    """Make the profile of the quickstart and its files in a folder, and return the environment of a shell there."""
    shutil.copytree(ROOT / 'examples' / 'structures', folder / 'examples' / 'structures')
    (folder / '.aiida').mkdir()
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment = {**os.environ, 'AIIDA_PATH': str(folder / '.aiida'), 'PYTHONPATH': str(ROOT), 'PATH': path}
    environment.pop('AIIDA_PROFILE', None)
    profile = '--profile-name goectp --email quickstart@localhost --use-zeromq --non-interactive'
    output_of(f'verdi presto {profile}', folder, environment)
    return environment


def output_of(command: str, folder: Path, environment: dict[str, str]) -> list[str]:
    """Run a command and return what it prints, without durations and empty lines; of ``verdi`` the last message."""
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    lines = [re.sub(r', took [\d:]+', '', line).rstrip() for line in done.stdout.splitlines()]
    if command.startswith('verdi '):
        lines = [line for line in lines if line.startswith('Success')]
    return [line for line in lines if line]


def record(folder: Path) -> None:
    """Write the outputs of all commands into the page."""
    environment = new_profile(folder)

    def run(block: re.Match[str]) -> str:
        commands = [line for line in block.group().splitlines() if line.startswith('$ ')]
        outputs = [[line, *output_of(line[2:], folder, environment)] for line in commands]
        return ''.join(f'{line}\n' for lines in outputs for line in lines)

    PAGE.write_text(_BLOCK.sub(run, PAGE.read_text(encoding='utf-8')), encoding='utf-8')


if __name__ == '__main__':
    record(Path.cwd())

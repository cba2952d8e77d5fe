"""The recorded session of the manual: its commands, run in a new profile, and what they print.

``python -m tests.recorded_session`` in an empty folder writes the outputs into the page, draws its figures, and
executes the notebook of the examples. It needs Chromium.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from aiida_goectp.core.formats.model_card import model_hash, resolve_model

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'tutorials' / 'recorded_session.md'
FIGURES = PAGE.parent / 'figures'
MODEL_OF_FIGURES = FIGURES / 'model.json'
NOTEBOOK = ROOT / 'examples' / 'screening.ipynb'
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
    """Write the outputs of all commands into the page, with the figures that they make, and execute the notebook."""
    environment = new_profile(folder)

    def run(block: re.Match[str]) -> str:
        commands = [line for line in block.group().splitlines() if line.startswith('$ ')]
        outputs = [[line, *output_of(line[2:], folder, environment)] for line in commands]
        return ''.join(f'{line}\n' for lines in outputs for line in lines)

    PAGE.write_text(_BLOCK.sub(run, PAGE.read_text(encoding='utf-8')), encoding='utf-8')
    draw_figures(folder)
    execute_notebook(environment)


def draw_figures(folder: Path) -> None:
    """Copy the figure and the browser view of the report of the session, with the content hash of their model."""
    from playwright.sync_api import sync_playwright

    shutil.copy(folder / 'gap.svg', FIGURES)
    # without a GPU, WebGL is computed by SwiftShader
    options = ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=options)
        page = browser.new_page(viewport={'width': 1280, 'height': 1300})
        page.goto((folder / 'report.html').as_uri())
        for drawing in ('#plot .main-svg', '#crystal canvas'):
            page.wait_for_selector(drawing, timeout=120_000)
        page.wait_for_timeout(5_000)  # until the canvas is drawn
        picture = Image.open(io.BytesIO(page.screenshot(timeout=120_000))).convert('RGB')
        browser.close()
    picture.quantize(256).save(FIGURES / 'report.png', optimize=True)
    found = {'model': 'goectp', 'model_hash': model_hash(resolve_model('goectp'))}
    MODEL_OF_FIGURES.write_text(json.dumps(found, indent=1) + '\n', encoding='utf-8')


def execute_notebook(environment: dict[str, str]) -> None:
    """Execute the notebook of the examples, and store its outputs without messages and times."""
    notebook = nbformat.read(NOTEBOOK, 4)
    client = NotebookClient(
        notebook, timeout=600, record_timing=False, resources={'metadata': {'path': str(NOTEBOOK.parent)}}
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs = [one for one in cell.outputs if one.get('name') != 'stderr']
    notebook.metadata.language_info = {'name': 'python'}
    nbformat.write(notebook, NOTEBOOK)


if __name__ == '__main__':
    record(Path.cwd())

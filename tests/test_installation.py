"""Two ways to install: the plugin with everything, and the executable without AiiDA."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.executable.main import main
from tests import tiny

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
_OPTIONAL = {'pandas', 'phonopy'}
"""for data frames in notebooks, and for labels from phonopy sets"""
_DISTRIBUTIONS = {'yaml': 'pyyaml'}
"""modules that have another name than their package"""
REQUIREMENTS = ROOT / 'requirements-compute.txt'


def imports_of_the_executable() -> set[str]:
    """Return the third-party packages that modules reachable from the executable import, anywhere in their files."""
    pending = ['aiida_goectp.core.executable.main', *(item.place.split(':')[0] for item in main.lazy_commands.values())]
    found, done = set(), set()
    while pending:
        name = pending.pop()
        path = ROOT / name.replace('.', '/')
        path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
        if name in done or not path.is_file():  # an attribute of a module
            continue
        done.add(name)
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)]
            pending += [module for module in modules if module.startswith('aiida_goectp.')]
            found |= {module.partition('.')[0] for module in modules}
    found = found - {'aiida_goectp', *sys.stdlib_module_names}
    return {_DISTRIBUTIONS.get(name, name) for name in found - _OPTIONAL}


def requirements(lines) -> dict[str, str]:
    """Return the requirement of each package by its name."""
    return {re.match(r'[\w-]+', line)[0]: line for line in lines if line and not line.startswith('#')}


def test_requirements_are_the_imports_of_the_executable():
    assert set(requirements(REQUIREMENTS.read_text().splitlines())) == imports_of_the_executable()


def test_requirements_have_the_bounds_of_the_package():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text('utf-8'))['project']
    compute = requirements(REQUIREMENTS.read_text().splitlines())
    assert compute.items() <= requirements(project['dependencies']).items()


def test_links_of_the_long_description_are_absolute():
    """Each leads to a page of the manual or a file that exists."""
    script = runpy.run_path(str(ROOT / 'setup.py'))
    urls = tomllib.loads((ROOT / 'pyproject.toml').read_text('utf-8'))['project']['urls']
    assert script['DOCUMENTATION'] == f'{urls["Documentation"]}/en/latest'
    assert script['FILES'] == f'{urls["Source"]}/blob/main'
    assert script['IMAGES'] == f'{urls["Source"]}/main'.replace('//github.com', '//raw.githubusercontent.com')
    text = script['absolute_links']((ROOT / 'README.md').read_text('utf-8'))
    targets = re.findall(r'\]\(([^()\s]+)\)', text)
    assert all(target.startswith('https://') for target in targets)
    paths = []
    for target in targets:
        path = target.partition('#')[0]
        for name, folder in (('DOCUMENTATION', 'docs/'), ('FILES', ''), ('IMAGES', '')):
            if path.startswith(f'{script[name]}/'):
                paths.append(folder + re.sub(r'\.html$', '.md', path.removeprefix(f'{script[name]}/')))
    assert {'docs/explanation/figures/campaign.svg', 'CONTRIBUTING.md'} <= set(paths)
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def link_installed(name: str, site: Path) -> None:
    """Link a package and its dependencies from this environment, with their metadata, into another site-packages."""
    found = distribution(name)
    folders = {file.parts[0] for file in found.files if file.parts[0] not in ('..', '__pycache__')}
    for folder in folders:
        if not (site / folder).exists():
            (site / folder).symlink_to(Path(found.locate_file(folder)).resolve())
    for line in found.requires or ():
        needed = re.match(r'[\w.-]+', line)[0]
        if 'extra ==' not in line and needed != 'setuptools':
            with suppress(PackageNotFoundError):  # a requirement on another platform
                link_installed(needed, site)


@pytest.fixture(scope='module')
def compute_node(tmp_path_factory):
    """Return a function that runs a command of a fresh environment with the executable and without AiiDA.

    Everything is installed as ``docs/howto/without_aiida.md`` says, except torch, whose wheel may take gigabytes: it is
    linked from this environment.
    """
    folder = tmp_path_factory.mktemp('compute')
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'VIRTUAL'))}

    def run(*command, status=0):
        process = subprocess.run(
            [folder / 'venv' / 'bin' / str(command[0]), *map(str, command[1:])],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == status, process.stdout + process.stderr
        return process.stdout + process.stderr

    source = folder / 'source'
    shutil.copytree(ROOT / 'aiida_goectp', source / 'aiida_goectp', ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('pyproject.toml', 'setup.cfg', 'setup.py', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, '-m', 'venv', folder / 'venv'], check=True)
    link_installed('torch', next(folder.glob('venv/lib/python*/site-packages')))
    pip = ('python', '-m', 'pip', '--disable-pip-version-check')
    run(*pip, 'install', '--no-compile', '--constraint', ROOT / 'constraints.txt', '--requirement', REQUIREMENTS)
    run(*pip, 'wheel', '--no-deps', '--wheel-dir', folder, source)
    run(*pip, 'install', '--no-deps', next(folder.glob('*.whl')))
    installed = next(folder.glob('venv/lib/python*/site-packages/aiida_goectp'))
    for loop in (ROOT / 'aiida_goectp').rglob('*.nbc'):  # compiled from the same sources, which takes a minute
        shutil.copy(loop, installed / loop.relative_to(ROOT / 'aiida_goectp'))
    return run, folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_executable_works_without_aiida(compute_node):
    run, folder = compute_node
    for module in ('aiida', 'pymatgen', 'aiida_vasp', 'torch_geometric'):
        assert 'ModuleNotFoundError' in run('python', '-c', f'import {module}', status=1)
    shutil.copytree(ROOT / 'examples' / 'structures', folder / 'structures')
    run('goectp', 'predict', 'structures', '--model', 'goectp-small', '--output', 'out.npz', '--device', 'cpu')
    predictions = Predictions.load(folder / 'out.npz')
    assert len(predictions) > 1
    assert not predictions.failed.any()
    assert np.isfinite(predictions.total_std).all()
    tiny.some_dataset(60).with_split('mine', 'random', 0, (0.4, 0.5, 0.1)).save(folder / 'data.npz')
    for preset in ('goectp', 'descriptors'):
        run(
            'goectp', 'train', 'data.npz', '--split', 'mine', '--preset', preset, '--width', 8, '--layers', 1,
            '--epochs', 1, '--device', 'cpu', '--output', f'{preset}.safetensors',
        )  # fmt: skip
    run(
        'goectp', 'join', 'goectp.safetensors', 'descriptors.safetensors', '--dataset', 'data.npz', '--split', 'mine',
        '--output', 'both.safetensors',
    )  # fmt: skip
    assert '2 member(s)' in run('goectp', 'info', 'both.safetensors')


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_line_of_the_plugin_names_what_to_install(compute_node):
    output = compute_node[0]('aiida-goectp', '--help', status=1)
    assert len(output.splitlines()) == 1
    assert 'pip install aiida-goectp' in output

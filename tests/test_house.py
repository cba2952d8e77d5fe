"""The rules of the house: who may import whom, what every entry point must do, how long files and functions may be."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import aiida_goectp

ROOT = Path(aiida_goectp.__file__).parent
GROUPS = ('aiida.data', 'aiida.calculations', 'aiida.parsers', 'aiida.workflows', 'aiida.cmdline.data')
RIGHT = ('network', 'learning', 'worker')
LEFT = ('data', 'calculations', 'parsers', 'workflows')
# whatever else lies in the package is the ground floor
GROUND = tuple(sorted({path.stem for path in ROOT.glob('[a-z]*')} - {*RIGHT, *LEFT, 'cli', 'report', 'models', 'py'}))

MAX_FILE, MAX_FUNCTION = 450, 60

_IMPORT_AND_TELL = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def _points():
    return [point for group in GROUPS for point in entry_points(group=group) if point.value.startswith('aiida_goectp')]


def _modules(*rooms: str) -> list[str]:
    """Names of all modules of these rooms, or of these single modules."""
    names = [module.name for module in pkgutil.walk_packages([str(ROOT)], 'aiida_goectp.')]
    return [name for name in names if name.split('.')[1] in rooms and not name.endswith('__main__')]


def _loaded(modules: list[str]) -> set[str]:
    """Import modules in a fresh interpreter and return the top-level names of everything that is loaded then."""
    command = [sys.executable, '-W', 'ignore', '-c', _IMPORT_AND_TELL, json.dumps(modules)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize('point', _points(), ids=lambda point: f'{point.group}:{point.name}')
def test_entry_point_loads(point):
    assert point.load() is not None


def test_entry_points_carry_the_prefix_of_the_package():
    names = {point.name for point in _points()}
    assert {'goectp.crystals', 'goectp.predict', 'goectp.screen'} <= names
    # a subcommand of `verdi data` is called by its name: no dot there
    others = {point.name for point in _points() if not point.name.startswith('goectp.')}
    assert others <= {point.name for point in entry_points(group='aiida.cmdline.data')}
    assert others <= {'goectp'}


def test_loading_every_entry_point_imports_no_torch():
    modules = {'aiida_goectp', *(point.module for point in _points())}
    # what an engine builds on imports ase itself; only who runs that engine pays for it
    engines = {module for module in modules if module.startswith('aiida_goectp.workflows.dfpt.')}
    for names, too_much in ((modules - engines, {'ase', 'numba'}), (engines, set())):
        heavy = _loaded(sorted(names)) & {'torch', 'torch_geometric', 'pymatgen', *too_much}
        assert not heavy, f'each verdi call would pay for {heavy}; import them inside functions'


def test_the_command_line_of_the_aiida_side_imports_no_torch():
    assert not _loaded(['aiida_goectp.cli']) & {'torch', 'torch_geometric'}


def test_the_network_side_imports_neither_aiida_nor_pymatgen():
    modules = _modules(*RIGHT)
    assert len(modules) > len(RIGHT)
    assert not _loaded(modules) & {'aiida', 'pymatgen'}


def test_the_ground_floor_imports_neither_wing():
    modules = _modules(*GROUND)
    assert {'aiida_goectp.crystals.readers', 'aiida_goectp.npzfile'} <= set(modules)
    assert not _loaded(modules) & {'aiida', 'torch', 'torch_geometric', 'pymatgen'}


def _imports(path: Path) -> set[str]:
    """Rooms of this package that a file imports anywhere, within functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}:{node.lineno}: relative import'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        found |= {name.split('.')[1] for name in names if name.startswith('aiida_goectp.')}
    return found


# calculations.inprocess is the one bridge: it predicts in the process itself, and imports learning inside a function.
BRIDGES = {('calculations', 'learning')}


@pytest.mark.parametrize(
    ('rooms', 'forbidden'),
    [
        (GROUND, {*RIGHT, *LEFT, 'cli', 'report'}),
        (('network',), {'learning', 'worker', *LEFT, 'cli', 'report'}),
        (('learning',), {'worker', *LEFT, 'cli', 'report'}),
        (('worker',), {*LEFT, 'cli', 'report'}),
        (LEFT, {*RIGHT, 'cli', 'report'}),
    ],
    ids=['ground', 'network', 'learning', 'worker', 'aiida'],
)
def test_arrows_between_rooms_point_down(rooms, forbidden):
    for path in sorted(ROOT.rglob('*.py')):
        room = path.relative_to(ROOT).parts[0].removesuffix('.py')
        if room in rooms:
            up = {name for name in _imports(path) & forbidden if (room, name) not in BRIDGES}
            assert not up, f'{path.relative_to(ROOT)} imports {up}'


def _source_files() -> list[Path]:
    top = ROOT.parent
    folders = (ROOT, top / 'tests', top / 'examples', top / 'benchmarks', top / 'docs')
    return sorted(path for folder in folders if folder.is_dir() for path in folder.rglob('*.py'))


def test_files_are_short():
    long = {
        path.name: count
        for path in _source_files()
        if (count := len(path.read_text(encoding='utf-8').splitlines())) > MAX_FILE
    }
    assert not long


def test_functions_are_short():
    long = [
        f'{path.relative_to(ROOT)}:{node.lineno} {node.name}'
        for path in sorted(ROOT.rglob('*.py'))
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long


def test_no_pickle_is_ever_read():
    for path in sorted(ROOT.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
                assert (node.arg, node.value.value) not in {('allow_pickle', True), ('weights_only', False)}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert called not in {'pickle.load', 'pickle.loads', 'pickle.Unpickler', 'joblib.load'}, path
                safe = any(word.arg == 'weights_only' for word in node.keywords)
                assert called != 'torch.load' or safe, f'{path}:{node.lineno} loads without weights_only'

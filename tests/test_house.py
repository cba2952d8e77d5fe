"""Rules of the package layout: import directions, entry points, sizes of rooms, files and functions."""

from __future__ import annotations

import ast
import functools
import gc
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
# From the bottom up: a module may import its own layer and those above it in this list.
LAYERS = (
    'core.formats',
    'core.crystals',
    'core.dielectric',
    'core.dfpt',
    'core.network',
    'core.datasets',
    'core.selection',
    'core.learning',
    'core.figures',
    'core.executable',
    'databases',
    'data',
    'calculations',
    'parsers',
    'workflows',
    'report',
    'cli',
)
MAX_FILES = 20

MAX_FILE, MAX_FUNCTION = 450, 60

_IMPORT_AND_TELL = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def _points():
    return [point for group in GROUPS for point in entry_points(group=group) if point.value.startswith('aiida_goectp')]


def _modules(room: str = '') -> list[str]:
    """Return the names of all modules, or of those of one room with its subrooms."""
    names = [module.name for module in pkgutil.walk_packages([str(ROOT)], 'aiida_goectp.')]
    inside = f'aiida_goectp.{room}'
    return [name for name in names if (name + '.').startswith(inside) and not name.endswith('__main__')]


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


def test_core_imports_neither_aiida_nor_pymatgen():
    modules = _modules('core.')
    assert {'aiida_goectp.core.crystals.readers', 'aiida_goectp.core.executable.main'} <= set(modules)
    assert not _loaded(modules) & {'aiida', 'pymatgen'}
    for path in sorted((ROOT / 'core').rglob('*.py')):
        outside = {name.split('.')[0] for name in _imported(path)}
        assert not outside & {'aiida', 'aiida_vasp', 'aiida_quantumespresso', 'pymatgen'}, path


def test_tables_and_selection_import_no_torch():
    rooms = ('core.formats', 'core.crystals', 'core.dielectric', 'core.datasets', 'core.selection', 'core.figures')
    modules = [name for room in rooms for name in _modules(f'{room}.')]
    assert 'aiida_goectp.core.formats.npz' in modules
    assert not _loaded(modules) & {'torch', 'torch_geometric'}


@functools.cache
def _syntax(path: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Without garbage collection: what it finalizes (processes of earlier tests) may parse source as well, and until
    Python 3.11.8 ``ast.parse`` fails when it is entered twice (https://github.com/python/cpython/issues/106905).
    """
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding='utf-8'))
    finally:
        gc.enable()


def _imported(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, within functions as well."""
    found = set()
    for node in ast.walk(_syntax(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}:{node.lineno}: relative import'
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
    return found


def _layer(module: str) -> int | None:
    """Return the place of the layer of a module, ``None`` for the bare names of packages that hold layers."""
    name = module.removeprefix('aiida_goectp.')
    places = [place for place, layer in enumerate(LAYERS) if f'{name}.'.startswith(f'{layer}.')]
    return places[0] if places else None


def test_every_module_belongs_to_a_layer():
    outside = {name for name in _modules() if _layer(name) is None}
    assert outside == {'aiida_goectp.core'}


@pytest.mark.parametrize('layer', LAYERS)
def test_imports_point_to_lower_layers(layer):
    own = LAYERS.index(layer)
    for path in sorted((ROOT / layer.replace('.', '/')).rglob('*.py')):
        for name in _imported(path):
            if name.startswith('aiida_goectp.') and name != 'aiida_goectp.__version__':
                other = _layer(name)
                assert other is not None, f'{path.relative_to(ROOT)} imports {name}, which is in no layer'
                assert other <= own, f'{path.relative_to(ROOT)} imports {name} from a higher layer'


def test_no_module_at_a_package_root():
    for folder in (ROOT, ROOT / 'core'):
        assert [path.name for path in folder.glob('*.py')] == ['__init__.py']


def test_rooms_have_few_files():
    rooms = {path.parent for path in ROOT.rglob('*.py')}
    assert not {str(room.relative_to(ROOT)) for room in rooms if len(list(room.glob('*.py'))) > MAX_FILES}


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
        for node in ast.walk(_syntax(path))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long


def test_one_module_prints():
    """All output passes ``core.formats.terminal``, which escapes what a terminal would execute."""
    allowed = {'core/formats/terminal.py', 'cli/echo.py'}
    for path in sorted(ROOT.rglob('*.py')):
        if str(path.relative_to(ROOT)) in allowed:
            continue
        for node in ast.walk(_syntax(path)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                printer = name in ('print', 'click.echo', 'click.secho', 'sys.stdout.write', 'sys.stderr.write')
                assert not printer, f'{path}:{node.lineno} prints with {name}'
        assert 'aiida.cmdline.utils.echo' not in _imported(path), path


def test_no_pickle_is_ever_read():
    for path in sorted(ROOT.rglob('*.py')):
        for node in ast.walk(_syntax(path)):
            if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
                assert (node.arg, node.value.value) not in {('allow_pickle', True), ('weights_only', False)}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert called not in {'pickle.load', 'pickle.loads', 'pickle.Unpickler', 'joblib.load'}, path
                safe = any(word.arg == 'weights_only' for word in node.keywords)
                assert called != 'torch.load' or safe, f'{path}:{node.lineno} loads without weights_only'

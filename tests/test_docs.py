"""The manual: its Python code compiles, its commands, options and files exist, its example backbone is covariant."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main as aiida_goectp
from aiida_goectp.core.crystals import read_structures
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.executable.main import main as goectp
from aiida_goectp.core.formats.model_card import model_hash, resolve_model
from aiida_goectp.core.learning.predict import predict_crystals
from tests.recorded_session import MODEL_OF_FIGURES, NOTEBOOK, PAGE, recorded
from tests.rows import PHONONDB
from tests.test_recorded_session import same

DOCS = Path(__file__).parents[1] / 'docs'
PAGES = [*sorted(DOCS.rglob('*.md')), DOCS.parent / 'README.md']
FIRST_STEPS = [DOCS.parent / 'README.md', DOCS / 'tutorials' / 'quickstart.md']


def _blocks(path: Path) -> list[str]:
    return re.findall(r'^```python\n(.*?)^```', path.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.stem)
def test_python_blocks_compile(path):
    for block in _blocks(path):
        compile(block, str(path), 'exec')


def _commands(path: Path) -> list[list[str]]:
    """Return the commands of this package in the console blocks of a page, with continued lines joined."""
    text = '\n'.join(re.findall(r'^```console\n(.*?)^```', path.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE))
    lines = [line.removeprefix('$ ') for line in text.replace('\\\n', ' ').splitlines() if line.startswith('$ ')]
    parts = [shlex.split(part, comments=True) for line in lines for part in re.split(r' (?:&&|\|) ', line)]
    return [words for words in parts if words and Path(words[0]).name in ('goectp', 'aiida-goectp')]


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.stem)
def test_commands_and_options_exist(path):
    for name, *words in _commands(path):
        command: click.Command = aiida_goectp if name == 'aiida-goectp' else goectp
        while isinstance(command, click.Group) and words and not words[0].startswith('-'):
            command = _child(command, words.pop(0))
        known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        unknown = {word for word in words if word.startswith('-')} - known - {'--help', '--version'}
        assert not unknown, f'{name} {command.name}'


def _child(group: click.Group, name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None, name
    return command


def _names(command: click.Command, name: str) -> set[str]:
    words = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else ()
    return {name}.union(*(_names(_child(command, word), f'{name} {word}') for word in words))


@pytest.mark.parametrize('path', FIRST_STEPS, ids=lambda path: path.stem)
def test_printed_prediction(path, monkeypatch):
    """The tensors on the page are those of the shipped model."""
    monkeypatch.chdir(DOCS.parent)
    ((command, *expected),) = [item for item in recorded(path.read_text('utf-8')) if item[0].endswith('anatase.cif')]
    result = CliRunner().invoke(goectp, shlex.split(command)[2:])
    assert result.exit_code == 0, result.output
    printed, found = ' '.join(expected).split(), result.stdout.split()
    assert len(printed) == len(found)
    assert [pair for pair in zip(printed, found, strict=True) if not same(*pair)] == []


@pytest.mark.parametrize('path', FIRST_STEPS, ids=lambda path: path.stem)
def test_printed_tables_are_those_of_the_recorded_session(path):
    session = {line.strip() for line in PAGE.read_text('utf-8').splitlines()}
    blocks = re.findall(r'^```text\n(.*?)^```', path.read_text('utf-8'), re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert len(lines) > 5
    assert [line for line in lines if line not in session] == []


def test_recorded_figures_and_notebook_are_of_the_shipped_model():
    """``python -m tests.recorded_session`` makes all of them, with the content hash of the model."""
    cells = json.loads(NOTEBOOK.read_text('utf-8'))['cells']
    printed = ''.join(text for cell in cells for one in cell.get('outputs', ()) for text in one.get('text', ()))
    hashes = re.findall(r'^model (\w+)$', printed, re.MULTILINE)
    hashes.append(json.loads(MODEL_OF_FIGURES.read_text('utf-8'))['model_hash'])
    assert hashes == 2 * [model_hash(resolve_model('goectp'))]


def test_shown_ranking_has_the_predictions_of_the_recorded_session():
    """Another figure of merit gives other ranks and scores of the same predictions."""

    def predicted(path):
        rows = re.findall(r'^ +\d+ +(\S+) +\S+ +[\d.]+ +(\d.*?  [01]\.\d\d)\b', path.read_text('utf-8'), re.MULTILINE)
        return {name: cells.split() for name, cells in rows}

    session = predicted(PAGE)
    shown = predicted(DOCS / 'explanation' / 'reading_a_prediction.md')
    assert {'KTaO3-perovskite', 'TiO2-anatase'} <= {*shown}
    assert shown == {name: session[name] for name in shown}


def test_reference_has_every_command():
    text = (DOCS / 'reference' / 'cli.md').read_text(encoding='utf-8')
    described = set(re.findall(r'^```{command-help} (.+)$', text, re.MULTILINE))
    assert described == _names(goectp, 'goectp') | _names(aiida_goectp, 'aiida-goectp') | {'verdi data goectp'}


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.stem)
def test_named_files_exist(path):
    for name in re.findall(r'`((?:examples|benchmarks|aiida_goectp|tests)/[\w./-]+\.\w+)`', path.read_text('utf-8')):
        assert (DOCS.parent / name).is_file(), name


def test_backbones_of_the_manual_conform(monkeypatch):
    """The blocks of the page are one script that ends with the conformance checks."""
    from aiida_goectp.core.network import backbone, conformance

    checked = []
    monkeypatch.setattr(backbone, 'BACKBONES', dict(backbone.BACKBONES))
    monkeypatch.setattr(conformance, 'BACKBONES', backbone.BACKBONES)
    original = conformance.check_backbone
    monkeypatch.setattr(conformance, 'check_backbone', lambda name, **o: checked.append(name) or original(name, **o))
    exec('\n'.join(_blocks(DOCS / 'howto' / 'backbone.md')), {'__name__': 'example'})
    assert len(checked) == 3


def test_blocks_about_acquisition_functions_run():
    """The blocks of the page are one script, whose assertions hold."""
    names = {'__name__': 'example'}
    exec('\n'.join(_blocks(DOCS / 'howto' / 'acquisition.md')), names)
    assert names['entry'].needs_std


@pytest.mark.slow
@pytest.mark.usefixtures('code')
def test_blocks_about_notebooks_run(capsys):
    """The blocks of the page are one script, that of the README is another one."""
    names = {'__name__': 'example'}
    exec('\n'.join(_blocks(DOCS / 'howto' / 'notebook.md')), names)
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:4]] == [['MgO', 'MgO'], ['Si', 'Si8']]
    assert names['builder'].number.value == 1
    exec('\n'.join(_blocks(DOCS.parent / 'README.md')), {'__name__': 'example'})
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:]] == [['MgO', 'MgO'], ['Si', 'Si2']]


@pytest.mark.slow
def test_blocks_about_files_run(tmp_path, monkeypatch, capsys):
    """The blocks of two pages without AiiDA, with the files that they read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'examples' / 'structures').mkdir(parents=True)
    for name in ('MgO-rocksalt.cif', 'Si-diamond.cif'):
        shutil.copy(DOCS.parent / 'examples' / 'structures' / name, 'examples/structures')
    predict_crystals(read_structures(['examples/structures']), 'goectp-small').save('predictions.npz')
    exec('\n'.join(_blocks(DOCS / 'howto' / 'without_aiida.md')), {'__name__': 'example'})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ['MgO-rocksalt', 'Si-diamond']
    shutil.copy(PHONONDB, 'labels.jsonl.gz')
    Dataset.load(PHONONDB, functional='PBEsol').take(range(3)).save('more.npz')
    exec('\n'.join(_blocks(DOCS / 'howto' / 'datasets.md')), {'__name__': 'example'})
    assert int(capsys.readouterr().out.split()[1]) >= 3  # rows that are in both


def test_block_about_own_labels_runs(capsys, tmp_path, monkeypatch):
    (tmp_path / 'runs').mkdir()
    for item in (DOCS.parent / 'tests' / 'data' / 'finished').iterdir():
        shutil.copytree(item, tmp_path / 'runs' / item.name)
    (tmp_path / 'runs' / 'OUTCAR').write_text('killed')
    monkeypatch.chdir(tmp_path)
    exec('\n'.join(_blocks(DOCS / 'howto' / 'own_labels.md')), {'__name__': 'example'})
    assert capsys.readouterr().out.splitlines() == ["2 2 {'unfinished': 1}", 'runs unfinished']
    assert (tmp_path / 'dataset.npz').is_file()

"""Sphinx directives that generate reference tables from the code, so that both agree."""

from __future__ import annotations

import inspect
import logging
import os
import tempfile
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from docutils import nodes
from plumpy.ports import PortNamespace
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def _load(name: str) -> Any:
    module, _, attribute = name.partition(':')
    return getattr(import_module(module), attribute)


def _cell(text: object) -> str:
    """Return a text in one line, with the characters escaped that have a meaning in Markdown tables."""
    return ' '.join(str(text).split()).replace('|', r'\|').replace('<', r'\<').replace('*', r'\*')


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


class _Generated(SphinxDirective):
    """Base of the directives: ``text`` returns Markdown for the object that the argument names."""

    required_arguments = 1
    final_argument_whitespace = True

    def text(self, name: str) -> str:
        raise TypeError(type(self).__name__)

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.text(self.arguments[0]))


PROGRAMS = {
    'goectp': 'aiida_goectp.core.executable.main:main',
    'aiida-goectp': 'aiida_goectp.cli:main',
    'verdi data goectp': 'aiida_goectp.cli.data:data_goectp',
}
"""command line → its group"""


class Help(_Generated):
    """Usage, description, and a table of options or commands of a command."""

    def text(self, name: str) -> str:
        program = max((key for key in PROGRAMS if f'{name} '.startswith(f'{key} ')), key=len)
        command: click.Command = _load(PROGRAMS[program])
        context = click.Context(command, info_name=program)
        for word in name.removeprefix(program).split():
            assert isinstance(command, click.Group)
            found = command.get_command(context, word)
            if found is None:
                raise self.severe(f'{name} is no command')
            command, context = found, click.Context(found, info_name=word, parent=context)
        parts = [f'```text\n{" ".join(context.get_usage().removeprefix("Usage: ").split())}\n```']
        parts += [_paragraph(text) for text in inspect.cleandoc(command.help or '').split('\n\n')]
        records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
        rows = [[f'`{flags}`', _cell(meaning)] for flags, meaning in filter(None, records) if '--help' not in flags]
        if rows:
            parts.append(_table(['option', 'meaning'], rows))
        if isinstance(command, click.Group):
            children = [(word, command.get_command(context, word)) for word in command.list_commands(context)]
            rows = [
                [f'`{word}`', _cell(child.get_short_help_str(200))] for word, child in children if child is not None
            ]
            parts.append(_table(['command', ''], rows))
        return '\n\n'.join(parts)


def _paragraph(text: str) -> str:
    """Return a paragraph of a help text as Markdown; click keeps the lines of one that begins with a backspace."""
    if text.startswith('\b'):
        return f'```text\n{text[1:].strip(chr(10))}\n```'
    return _cell(text)


class ExitCodes(_Generated):
    """Exit codes of a process, without those of AiiDA (below 200)."""

    def text(self, name: str) -> str:
        codes = sorted(_load(name).spec().exit_codes.items(), key=lambda item: item[1].status)
        rows = [[str(code.status), f'`{label}`', _cell(code.message)] for label, code in codes if code.status >= 200]
        return _table(['status', 'label', 'message'], rows)


def _type(port: Any) -> str:
    kinds = port.valid_type if isinstance(port.valid_type, tuple) else (port.valid_type,)
    return ', '.join(f'`{kind.__name__}`' for kind in kinds if kind not in (None, type(None)))


def _ports(namespace: Mapping[str, Any], prefix: str = '') -> list[list[str]]:
    rows = []
    for name, port in namespace.items():
        if name in ('metadata', 'monitors', 'remote_folder'):  # inputs of every CalcJob
            continue
        if isinstance(port, PortNamespace):
            if port.dynamic and not port:
                rows.append([f'`{prefix}{name}.*`', _type(port), '', _cell(port.help or '')])
            rows += _ports(port, f'{prefix}{name}.')
        else:
            needed = 'yes' if port.required and not getattr(port, 'has_default', lambda: False)() else ''
            rows.append([f'`{prefix}{name}`', _type(port), needed, _cell(port.help or '')])
    return rows


class Inputs(_Generated):
    """Inputs of a process, without those of every process, and without the namespaces given after its name."""

    def text(self, name: str) -> str:
        name, *left_out = name.split()
        rows = _ports({key: port for key, port in _load(name).spec().inputs.items() if key not in left_out})
        return _table(['input', 'type', 'required', 'meaning'], rows)


class Outputs(_Generated):
    """Outputs of a process."""

    def text(self, name: str) -> str:
        rows = [[row[0], row[1], row[3]] for row in _ports(_load(name).spec().outputs)]
        return _table(['output', 'type', 'meaning'], rows)


class Handlers(_Generated):
    """Handlers of a restart work chain, in order of priority."""

    def text(self, name: str) -> str:
        cls = _load(name)
        found = [getattr(cls, key) for key in dir(cls) if key.startswith('handle_')]
        rows = []
        for handler in sorted(found, key=lambda item: -item.priority):
            codes = inspect.getclosurevars(handler._self_wrapper).nonlocals.get('exit_codes') or []
            numbers = ', '.join(str(code.status) for code in codes)
            rows.append([str(handler.priority), numbers, f'`{handler.__name__}`', _cell(inspect.getdoc(handler))])
        return _table(['priority', 'exit codes', 'handler', 'error and reaction'], rows)


class Merits(_Generated):
    """Figures of merit; the argument is their registry."""

    def text(self, name: str) -> str:
        rows = [
            [f'`{item.name}`', _cell(item.formula), ', '.join(f'`{column}`' for column in item.columns)]
            for item in _load(name).values()
        ]
        return _table(['name', 'formula', 'required property columns'], rows)


class Fields(_Generated):
    """Fields of a pydantic model."""

    def text(self, name: str) -> str:
        rows = [[f'`{key}`', _cell(field.description or '')] for key, field in _load(name).model_fields.items()]
        return _table(['field', 'meaning'], rows)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives; commands run with a temporary AiiDA folder."""
    logging.getLogger('alembic').setLevel(logging.WARNING)  # prints seven lines when AiiDA is imported
    folder = tempfile.TemporaryDirectory(prefix='aiida-goectp-docs-')
    os.environ['AIIDA_PATH'] = folder.name
    app.connect('build-finished', lambda *_: folder.cleanup())
    directives = {
        'command-help': Help,
        'process-inputs': Inputs,
        'process-outputs': Outputs,
        'process-exit-codes': ExitCodes,
        'process-handlers': Handlers,
        'figures-of-merit': Merits,
        'model-fields': Fields,
    }
    for name, directive in directives.items():
        app.add_directive(name, directive)
    return {'parallel_read_safe': False}

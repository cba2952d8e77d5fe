"""YAML from outside, of bounded size: without aliases, which expand to any size, and without deep nesting."""

from __future__ import annotations

from typing import Any

import yaml

from aiida_goectp.core.formats.errors import FormatError

__all__ = ('read_yaml',)

_MAX_SIZE = 256 * 1024
"""characters; the nodes of the parser take up to 600 times as much memory"""
_MAX_DEPTH = 32


def read_yaml(text: str, label: str) -> tuple[yaml.Node | None, Any]:
    """Return the nodes of a YAML document, which have line numbers, and its plain content.

    :param text: the document
    :param label: name of the file, which begins error messages
    :raises FormatError: too large, invalid, with aliases, a repeated key, or nested too deeply
    """
    if len(text) > _MAX_SIZE:
        raise FormatError(f'{label}: {len(text)} characters; {_MAX_SIZE} are allowed')
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                raise FormatError(f'{label}:{line}: alias *{event.anchor}; write the value out')
            if depth > _MAX_DEPTH:
                raise FormatError(f'{label}:{line}: nested deeper than {_MAX_DEPTH} levels')
        loader = yaml.SafeLoader(text)
        try:
            tree = loader.get_single_node()
            _check_keys(tree, label)
            return tree, None if tree is None else loader.construct_document(tree)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ', '.join(item for item in (error.context, error.problem) if item)
        raise FormatError(f'{label}{f":{mark.line + 1}" if mark else ""}: invalid YAML: {words}') from error
    except yaml.YAMLError as error:
        raise FormatError(f'{label}: invalid YAML: {" ".join(str(error).split())}') from error
    except FormatError:
        raise
    except (ValueError, OverflowError, TypeError, RecursionError) as error:  # of dates, numbers and keys
        raise FormatError(f'{label}: invalid value in YAML ({error})') from error


def _check_keys(node: yaml.Node | None, label: str) -> None:
    """Refuse a repeated key: PyYAML drops all values but the last.

    :raises FormatError: with the line of the repeated key
    """
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, label)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            _check_keys(value, label)
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise FormatError(
                    f'{label}:{line}: the key {key.value!r:.60} is already in line {lines[key.value]}; remove one'
                )
            lines[key.value] = line

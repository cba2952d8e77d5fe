"""What a configuration names, as nodes: those that are there, and those that files will become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from aiida_goectp.cli.campaign.config import DatasetSource, PoolSource

__all__ = ('Source', 'find_dataset', 'find_model', 'find_node', 'find_pool')


class Source(NamedTuple):
    """A node to look at before anything is stored, and the way to the stored one."""

    node: Any
    """stored, or made of files and unstored"""
    store: Callable[[], Any]
    """gives the stored node; what files become is made by a calcfunction"""
    origin: str
    """where it comes from, in words"""


def find_node(name: str, entry_point: str) -> Any:
    """Return a stored node by PK, UUID or label.

    :param entry_point: of its type
    :raises ValueError: there is none of this type
    """
    from aiida.cmdline.params.types import DataParamType

    try:
        return DataParamType(sub_classes=(f'aiida.data:{entry_point}',)).convert(name, None, None)
    except click.ClickException as error:
        raise ValueError(error.message) from error


def _there(node: Any) -> Source:
    return Source(node, lambda: node, f'node {node.pk}')


def _node_or_file(name: str, entry_point: str, folder: Path) -> Source:
    """Return a stored node; the message says that a file was looked for, too.

    :raises ValueError: there is none
    """
    try:
        return _there(find_node(name, entry_point))
    except ValueError as error:
        raise ValueError(f'{name!r} is no file or folder in {folder}, and no node of {entry_point}: {error}') from error


def _made(process: Any, inputs: dict[str, Any], origin: str) -> Source:
    """Return what a calcfunction makes of files, and store nothing yet."""
    from aiida_goectp.cli.imports import store_inputs

    def store() -> Any:
        store_inputs(inputs)
        return process(**inputs)

    return Source(process(**inputs, metadata={'store_provenance': False}), store, origin)


def find_pool(given: PoolSource, folder: Path) -> Source:
    """Return the crystals to search in.

    :param folder: that relative paths begin in
    :raises ValueError: neither a node nor files that can be read
    """
    from aiida_goectp.calculations.structures import import_structures
    from aiida_goectp.cli.imports import file_inputs, single_file

    paths = [folder / Path(name).expanduser() for name in given.source]
    missing = [name for name, path in zip(given.source, paths, strict=True) if not path.exists()]
    if missing and len(paths) > 1:
        raise ValueError(f'no file or folder {", ".join(missing)} in {folder}; name one node, or files that are there')
    if missing:
        found = _node_or_file(missing[0], 'goectp.crystals', folder)
        if given.properties is not None:
            raise ValueError(f'properties belong to files; node {found.node.pk} has the columns that it was made with')
        return found
    try:
        inputs = file_inputs(tuple(paths))
    except click.ClickException as error:
        raise ValueError(error.message) from error
    if given.properties is not None:
        inputs['properties'] = single_file(_file(given.properties, folder))
    return _made(import_structures, inputs, ', '.join(given.source))


def find_dataset(given: DatasetSource, folder: Path) -> Source:
    """Return the labels that are known beforehand.

    :raises ValueError: neither a node nor a file that can be read
    """
    from aiida import orm

    from aiida_goectp.calculations.datasets import import_dataset
    from aiida_goectp.cli.imports import single_file

    path = folder / Path(given.source).expanduser()
    if not path.is_file():
        found = _node_or_file(given.source, 'goectp.dataset', folder)
        if given.functional is not None or given.split_file is not None:
            raise ValueError(f'functional and split_file belong to a file; node {found.node.pk} is what it is')
        return found
    inputs: dict[str, Any] = {'file': single_file(path)}
    if given.functional is not None:
        inputs['functional'] = orm.Str(given.functional)
    if given.split_file is not None:
        inputs['splits'] = single_file(_file(given.split_file, folder))
    return _made(import_dataset, inputs, given.source)


def _file(name: str, folder: Path) -> Path:
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f'no file {name} in {folder}')
    return path


def find_model(name: str, folder: Path) -> Source:
    """Return the model to begin with.

    :raises ValueError: neither a node nor a shipped model nor a model file
    """
    from aiida_goectp.core.formats.model_card import model_hash, resolve_model, shipped_models
    from aiida_goectp.data.model import ModelData

    path = folder / Path(name).expanduser()
    if not path.is_file() and name not in shipped_models():
        try:
            return _there(find_node(name, 'goectp.model'))
        except ValueError as error:
            shipped = ', '.join(shipped_models()) or 'none ships'
            raise ValueError(
                f'{name!r} is no file in {folder}, no shipped model ({shipped}) and no node: {error}'
            ) from error
    source = path if path.is_file() else resolve_model(name)
    known = ModelData.find(model_hash(source))
    if known is not None:
        return _there(known)
    return Source(ModelData(source), lambda: ModelData.get_or_create(source), name)

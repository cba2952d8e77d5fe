"""Nodes that a configuration names, stored or created from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
from aiida import orm

from aiida_goectp.calculations.datasets import import_dataset
from aiida_goectp.calculations.structures import import_structures
from aiida_goectp.cli.campaign.config import DatasetSource, PoolSource
from aiida_goectp.cli.files import file_inputs, single_file, store_inputs
from aiida_goectp.cli.params import DataParam
from aiida_goectp.core.formats.model_card import model_hash, resolve_model, shipped_models
from aiida_goectp.data.model import ModelData

__all__ = ('Source', 'find_dataset', 'find_model', 'find_node', 'find_pool')


class Source(NamedTuple):
    """A node that can be read before anything is stored, and the function that stores it."""

    node: Any
    """stored, or unstored and created from files"""
    store: Callable[[], Any]
    """returns the stored node; files are read by a calcfunction"""
    origin: str
    """names of the files, or the node"""


def find_node(name: str, entry_point: str) -> Any:
    """Return a stored node by PK, UUID or label.

    :param entry_point: of its type
    :raises ValueError: no such node of this type
    """
    try:
        return DataParam(entry_point).convert(name, None, None)
    except click.ClickException as error:
        raise ValueError(error.message) from error


def _stored(node: Any) -> Source:
    return Source(node, lambda: node, f'node {node.pk}')


def _stored_by_name(name: str, entry_point: str, folder: Path, allowed: str = '') -> Source:
    """Return a stored node by a name that is not a file.

    :param allowed: what else is allowed, for the message
    :raises ValueError: no such node of this type
    """
    try:
        return _stored(find_node(name, entry_point))
    except ValueError as error:
        raise ValueError(f'{name!r} is neither a file in {folder}{allowed} nor a node: {error}') from error


def _created(process: Any, inputs: dict[str, Any], origin: str) -> Source:
    """Return the unstored output of a calcfunction."""

    def store() -> Any:
        store_inputs(inputs)
        return process(**inputs)

    return Source(process(**inputs, metadata={'store_provenance': False}), store, origin)


def find_pool(given: PoolSource, folder: Path) -> Source:
    """Return the crystals to search.

    :param folder: folder of relative paths
    :raises ValueError: neither a node nor readable files
    """
    paths = [folder / Path(name).expanduser() for name in given.source]
    missing = [name for name, path in zip(given.source, paths, strict=True) if not path.exists()]
    if missing and len(paths) > 1:
        raise ValueError(f'no file or folder {", ".join(missing)} in {folder}; give one node, or existing files')
    if missing:
        found = _stored_by_name(missing[0], 'goectp.crystals', folder)
        if given.properties is not None:
            raise ValueError(f'properties: only allowed with files; node {found.node.pk} has its own property columns')
        return found
    try:
        inputs, left_out = file_inputs(paths, given.recursive)
    except click.ClickException as error:
        raise ValueError(error.message) from error
    if given.properties is not None:
        inputs['properties'] = single_file(_file(given.properties, folder))
        if table := given.table.model_dump(mode='json', exclude_defaults=True):
            inputs['table'] = orm.Dict(table)
    origin = ', '.join(given.source) + (f'; {len(left_out)} files and folders left out' if left_out else '')
    return _created(import_structures, inputs, origin)


def find_dataset(given: DatasetSource, folder: Path) -> Source:
    """Return the starting dataset.

    :param folder: folder of relative paths
    :raises ValueError: neither a node nor a readable file
    """
    path = folder / Path(given.source).expanduser()
    if not path.is_file():
        found = _stored_by_name(given.source, 'goectp.dataset', folder)
        if given.functional is not None or given.split_file is not None:
            raise ValueError(f'functional and split_file: only allowed with a file, not with node {found.node.pk}')
        return found
    inputs: dict[str, Any] = {'file': single_file(path)}
    if given.functional is not None:
        inputs['functional'] = orm.Str(given.functional)
    if given.split_file is not None:
        inputs['splits'] = single_file(_file(given.split_file, folder))
    return _created(import_dataset, inputs, given.source)


def _file(name: str, folder: Path) -> Path:
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f'no file {name} in {folder}')
    return path


def find_model(name: str, folder: Path) -> Source:
    """Return the initial model.

    :param folder: folder of relative paths
    :raises ValueError: neither a node nor a shipped model nor a model file
    """
    path = folder / Path(name).expanduser()
    if not path.is_file() and name not in shipped_models():
        shipped = ', '.join(shipped_models()) or 'none'
        return _stored_by_name(name, 'goectp.model', folder, f', nor a shipped model ({shipped}),')
    source = path if path.is_file() else resolve_model(name)
    stored = ModelData.find(model_hash(source))
    if stored is not None:
        return _stored(stored)
    return Source(ModelData(source), lambda: ModelData.get_or_create(source), name)

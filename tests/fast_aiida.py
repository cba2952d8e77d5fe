"""AiiDA in about half the time with the same results.

Queries share aliases of tables, libyaml writes checkpoints, a column is read again only after another connection has
written to the database, a process without outputs does not ask for those that are stored, and a file that is stored
on its own is found without the database of packed ones.
"""

from __future__ import annotations

import functools
import sqlite3
import types
import weakref
from collections import defaultdict
from typing import Any

import yaml


@functools.cache
def speed_up() -> None:
    """Change AiiDA in this process, once."""
    _share_aliases()
    _write_checkpoints_by_libyaml()
    _read_what_others_changed()
    _attach_outputs_if_there_are_any()
    _find_files_before_packs()


def _share_aliases() -> None:
    """Let each query use the aliases of the tables that the queries before it made; those of one query are distinct.

    SQLAlchemy makes a proxy of each column of a new alias, which takes a third of the time of a process.
    """
    from aiida.storage.psql_dos.orm.querybuilder import joiner, main

    make, build = main.aliased, main.SqlaQueryBuilder._build
    made: dict[Any, list[Any]] = defaultdict(list)
    used: dict[Any, int] = defaultdict(int)

    def aliased(entity: Any) -> Any:
        if not isinstance(entity, type):  # part of one query only
            return make(entity)
        number = used[entity]
        used[entity] += 1
        if number == len(made[entity]):
            made[entity].append(make(entity))
        return made[entity][number]

    def build_query(self: Any, data: Any) -> Any:
        used.clear()
        return build(self, data)

    main.aliased = joiner.aliased = aliased
    main.SqlaQueryBuilder._build = build_query


def _write_checkpoints_by_libyaml() -> None:
    """Replace the class that writes checkpoints by one that has the same methods, with the emitter in C as its base."""
    from aiida.orm.utils import serialize

    if not yaml.__with_libyaml__:
        return
    names = ('yaml_representers', 'yaml_multi_representers')
    dumper: Any = type('Dumper', (yaml.CDumper,), {name: getattr(serialize.AiiDADumper, name) for name in names})
    method: Any = serialize.AiiDADumper.represent_data
    # a copy of the method whose super() is of the new class
    dumper.represent_data = types.FunctionType(method.__code__, method.__globals__, closure=(types.CellType(dumper),))
    serialize.AiiDADumper = dumper


def _read_what_others_changed() -> None:
    """Read a column again only after another connection has written; AiiDA reads it at each access.

    The session holds what this connection writes. SQLite counts the commits of other connections.
    """
    from aiida.storage.psql_dos.orm import utils

    refresh = utils.ModelWrapper._ensure_model_uptodate
    read: Any = weakref.WeakKeyDictionary()  # row → column → number of commits of others when it was read

    def refresh_if_changed(self: Any, fields: tuple[str, ...]) -> None:
        connection = self.session.connection().connection.driver_connection
        if not isinstance(connection, sqlite3.Connection):
            return refresh(self, fields)
        commits = id(connection), connection.execute('PRAGMA data_version').fetchone()[0]
        before = read.setdefault(self._model, {})
        changed = [field for field in fields if before.get(field) != commits]
        if changed:
            refresh(self, changed)
            before.update(dict.fromkeys(changed, commits))

    utils.ModelWrapper._ensure_model_uptodate = refresh_if_changed


def _attach_outputs_if_there_are_any() -> None:
    """Skip the query for stored outputs, at each change of state, of a process that has no outputs."""
    from aiida.engine import Process

    attach = Process.update_outputs

    def attach_if_any(self: Any) -> None:
        if self.outputs:
            attach(self)

    Process.update_outputs = attach_if_any


def _find_files_before_packs() -> None:
    """Search for a file among those that are not packed first: the search among packed ones opens a database."""
    from disk_objectstore import Container

    look_up = Container.has_objects

    def has_objects(self: Any, hashkeys: list[str]) -> list[bool]:
        if all(self._get_loose_path_from_hashkey(key).is_file() for key in hashkeys):
            return [True] * len(hashkeys)
        return look_up(self, hashkeys)

    Container.has_objects = has_objects

"""Types of arguments that become nodes, and the way to say what was wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.params.types import DataParamType

__all__ = ('ElementsParam', 'ModelParam', 'crystals_type', 'latest', 'latest_screen')


def crystals_type() -> DataParamType:
    """Return the type of an argument that names a node of crystals by PK, UUID or label."""
    return DataParamType(sub_classes=('aiida.data:goectp.crystals',))


class ModelParam(DataParamType):
    """A model: PK, UUID or label of a node, the name of a shipped model, or a file."""

    name = 'MODEL'

    def __init__(self) -> None:
        super().__init__(sub_classes=('aiida.data:goectp.model',))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the node; a shipped model or a file is stored first, unless it has been."""
        from aiida.cmdline.utils.decorators import load_backend_if_not_loaded

        from aiida_goectp.core.formats.model_card import shipped_models
        from aiida_goectp.core.formats.npz import FormatError

        if not isinstance(value, str) or not (value in shipped_models() or Path(value).is_file()):
            return super().convert(value, param, ctx)
        load_backend_if_not_loaded()
        from aiida_goectp.data.model import ModelData

        try:
            return ModelData.get_or_create(value)
        except FormatError as error:
            raise click.BadParameter(str(error), ctx, param) from error


class ElementsParam(click.ParamType):
    """Element symbols, separated by commas or blanks."""

    name = 'SYMBOLS'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the symbols; the filters say which of them are none."""
        return list(value) if isinstance(value, list | tuple) else value.replace(',', ' ').split()


def latest(entry_point: str) -> Any:
    """Return the node of a type that was stored last, or None.

    :param entry_point: of the type, e.g. ``goectp.crystals``
    """
    from aiida.orm import QueryBuilder
    from aiida.plugins import DataFactory

    cls = DataFactory(entry_point)
    query = QueryBuilder().append(cls).order_by({cls: {'id': 'desc'}}).limit(1)
    return query.first(flat=True)


def latest_screen() -> Any:
    """Return the screen that selected something last.

    :raises click.UsageError: there is none
    """
    from aiida.orm import List, QueryBuilder
    from aiida.plugins import WorkflowFactory

    screen: Any = WorkflowFactory('goectp.screen')
    query = QueryBuilder().append(screen, tag='screen', project='*')
    query.append(List, with_incoming='screen', edge_filters={'label': 'selection'})
    node = query.order_by({'screen': {'id': 'desc'}}).limit(1).first(flat=True)
    if node is None:
        raise click.UsageError('there is no screen that selected anything yet; make one with `aiida-goectp screen`')
    return node

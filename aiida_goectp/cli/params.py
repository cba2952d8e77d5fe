"""Parameter types: arguments and options that name nodes, models, files or elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.params.types import CodeParamType, DataParamType, NodeParamType, WorkflowParamType
from aiida.cmdline.params.types.identifier import IdentifierParamType
from aiida.cmdline.utils.decorators import load_backend_if_not_loaded
from click.shell_completion import CompletionItem

from aiida_goectp.cli import echo
from aiida_goectp.core.formats.names import PARTS, SPLIT_PARTS

__all__ = (
    'CRYSTALS',
    'DATASET',
    'FILE',
    'SPLIT_PART',
    'TENSOR_PART',
    'CrystalsOrPathParam',
    'DataParam',
    'DatasetOrFileParam',
    'ElementsParam',
    'FunctionalParam',
    'GoectpCodeParam',
    'ModelOrPathParam',
    'ModelParam',
    'NodeOrPathParam',
    'NodeParam',
    'WorkflowParam',
    'complete_engine',
    'complete_merit',
)

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""an existing file"""
SPLIT_PART = click.Choice(SPLIT_PARTS)
"""a part of a split"""
TENSOR_PART = click.Choice(PARTS)
"""a part of a dielectric tensor"""


_COMPLETED = 50
"""nodes that the shell offers"""
_LARGEST_PK = 2**63
"""of a column of integers of the storage"""
_NAMED = 5
"""nodes that a message names"""


class _NodeParam(IdentifierParamType):
    """PK, UUID or label of a node. Of nodes with equal label the newest is taken, and the others are named."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the node."""
        from aiida.common.exceptions import MultipleObjectsError

        if not isinstance(value, str):
            return value
        if value.isdecimal() and int(value) >= _LARGEST_PK:
            raise click.BadParameter(f'{value:.40} is larger than any PK', ctx, param)
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            nodes = self._newest({'label': value}) if isinstance(error.__context__, MultipleObjectsError) else []
            if not nodes:  # the beginning of several UUIDs, or no node
                text = error.message.partition(': No result')[0]
                raise click.BadParameter(f'{text}; {self._hint(value)}', ctx, param) from error
            newest, *others = (f'{node.pk} ({node.ctime:%Y-%m-%d %H:%M})' for node in nodes)
            echo.echo_report(f'label {value!r}: using the newest node {newest}; by PK: {", ".join(others[:5])}')
            return nodes[0]

    def _hint(self, value: str) -> str:
        """Return what a value that names no node of these types is instead, and which nodes there are."""
        from aiida import orm

        nodes = self._newest({})
        named = [f'{node.pk} ({node.label})' if node.label else str(node.pk) for node in nodes[:_NAMED]]
        known = f'the newest: {", ".join(named)}' if named else 'none is stored'
        other = orm.QueryBuilder().append(orm.Node, filters={'id': int(value)}) if value.isdecimal() else None
        if other is None or (node := other.first(flat=True)) is None:
            return known
        return f'node {value} has the type {getattr(node, "process_label", None) or type(node).__name__}; {known}'

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the labels and PKs of the newest nodes that begin with an incomplete word."""
        try:
            load_backend_if_not_loaded()
            nodes = self._newest({})
        except Exception:  # no profile, or no access to its storage: nothing to offer
            return []
        items = []
        for node in nodes:
            label = node.label or getattr(node, 'process_label', None) or ''
            items.append(CompletionItem(str(node.pk), help=f'{label} {node.ctime:%Y-%m-%d}'.strip()))
            if node.label:
                items.append(CompletionItem(node.label, help=f'{node.pk} {node.ctime:%Y-%m-%d}'))
        return [item for item in items if item.value.startswith(incomplete)]

    def _newest(self, filters: dict[str, Any]) -> list[Any]:
        """Return the nodes of the types of this parameter, newest first."""
        from aiida.orm import QueryBuilder

        if self._entry_points:
            classes: Any = tuple(point.load() for point in self._entry_points)
        else:
            classes = self.orm_class_loader.orm_base_class
        query = QueryBuilder().append(classes, filters=filters, tag='node').order_by({'node': {'ctime': 'desc'}})
        found: list[Any] = query.limit(_COMPLETED).all(flat=True)
        return found


class NodeParam(_NodeParam, NodeParamType):
    """Any node."""


class WorkflowParam(_NodeParam, WorkflowParamType):
    """Process node of a work chain or work function."""


class DataParam(_NodeParam, DataParamType):
    """Data node of one type.

    :param entry_points: of the data types, e.g. ``goectp.crystals``
    """

    def __init__(self, *entry_points: str) -> None:
        super().__init__(sub_classes=tuple(f'aiida.data:{name}' for name in entry_points))


CRYSTALS = DataParam('goectp.crystals')
"""PK, UUID or label of a node of crystals"""
DATASET = DataParam('goectp.dataset')
"""PK, UUID or label of a dataset node"""


class _OrPathParam(_NodeParam):
    """Existing path, or PK, UUID or label of a node."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or the node."""
        if isinstance(value, Path) or (isinstance(value, str) and Path(value).exists()):
            return Path(value)
        load_backend_if_not_loaded()
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise click.BadParameter(f'{value!r} is neither a file or folder nor a node ({error.message})') from error

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return nodes, or files if none begins with the incomplete word."""
        return super().shell_complete(ctx, param, incomplete) or [CompletionItem(incomplete, type='file')]


class NodeOrPathParam(_OrPathParam, NodeParamType):
    """Existing path, or any node."""


class CrystalsOrPathParam(_OrPathParam, DataParam):
    """Structure file or folder, or PK, UUID or label of a node of crystals, a ``StructureData`` or a ``CifData``."""

    name = 'FILE|FOLDER|NODE'

    def __init__(self) -> None:
        super().__init__('goectp.crystals', 'core.structure', 'core.cif')


class _ModelNodeParam(DataParam):
    """PK, UUID or label of a model node; subclasses accept more."""

    name = 'MODEL'

    def __init__(self) -> None:
        super().__init__('goectp.model')

    def _hint(self, value: str) -> str:
        """Return the names of the shipped models as well."""
        from aiida_goectp.core.formats.model_card import shipped_models

        return f'{super()._hint(value)}; shipped: {", ".join(shipped_models())}; or a model file'

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return shipped models and model nodes."""
        from aiida_goectp.core.formats.model_card import shipped_models

        shipped = [CompletionItem(name) for name in shipped_models() if name.startswith(incomplete)]
        return shipped + super().shell_complete(ctx, param, incomplete)


def complete_merit(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the figures of merit that begin with an incomplete word."""
    from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT

    return [CompletionItem(name) for name in FIGURES_OF_MERIT if name.startswith(incomplete)]


def complete_engine(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the installed DFPT engines that begin with an incomplete word."""
    from importlib.metadata import entry_points

    points = entry_points(group='aiida.workflows')
    names = [point.name.removeprefix('goectp.dfpt.') for point in points if point.name.startswith('goectp.dfpt.')]
    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]


class FunctionalParam(click.ParamType):
    """Name of a functional."""

    name = 'FUNCTIONAL'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; an unknown one is refused."""
        from aiida_goectp.core.formats.functionals import check_functional

        try:
            return check_functional(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error


class GoectpCodeParam(CodeParamType):
    """PK, UUID or full label of a code of the executable goectp."""

    name = 'CODE'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the code; one of another program is refused."""
        from aiida_goectp.calculations.base import code_error
        from aiida_goectp.cli.queries import usable_labels

        try:
            code = super().convert(value, param, ctx)
        except click.BadParameter as error:
            names = ', '.join(usable_labels()) or 'none'
            text = error.message.partition(': No result')[0]
            raise click.BadParameter(f'{text}; codes of goectp on configured computers: {names}', ctx, param) from error
        if wrong := code_error(code, 'goectp'):
            raise click.BadParameter(wrong, ctx, param)
        return code


class ModelOrPathParam(_ModelNodeParam):
    """PK, UUID or label of a model node, the name of a shipped model, or a model file; the latter are not stored."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the node, or the path of a valid model file."""
        from aiida_goectp.core.formats.errors import FormatError
        from aiida_goectp.core.formats.model_card import read_card, resolve_model, shipped_models

        if isinstance(value, Path):
            return value
        if not isinstance(value, str) or not (value in shipped_models() or Path(value).is_file()):
            return super().convert(value, param, ctx)
        try:
            path = resolve_model(value)
            read_card(path)
        except FormatError as error:
            raise click.BadParameter(str(error), ctx, param) from error
        return path


class ModelParam(_ModelNodeParam):
    """PK, UUID or label of a model node, the name of a shipped model, or a model file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the node; a shipped model or a file is stored if it is not stored yet."""
        from aiida_goectp.core.formats.errors import FormatError
        from aiida_goectp.core.formats.model_card import shipped_models

        if not isinstance(value, str) or not (value in shipped_models() or Path(value).is_file()):
            return super().convert(value, param, ctx)
        load_backend_if_not_loaded()
        from aiida_goectp.data.model import ModelData

        try:
            return ModelData.get_or_create(value)
        except FormatError as error:
            raise click.BadParameter(str(error), ctx, param) from error


class DatasetOrFileParam(DataParam):
    """A dataset.npz or labelled JSON lines, or the PK, UUID or label of a dataset node."""

    name = 'DATASET'

    def __init__(self) -> None:
        super().__init__('goectp.dataset')

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a file, or the node."""
        if isinstance(value, Path) or Path(str(value)).is_file():
            return Path(value)
        load_backend_if_not_loaded()
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise click.BadParameter(f'{value!r} is neither a file nor a dataset ({error.message})') from error


class ElementsParam(click.ParamType):
    """Element symbols, separated by commas or spaces."""

    name = 'SYMBOLS'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the symbols; the filters check that they are elements."""
        return list(value) if isinstance(value, list | tuple) else value.replace(',', ' ').split()

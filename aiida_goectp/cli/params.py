"""Parameter types: arguments and options that name nodes, models, files or elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.params.types import CodeParamType, DataParamType
from aiida.cmdline.utils.decorators import load_backend_if_not_loaded

from aiida_goectp.core.formats.names import PARTS, SPLIT_PARTS

__all__ = (
    'CRYSTALS',
    'DATASET',
    'FILE',
    'SPLIT_PART',
    'TENSOR_PART',
    'DatasetOrFileParam',
    'ElementsParam',
    'FunctionalParam',
    'GoectpCodeParam',
    'ModelOrNameParam',
    'ModelParam',
)

CRYSTALS = DataParamType(sub_classes=('aiida.data:goectp.crystals',))
"""PK, UUID or label of a node of crystals"""
DATASET = DataParamType(sub_classes=('aiida.data:goectp.dataset',))
"""PK, UUID or label of a dataset node"""
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""an existing file"""
SPLIT_PART = click.Choice(SPLIT_PARTS)
"""a part of a split"""
TENSOR_PART = click.Choice(PARTS)
"""a part of a dielectric tensor"""


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

        code = super().convert(value, param, ctx)
        if error := code_error(code, 'goectp'):
            raise click.BadParameter(error, ctx, param)
        return code


class ModelOrNameParam(DataParamType):
    """PK, UUID or label of a model node, or the name of a shipped model, which is not stored."""

    name = 'MODEL'

    def __init__(self) -> None:
        super().__init__(sub_classes=('aiida.data:goectp.model',))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the node, or the name of a shipped model."""
        from aiida_goectp.core.formats.model_card import shipped_models

        return value if value in shipped_models() else super().convert(value, param, ctx)


class ModelParam(DataParamType):
    """PK, UUID or label of a model node, the name of a shipped model, or a model file."""

    name = 'MODEL'

    def __init__(self) -> None:
        super().__init__(sub_classes=('aiida.data:goectp.model',))

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


class DatasetOrFileParam(DataParamType):
    """A dataset.npz or labelled JSON lines, or the PK, UUID or label of a dataset node."""

    name = 'DATASET'

    def __init__(self) -> None:
        super().__init__(sub_classes=('aiida.data:goectp.dataset',))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a file, or the node."""
        if isinstance(value, Path) or Path(str(value)).is_file():
            return Path(value)
        load_backend_if_not_loaded()
        return super().convert(value, param, ctx)


class ElementsParam(click.ParamType):
    """Element symbols, separated by commas or spaces."""

    name = 'SYMBOLS'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the symbols; the filters check that they are elements."""
        return list(value) if isinstance(value, list | tuple) else value.replace(',', ' ').split()

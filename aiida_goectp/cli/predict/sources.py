"""What ``aiida-goectp predict`` predicts: structure files, folders, or a stored node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_goectp.calculations.structures import import_group, import_structures
from aiida_goectp.cli import echo
from aiida_goectp.cli.files import file_inputs, node_name, store_inputs
from aiida_goectp.data.crystals import CrystalsData

__all__ = ('CrystalSource',)


class CrystalSource:
    """Crystals that are validated before anything is stored.

    :param given: paths, or one node of crystals, a ``StructureData`` or a ``CifData``
    :param recursive: also files in subfolders
    :raises click.UsageError: no readable crystal
    """

    def __init__(self, given: tuple[Any, ...], recursive: bool) -> None:
        self._process: Any = None
        self._inputs: dict[str, Any] = {}
        nodes = [item for item in given if not isinstance(item, Path)]
        if nodes and len(given) > 1:
            raise click.UsageError('give files and folders, or one node')
        if nodes and isinstance(nodes[0], CrystalsData):
            self.node = nodes[0]
        else:
            self._prepare(given, nodes, recursive)
        if len(self.node) == 0:
            failures = self.node.crystals.failures
            reasons = '; '.join(f'{failure.id}: {failure.message}' for failure in failures[:3])
            raise click.UsageError('no crystal to predict' + (f'; {reasons}' if reasons else ''))

    def _prepare(self, given: tuple[Any, ...], nodes: list[Any], recursive: bool) -> None:
        if nodes:
            structure = nodes[0]
            self._process = import_group
            self._inputs = {node_name(structure, str(structure.pk)): structure}
        else:
            self._process = import_structures
            self._inputs, left_out = file_inputs(given, recursive)
            if left_out:
                echo.echo_report(f'{len(left_out)} files and folders are left out, first {left_out[0].path}')
        try:
            self.node = self._process(**self._inputs, metadata={'store_provenance': False})
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def store(self, label: str) -> CrystalsData:
        """Return the stored node; files are read by a calcfunction.

        :param label: of a node that is created here
        """
        if self._process is not None:
            store_inputs(self._inputs)
            self.node = self._process(**self._inputs)
            self.node.label = label
            self._process = None
        return self.node

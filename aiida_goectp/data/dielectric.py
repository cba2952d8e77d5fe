"""``goectp.dielectric``: one dielectric response with its cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.orm import StructureData

from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.data.table import TableData

__all__ = ('DielectricData',)


class DielectricData(TableData):
    """A :class:`~aiida_goectp.core.dielectric.response.DielectricResponse` as one node.

    Attributes: ``formula``, ``atoms``, ``engine``, ``functional``, ``settings``, ``electronic``, ``ionic`` and
    ``total`` (polycrystalline averages, absent if unknown), ``band_gap`` (eV), ``scf_converged``, ``content_hash``.
    The verdict of the gates is not included, because it depends on thresholds; it is the output ``quality`` of the
    workflow.

    :param table: the response
    """

    _TABLE = DielectricResponse

    def __len__(self) -> int:
        return 1

    @property
    def dielectric(self) -> DielectricResponse:
        """Tensors, Born charges, frequencies, and the cell that defines their frame."""
        table: DielectricResponse = self._table()
        return table

    def structure(self) -> StructureData:
        """Return an unstored ``StructureData`` of the cell, in the frame of the tensors."""
        return structure_from_crystal(self.dielectric.crystal)

    @classmethod
    def _summary(cls, table: DielectricResponse) -> dict[str, Any]:
        averages = {name: float(np.trace(tensor) / 3) for name in PARTS if (tensor := getattr(table, name)) is not None}
        gap = {} if table.band_gap is None else {'band_gap': table.band_gap}
        return {
            'formula': formula(table.crystal.atomic_numbers),
            'atoms': len(table.crystal.atomic_numbers),
            'engine': table.engine,
            'functional': table.functional,
            'settings': dict(table.settings),
            'scf_converged': table.scf_converged,
            **averages,
            **gap,
        }

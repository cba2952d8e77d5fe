"""DFT+U of a structure: the node ``HubbardStructureData`` of aiida-quantumespresso has its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_goectp.core.dfpt.espresso_hubbard import is_usual_orbital
from aiida_goectp.workflows.protocols.mixin import merge

__all__ = ('with_hubbard',)

_ONSITE = ('U', 'Ueff')


def with_hubbard(parameters: Mapping[str, Any], structure: orm.StructureData) -> dict[str, Any]:
    """Return parameters of ``pw.x`` that name the functional, with DFT+U of the structure, if it has any.

    aiida-quantumespresso writes it into the card HUBBARD, and does not list it in the parsed outputs. Parameters other
    than U, and U of another orbital than the usual one, are only listed, see :func:`.hubbard_parameters`.

    :param parameters: by namelist
    """
    hubbard: Any = getattr(structure, 'hubbard', None)
    if hubbard is None or not hubbard.parameters:
        return dict(parameters)
    kinds = [site.kind_name for site in structure.sites]
    values: dict[str, float] = {}
    others: list[str] = []
    for item in hubbard.parameters:
        kind = kinds[item.atom_index]
        onsite = (item.atom_index, item.atom_manifold) == (item.neighbour_index, item.neighbour_manifold)
        plain = onsite and item.hubbard_type in _ONSITE and is_usual_orbital(kind, item.atom_manifold)
        if not plain or values.setdefault(kind, item.value) != item.value:
            others.append(f'{item.hubbard_type} {kind}-{item.atom_manifold}')
    if hubbard.formulation != 'dudarev':
        others.append(hubbard.formulation)
    system = {'lda_plus_u': True, 'u_projection_type': hubbard.projectors, 'hubbard_u': values}
    return merge(parameters, {'SYSTEM': {**system, **({'hubbard_parameters': others} if others else {})}})

"""Pseudopotentials and cutoffs of a structure, from an installed family."""

from __future__ import annotations

from aiida import orm
from aiida.plugins import GroupFactory

__all__ = ('RYDBERG', 'choose_pseudopotentials')

RYDBERG = 13.605693122994
"""eV, CODATA 2018"""


def choose_pseudopotentials(
    structure: orm.StructureData, labels: list[str], stringency: str
) -> tuple[dict[str, orm.Data], dict[str, float], float | None]:
    """Return pseudopotentials, cutoffs in Ry, and the cutoff in eV of the default stringency of the family.

    :param labels: families, of which the first that is installed and contains all elements is used
    :raises ValueError: no such family is installed
    """
    problems = []
    for label in labels:
        family = orm.QueryBuilder().append(GroupFactory('pseudo.family'), filters={'label': label}).first(flat=True)
        if family is None:
            problems.append(f'{label!r} is not installed')
            continue
        try:
            pseudos = family.get_pseudos(structure=structure)
        except ValueError as error:
            problems.append(f'{label!r}: {error}')
            continue
        try:
            available = stringency if stringency in family.get_cutoff_stringencies() else None
            wave, density = family.get_recommended_cutoffs(structure=structure, stringency=available, unit='Ry')
            default, _ = family.get_recommended_cutoffs(structure=structure, unit='Ry')
        except (AttributeError, ValueError):
            return pseudos, {}, None  # without cutoffs in the overrides, the validation of pw.x inputs fails
        return pseudos, {'ecutwfc': wave, 'ecutrho': density}, default * RYDBERG
    raise ValueError(
        f'pseudo_family: no suitable family ({"; ".join(problems)}); `aiida-goectp setup dfpt` installs one, '
        '`aiida-pseudo list` shows the installed ones'
    )

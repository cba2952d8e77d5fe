"""Pseudopotentials and cutoffs of a structure, from an installed family."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiida import orm
from aiida.plugins import GroupFactory

from aiida_goectp.workflows.failures import MissingResourceError
from aiida_goectp.workflows.protocols.mixin import merge

__all__ = ('RYDBERG', 'choose_pseudopotentials', 'functional_of_pseudos', 'installed_families', 'with_cutoffs')

RYDBERG = 13.605693122994
"""eV, CODATA 2018"""

_FUNCTIONAL = re.compile(r'\bfunctional\s*=\s*"([^"]*)"|^(.*?)\s+Exchange-Correlation functional', re.MULTILINE)
"""in the header of a file of format UPF 2 or UPF 1"""


def choose_pseudopotentials(
    structure: orm.StructureData, labels: list[str], stringency: str
) -> tuple[dict[str, orm.Data], dict[str, float], float | None]:
    """Return pseudopotentials, cutoffs in Ry, and the cutoff in eV of the default stringency of the family.

    :param labels: families, of which the first that is installed and contains all elements is used
    :raises MissingResourceError: none of the families is installed
    :raises ValueError: none that is installed contains all elements
    """
    problems: list[str] = []
    kind: type[ValueError] = MissingResourceError
    for label in labels:
        family = orm.QueryBuilder().append(GroupFactory('pseudo.family'), filters={'label': label}).first(flat=True)
        if family is None:
            problems.append(f'{label!r} is not installed')
            continue
        kind = ValueError
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
    raise kind(
        f'pseudo_family: no suitable family ({"; ".join(problems)}); `aiida-goectp setup dfpt` installs one, '
        '`aiida-pseudo list` shows the installed ones'
    )


def installed_families(labels: Iterable[str]) -> list[str]:
    """Return those of some families of pseudopotentials that are installed, in the same order."""
    query = orm.QueryBuilder().append(GroupFactory('pseudo.family'), project='label')
    installed = set(query.all(flat=True))
    return [label for label in labels if label in installed]


def with_cutoffs(parameters: Mapping[str, Any], cutoffs: Mapping[str, float]) -> dict[str, Any]:
    """Return parameters of ``pw.x`` with the cutoffs that they do not contain.

    The ratio of the two cutoffs is that of the family also with another ``ecutwfc``: ``ecutrho`` of the family may be
    too low for it.

    :param cutoffs: ``ecutwfc`` and ``ecutrho`` of the family in Ry; empty if it has none
    """
    own = parameters.get('SYSTEM', {}).get('ecutwfc')
    scale = own / cutoffs['ecutwfc'] if cutoffs and isinstance(own, int | float) else 1.0
    return merge({'SYSTEM': {name: value * scale for name, value in cutoffs.items()}}, parameters)


def functional_of_pseudos(pseudos: Iterable[orm.SinglefileData]) -> str | None:
    """Return the functional that pseudopotentials of format UPF state; None if one states none, or they differ."""
    matches = [_FUNCTIONAL.search(pseudo.get_content('r')) for pseudo in pseudos]
    found = {' '.join((match[1] or match[2]).upper().split()) if match else None for match in matches}
    return found.pop() if len(found) == 1 else None

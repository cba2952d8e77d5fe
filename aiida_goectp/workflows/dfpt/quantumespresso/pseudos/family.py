"""Families of aiida-pseudo from generated pseudopotentials, with recommended cutoffs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.generation import PseudoError, generate
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.recipes import RECIPES, STRINGENCIES

if TYPE_CHECKING:
    from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily

__all__ = ('DENSITY_RATIO', 'generate_family', 'recommended_cutoffs')

DENSITY_RATIO = 4.0
"""Ratio of density cutoff and wave-function cutoff; 4 is exact for norm-conserving potentials."""


def recommended_cutoffs(symbols: Iterable[str], stringency: str = 'normal') -> dict[str, dict[str, float]]:
    """Return ``{symbol: {'cutoff_wfc': Ry, 'cutoff_rho': Ry}}``, the format of aiida-pseudo."""
    index = STRINGENCIES.index(stringency)
    cutoffs = {symbol: float(RECIPES[symbol].cutoffs[index]) for symbol in symbols}
    return {symbol: {'cutoff_wfc': wfc, 'cutoff_rho': DENSITY_RATIO * wfc} for symbol, wfc in cutoffs.items()}


def generate_family(
    symbols: Iterable[str] | None = None, label: str = 'goectp-ld1', ld1: str = 'ld1.x'
) -> CutoffsPseudoPotentialFamily:
    """Generate pseudopotentials and store them as a family in the loaded AiiDA profile.

    :param symbols: chemical symbols; None for all elements with a recipe
    :param label: label of the new family
    :param ld1: path or command of ``ld1.x``
    :return: the stored family, with the cutoffs 'low', 'normal' (default) and 'high'
    :raises PseudoError: aiida-pseudo is missing, the label exists, or :func:`.generate` fails
    """
    try:
        from aiida_pseudo.data.pseudo import UpfData
        from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily
    except ImportError as error:
        raise PseudoError('aiida-pseudo is missing: pip install "aiida-goectp[quantumespresso]"') from error
    wanted = list(RECIPES if symbols is None else dict.fromkeys(symbols))
    if CutoffsPseudoPotentialFamily.collection.find(filters={'label': label}):
        raise PseudoError(f'label: the family {label!r} exists; choose another label')
    with tempfile.TemporaryDirectory(prefix='goectp-pseudos-') as scratch:
        for path in generate(wanted, scratch, ld1):
            path.with_suffix('.log').unlink()  # aiida-pseudo reads all files of the folder as potentials
        family = CutoffsPseudoPotentialFamily.create_from_folder(
            Path(scratch), label, pseudo_type=UpfData, description='norm-conserving PBEsol, generated with ld1.x'
        )
    for stringency in ('normal', *STRINGENCIES):
        if stringency not in family.get_cutoff_stringencies():
            family.set_cutoffs(recommended_cutoffs(wanted, stringency), stringency, unit='Ry')
    return family

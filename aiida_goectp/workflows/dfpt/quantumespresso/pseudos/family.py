"""Generated pseudopotentials as a family of aiida-pseudo with recommended cutoffs."""

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
"""Cutoff of the density over that of the wave functions: exact for norm-conserving potentials."""


def recommended_cutoffs(symbols: Iterable[str], stringency: str = 'normal') -> dict[str, dict[str, float]]:
    """Return ``{symbol: {'cutoff_wfc': Ry, 'cutoff_rho': Ry}}``, the form that aiida-pseudo takes."""
    index = STRINGENCIES.index(stringency)
    cutoffs = {symbol: float(RECIPES[symbol].cutoffs[index]) for symbol in symbols}
    return {symbol: {'cutoff_wfc': wfc, 'cutoff_rho': DENSITY_RATIO * wfc} for symbol, wfc in cutoffs.items()}


def generate_family(
    symbols: Iterable[str] | None = None, label: str = 'goectp-ld1', ld1: str = 'ld1.x'
) -> CutoffsPseudoPotentialFamily:
    """Make pseudopotentials and store them as a family in the loaded AiiDA profile.

    :param symbols: chemical symbols; all that have a recipe if None
    :param label: of the family, not in use yet
    :param ld1: path or command of Quantum ESPRESSO's ``ld1.x``
    :return: the stored family; 'normal' is its default set of cutoffs, 'low' and 'high' are there too
    :raises PseudoError: aiida-pseudo is missing, the label is taken, or ``generate`` fails
    """
    try:
        from aiida_pseudo.data.pseudo import UpfData
        from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily
    except ImportError as error:
        raise PseudoError('a family needs aiida-pseudo: pip install "aiida-goectp[quantumespresso]"') from error
    wanted = list(RECIPES if symbols is None else dict.fromkeys(symbols))
    if CutoffsPseudoPotentialFamily.collection.find(filters={'label': label}):
        raise PseudoError(f'there is a family {label!r} already: choose another label')
    with tempfile.TemporaryDirectory(prefix='goectp-pseudos-') as scratch:
        for path in generate(wanted, scratch, ld1):
            path.with_suffix('.log').unlink()  # aiida-pseudo takes every file of the folder for a potential
        family = CutoffsPseudoPotentialFamily.create_from_folder(
            Path(scratch), label, pseudo_type=UpfData, description='norm-conserving PBEsol, made by ld1.x'
        )
    for stringency in ('normal', *STRINGENCIES):
        if stringency not in family.get_cutoff_stringencies():
            family.set_cutoffs(recommended_cutoffs(wanted, stringency), stringency, unit='Ry')
    return family

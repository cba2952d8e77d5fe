"""``ph.x`` that can go on from itself. Imported when Quantum ESPRESSO is used, never before.

The ``PhCalculation`` of aiida-quantumespresso 5.1.0 stops with ``KeyError: 'INPUTPH'`` whenever its parent is another
``PhCalculation``, so that no restart of ``ph.x`` ever runs. It knows such a parent by its process type. A class of our
own is no such parent: it is treated as any other, its whole scratch folder is copied, and ``recover`` goes on from
there. The dynamical matrices that would be copied besides are not needed at one q point.
"""

from __future__ import annotations

from aiida_quantumespresso.calculations.ph import PhCalculation
from aiida_quantumespresso.workflows.ph.base import PhBaseWorkChain

__all__ = ('GammaResponseCalculation', 'GammaResponseWorkChain')


class GammaResponseCalculation(PhCalculation):
    """``ph.x`` at Γ."""


class GammaResponseWorkChain(PhBaseWorkChain):
    """``ph.x`` at Γ with the restarts of aiida-quantumespresso."""

    _process_class = GammaResponseCalculation

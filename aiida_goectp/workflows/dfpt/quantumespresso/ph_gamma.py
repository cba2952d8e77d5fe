"""``ph.x`` that can go on from itself. Imported when Quantum ESPRESSO is used, never before.

The ``PhCalculation`` of aiida-quantumespresso 5.1.0 stops with ``KeyError: 'INPUTPH'`` whenever its parent is another
``PhCalculation``, so that no restart of ``ph.x`` ever runs. It knows such a parent by its process type. A class of our
own is no such parent: it is treated as any other, its whole scratch folder is copied, and ``recover`` goes on from
there. The dynamical matrices that would be copied besides are not needed at one q point.

A response that does not converge is not for the work chain of the plugin either: it mixes over 8 steps then, and ph.x
6.7 stops at more than 5 (``Wrong nmix_ph``). :mod:`.qe_remedies` knows what ph.x takes.
"""

from __future__ import annotations

from aiida import orm
from aiida.engine import ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_quantumespresso.calculations.ph import PhCalculation
from aiida_quantumespresso.workflows.ph.base import PhBaseWorkChain

__all__ = ('PhGammaCalculation', 'PhGammaBaseWorkChain')


class PhGammaCalculation(PhCalculation):
    """``ph.x`` at Γ."""


class PhGammaBaseWorkChain(PhBaseWorkChain):
    """``ph.x`` at Γ with the restarts of aiida-quantumespresso."""

    _process_class = PhGammaCalculation

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Hand on the outputs of our class: AiiDA looks them up by the class that they are exposed from."""
        super().define(spec)
        spec.expose_outputs(PhGammaCalculation, exclude=('retrieved_folder',))

    def create_merged_output(self) -> None:
        """Merge nothing: at one q point the last job has it all, and each restart would count as another point."""

    @process_handler(
        priority=410, exit_codes=PhGammaCalculation.exit_codes.ERROR_CONVERGENCE_NOT_REACHED, enabled=False
    )
    def handle_convergence_not_reached(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Leave it to the caller."""
        return None

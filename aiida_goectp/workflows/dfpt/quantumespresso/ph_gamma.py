"""``ph.x`` at Γ with restarts that work; imported only when the engine is used.

In aiida-quantumespresso 5.1.0, a ``PhCalculation`` whose parent is a ``PhCalculation`` raises ``KeyError: 'INPUTPH'``,
so no restart of ``ph.x`` is ever submitted. It recognises such a parent by the process type. A subclass has another
process type and is handled as any other parent: the whole scratch directory is copied, and ``recover = .true.``
continues from it. The dynamical matrices, which are not copied, are not needed at a single q point.

After a convergence failure, ``PhBaseWorkChain`` sets ``nmix_ph = 8``, but ``ph.x`` 6.7 stops with ``Wrong nmix_ph`` for
more than 5. That handler is disabled; see :mod:`.error_handlers` for the replacement.
"""

from __future__ import annotations

from aiida import orm
from aiida.engine import ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_quantumespresso.calculations.ph import PhCalculation
from aiida_quantumespresso.workflows.ph.base import PhBaseWorkChain

from aiida_goectp.calculations.broker import LostConnectionMixin
from aiida_goectp.workflows.aiida_private import NamedStepFailureMixin, RestartMixin
from aiida_goectp.workflows.submit_once import CalledOnceMixin

__all__ = ('PhGammaBaseWorkChain', 'PhGammaCalculation')


class PhGammaCalculation(LostConnectionMixin, PhCalculation):
    """``PhCalculation`` that can be the parent of another one."""


class PhGammaBaseWorkChain(CalledOnceMixin, NamedStepFailureMixin, RestartMixin, PhBaseWorkChain):
    """``PhBaseWorkChain`` at the single q point Γ."""

    _process_class = PhGammaCalculation

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Expose the outputs of ``PhGammaCalculation``; AiiDA finds them by the class that exposes them."""
        super().define(spec)
        spec.expose_outputs(PhGammaCalculation, exclude=('retrieved_folder',))

    def create_merged_output(self) -> None:
        """Skip the merge: at one q point the last job has all results, and restarts would count as further points."""

    @process_handler(
        priority=410, exit_codes=PhGammaCalculation.exit_codes.ERROR_CONVERGENCE_NOT_REACHED, enabled=False
    )
    def handle_convergence_not_reached(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Disable the handler of ``PhBaseWorkChain``."""
        return None

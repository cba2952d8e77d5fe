"""Work chains of aiida-quantumespresso around ``pw.x`` that survive faults; imported only when the engine is used."""

from __future__ import annotations

from typing import Any

from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_goectp.workflows.aiida_private import NamedStepFailureMixin, RestartMixin
from aiida_goectp.workflows.submit_once import CalledOnceMixin

__all__ = ('FaultTolerantPwBaseWorkChain', 'FaultTolerantPwRelaxWorkChain')


class FaultTolerantPwBaseWorkChain(  # type: ignore[misc]  # each base has a narrower type of `define`
    CalledOnceMixin, NamedStepFailureMixin, RestartMixin, PwBaseWorkChain
):
    """``PwBaseWorkChain`` that survives a restart of the message broker and an exception in one of its steps."""


class FaultTolerantPwRelaxWorkChain(CalledOnceMixin, NamedStepFailureMixin, PwRelaxWorkChain):
    """``PwRelaxWorkChain`` that survives both, as do its runs of :class:`FaultTolerantPwBaseWorkChain`."""

    def submit(self, process: Any, inputs: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Submit a run as :class:`FaultTolerantPwBaseWorkChain`: aiida-quantumespresso fixes its class."""
        return super().submit(FaultTolerantPwBaseWorkChain if process is PwBaseWorkChain else process, inputs, **kwargs)

"""Work chains of aiida-quantumespresso, an optional dependency."""

from __future__ import annotations

from aiida.engine import Process

__all__ = ('require_quantumespresso',)


def require_quantumespresso() -> tuple[type[Process], type[Process], type[Process]]:
    """Return the work chains for relaxation, ``pw.x`` and ``ph.x``.

    :raises ImportError: aiida-quantumespresso or aiida-pseudo is not installed
    """
    try:
        from aiida_goectp.workflows.dfpt.quantumespresso.ph_gamma import PhGammaBaseWorkChain
        from aiida_goectp.workflows.dfpt.quantumespresso.pw import (
            FaultTolerantPwBaseWorkChain,
            FaultTolerantPwRelaxWorkChain,
        )
    except ImportError as error:
        raise ImportError(
            f'the Quantum ESPRESSO engine requires aiida-quantumespresso and aiida-pseudo ({error}): '
            "pip install 'aiida-goectp[quantumespresso]'"
        ) from error
    return FaultTolerantPwRelaxWorkChain, FaultTolerantPwBaseWorkChain, PhGammaBaseWorkChain

"""Earlier runs of an engine that answer for a new one, or that continue in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from aiida import orm

from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.dielectric.gates import judge_gap
from aiida_goectp.workflows.dfpt.base import IONIC_PART_DROPPED, DfptWorkChain
from aiida_goectp.workflows.dfpt.same_inputs import same_settings
from aiida_goectp.workflows.failures import ended_within_step

__all__ = ('UsableRuns', 'find_usable_runs', 'gap_of_metal')


class UsableRuns(NamedTuple):
    """Earlier runs with the same structure and settings; None for what there is not."""

    finished: orm.WorkChainNode | None = None
    """its response, or its gap without one, is that of a new run"""
    interrupted: tuple[orm.WorkChainNode, ...] = ()
    """the newest runs, if they were interrupted: their finished processes are used in a new run"""


def find_usable_runs(engine: type[DfptWorkChain], pks: Iterable[int], inputs: Mapping[str, Any]) -> UsableRuns:
    """Return the earlier runs that a new run need not repeat.

    Not used are runs with other settings or potentials, those whose ionic part was dropped for lack of memory or time,
    which may be available now, and metals without a response that the new thresholds allow.

    :param pks: of ended runs with an equal structure, the newest first
    :param inputs: of the new run
    """
    nodes: list[Any] = [orm.load_node(pk) for pk in pks]
    runs = [node for node in nodes if same_settings(node, engine, inputs) and engine.has_same_potentials(node, inputs)]
    thresholds = inputs['thresholds'].get_dict() if inputs.get('thresholds') is not None else None
    for node in runs:
        if node.is_finished_ok and _answers(node, thresholds):
            return UsableRuns(finished=node)
    # one that continued another has no link to the processes that it took from there, so all of them are returned
    return UsableRuns(interrupted=tuple(takewhile(ended_within_step, runs)))


def _answers(node: orm.WorkChainNode, thresholds: Mapping[str, float | None] | None) -> bool:
    """Return whether the outputs of a run that ended without an error are those of a new run."""
    if 'dielectric' in node.outputs:
        return not node.outputs.dielectric.dielectric.settings.get(IONIC_PART_DROPPED, False)
    gap = gap_of_metal(node)
    return gap is not None and judge_gap(gap.value, thresholds).label == VerdictLabel.REFUSED


def gap_of_metal(node: orm.WorkChainNode) -> orm.Float | None:
    """Return the gap by which a run ended without a response; None if its gates were evaluated for something else."""
    gates = node.outputs.quality.creator
    return gates.inputs.band_gap if gates is not None and 'band_gap' in gates.inputs else None

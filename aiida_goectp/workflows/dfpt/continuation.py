"""Continuation of interrupted runs of an engine: their finished processes are used in place of new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.engine import Process

from aiida_goectp.workflows.dfpt.same_inputs import same_inputs
from aiida_goectp.workflows.failures import ended_within_step, finished_process
from aiida_goectp.workflows.submit_once import called_by_label

__all__ = ('find_finished', 'has_working_folder', 'validate_continuation')


def validate_continuation(engine: type[Process]) -> Callable[[str | list[str] | None, Any], str | None]:
    """Return the validator of ``continue_from``."""

    def validate(uuids: str | list[str] | None, _: Any) -> str | None:
        for uuid in _as_list(uuids):
            try:
                node: Any = orm.load_node(uuid)
            except (NotExistent, ValueError, TypeError) as error:
                return f'continue_from: {error}'
            if (
                not isinstance(node, orm.WorkChainNode)
                or node.process_label != engine.__name__
                or not node.is_terminated
            ):
                return f'continue_from: node {node.pk} is no {engine.__name__} that has ended'
        return None

    return validate


def find_finished(
    uuids: str | list[str], label: str, process: type[Process], inputs: Mapping[str, Any]
) -> tuple[orm.ProcessNode, orm.ProcessNode] | None:
    """Return the finished process of an interrupted run with equal inputs, and that run; None without such a process.

    :param uuids: interrupted runs; the first one that has such a process is taken
    :param label: of the call
    :param process: class of the process
    :param inputs: those of the new process
    """
    for uuid in _as_list(uuids):
        run: Any = orm.load_node(uuid)
        found = called_by_label(run).get(label)
        if found is None or not found.is_finished or ended_within_step(finished_process(found)):
            continue
        if same_inputs(found, process, inputs, ('clean_workdir',)):
            return found, run
    return None


def _as_list(uuids: str | list[str] | None) -> list[str]:
    return [uuids] if isinstance(uuids, str) else uuids or []


def has_working_folder(node: orm.ProcessNode) -> bool:
    """Return whether the working folder of a process still has files; true if its computer cannot be reached now.

    It may have been removed at the end of an interrupted run, or by the rules of a cluster for old files.
    """
    if 'remote_folder' not in node.outputs:
        return False
    try:
        return not node.outputs.remote_folder.is_empty
    except NotExistent:  # the computer is not configured, as after the import of an archive
        return False
    except Exception:  # each transport raises its own; the next job waits for the connection
        return True

"""Reasons of failed processes as text, for exit messages and reports."""

from __future__ import annotations

from collections.abc import Callable

from aiida import orm

from aiida_goectp.workflows.aiida_private import STEP_RAISED

__all__ = (
    'MissingResourceError',
    'ended_within_step',
    'failure_reason',
    'failure_reason_with_job',
    'finished_process',
    'last_job',
)


class MissingResourceError(ValueError):
    """A code or a family of potentials is not in the profile; this is no property of the crystal."""


def failure_reason(node: orm.ProcessNode) -> str:
    """Return exit status and exit message of a failed process, the last line of its exception, or who killed it."""
    if node.exit_message:
        return f'[{node.exit_status}] {node.exit_message}'
    if node.is_excepted:
        lines = [line for line in (node.exception or '').splitlines() if line.strip()]
        return f'excepted: {lines[-1].strip() if lines else "no exception stored"}'
    if node.is_killed:
        return f'killed: {node.process_status or "no reason stored"}'
    return f'{node.process_state.value if node.process_state else "ended"} [{node.exit_status}]'


def ended_within_step(node: orm.ProcessNode) -> bool:
    """Return whether a process did not come to its own end: a step raised an exception, or it or its job was killed."""
    if node.is_excepted or node.is_killed or node.exit_status == STEP_RAISED:
        return True
    job = last_job(node) if node.is_failed else None
    return job is not None and job.is_killed


def finished_process(node: orm.ProcessNode) -> orm.ProcessNode:
    """Return the last job of a work chain that ended within a step, if that job is finished; else the process itself.

    The outputs of such a job are complete, although the work chain did not attach them.
    """
    job = last_job(node) if ended_within_step(node) else None
    return job if job is not None and job.is_finished_ok else node


def last_job(node: orm.ProcessNode) -> orm.CalcJobNode | None:
    """Return the job that a process submitted last, or the process itself if it is a job."""
    if isinstance(node, orm.CalcJobNode):
        return node
    jobs = [called for called in node.called_descendants if isinstance(called, orm.CalcJobNode)]
    return max(jobs, key=lambda job: job.ctime) if jobs else None


def failure_reason_with_job(node: orm.ProcessNode, of_job: Callable[[orm.CalcJobNode], str] = failure_reason) -> str:
    """Return the reason of a failed process and that of the last failed job below it.

    :param of_job: returns the reason of a failed job
    """
    failed = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode) and not job.is_finished_ok]
    if not failed:
        return failure_reason(node)
    job = max(failed, key=lambda job: job.ctime)
    return f'{failure_reason(node)}; {job.process_label}<{job.pk}> {of_job(job)}'

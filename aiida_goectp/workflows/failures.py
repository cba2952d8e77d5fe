"""Reasons of failed processes as text, for exit messages and reports."""

from __future__ import annotations

from aiida import orm

__all__ = ('failure_reason', 'failure_reason_with_job')


def failure_reason(node: orm.ProcessNode) -> str:
    """Return exit status and exit message of a failed process, or the last line of its exception."""
    if node.exit_message:
        return f'[{node.exit_status}] {node.exit_message}'
    if node.is_excepted:
        lines = [line for line in (node.exception or '').splitlines() if line.strip()]
        return f'excepted: {lines[-1].strip() if lines else "no exception stored"}'
    return f'{node.process_state.value if node.process_state else "ended"} [{node.exit_status}]'


def failure_reason_with_job(node: orm.ProcessNode) -> str:
    """Return the reason of a failed process and that of the last failed job below it."""
    failed = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode) and not job.is_finished_ok]
    if not failed:
        return failure_reason(node)
    job = max(failed, key=lambda job: int(job.pk or 0))
    return f'{failure_reason(node)}; {job.process_label}<{job.pk}> {failure_reason(job)}'

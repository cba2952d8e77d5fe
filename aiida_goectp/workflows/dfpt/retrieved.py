"""Retrieved files of a job as text."""

from __future__ import annotations

from aiida import orm

__all__ = ('last_error_line', 'read_retrieved')

_LONGEST_LINE = 300


def read_retrieved(node: orm.CalcJobNode, name: str) -> str:
    """Return the content of a retrieved text file; empty if the file is missing or the job never ran.

    Bytes that are not valid UTF-8 are replaced.
    """
    if 'retrieved' not in node.outputs:
        return ''
    repository = node.outputs.retrieved.base.repository
    if name not in repository.list_object_names():
        return ''
    content: bytes = repository.get_object_content(name, mode='rb')
    return content.decode(errors='replace')


def last_error_line(job: orm.CalcJobNode) -> str:
    """Return the last line of the error stream of a job, after a colon and a space; empty without one.

    It explains a program that did not start, such as a missing library or module, and a job that the system killed.
    """
    name = job.get_option('scheduler_stderr')
    lines = [' '.join(line.split()) for line in (read_retrieved(job, name) if name else '').splitlines()]
    last = next((line for line in reversed(lines) if line), '')
    return f': {last[:_LONGEST_LINE]}' if last else ''

"""Retrieved files of a job as text."""

from __future__ import annotations

from aiida import orm

__all__ = ('read_retrieved',)


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

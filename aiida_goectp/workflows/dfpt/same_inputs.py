"""Comparison of the inputs of a stored process with new inputs, by content."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aiida import orm
from aiida.common.hashing import make_hash
from aiida.engine import Process

__all__ = ('same_inputs', 'same_settings')

_ACTIONS = ('on_unhandled_failure', 'pause_on_max_iterations')
"""inputs at any depth that decide what happens after a failure"""
_NOT_COMPARED = ('structure', 'thresholds', 'clean_workdir')
"""inputs that do not change a response; structures are compared by another hash, and gates are evaluated again"""


def same_settings(node: orm.ProcessNode, engine: type[Process], inputs: Mapping[str, Any]) -> bool:
    """Return whether the inputs of a finished work chain and new inputs have the same content.

    Structure, thresholds, ``clean_workdir`` and inputs that are not nodes, such as queue and wall time, are ignored.

    :param inputs: inputs of the next work chain
    """
    return same_inputs(node, engine, inputs, _NOT_COMPARED)


def same_inputs(
    node: orm.ProcessNode, process: type[Process], inputs: Mapping[str, Any], ignored: Collection[str] = ()
) -> bool:
    """Return whether the input nodes of a stored process and of new inputs have the same content.

    :param process: its class
    :param inputs: inputs of the next process
    :param ignored: link labels that are not compared
    """
    links = node.base.links.get_incoming(node_class=orm.Data).all()
    before = {link.link_label: _hash(link.node) for link in links if _is_compared(link.link_label, ignored)}
    ports: Any = process.spec().inputs
    complete = ports.pre_process(ports.serialize(dict(inputs)) or {})
    after = {name: _hash(item) for name, item in _flat(complete).items() if _is_compared(name, ignored)}
    return before == after


def _is_compared(label: str, ignored: Collection[str]) -> bool:
    return label not in ignored and label.rpartition('__')[2] not in _ACTIONS


def _hash(node: Any) -> str:
    """Return the caching hash of a node, stored or not."""
    return make_hash(node.base.caching.get_objects_to_hash())


def _flat(inputs: Mapping[str, Any], prefix: str = '') -> dict[str, orm.Data]:
    """Return nodes of nested inputs by link label."""
    found: dict[str, orm.Data] = {}
    for key, value in inputs.items():
        if isinstance(value, Mapping) and not isinstance(value, orm.Data):
            found |= _flat(value, f'{prefix}{key}__')
        elif isinstance(value, orm.Data):
            found[f'{prefix}{key}'] = value
    return found

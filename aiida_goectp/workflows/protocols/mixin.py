"""Protocols of work chains: YAML files with inputs, merged with overrides."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml
from aiida.orm import AbstractCode, Data, Dict, to_aiida_type
from aiida.schedulers.datastructures import NodeNumberJobResource

from aiida_goectp.core.formats.settings import unknown_value
from aiida_goectp.workflows.protocols.overrides import Check, input_errors

__all__ = ('ProtocolMixin', 'gpu_options', 'job_inputs', 'job_options', 'merge', 'restart_inputs')

_FOLDER = Path(__file__).parent
_NODE_NUMBERS = ('num_machines', 'num_mpiprocs_per_machine')
"""resources in the protocols"""


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the first mapping that is recursively updated with the second."""
    merged = copy.deepcopy(dict(first))
    for key, value in second.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def restart_inputs(inputs: Mapping[str, Any]) -> dict[str, Data]:
    """Return the inputs of ``BaseRestartWorkChain`` in a protocol as nodes."""
    names = ('max_iterations', 'on_unhandled_failure', 'pause_on_max_iterations')
    return {name: to_aiida_type(inputs[name]) for name in names if name in inputs}


def job_inputs(inputs: Mapping[str, Any], code: AbstractCode) -> dict[str, Any]:
    """Return inputs of a job in a protocol, with its code and with dictionaries other than the metadata as nodes."""
    nodes = {key: Dict(value) for key, value in inputs.items() if key != 'metadata'}
    return {**nodes, 'code': code, 'metadata': inputs['metadata']}


def job_options(code: AbstractCode, protocol: Mapping[str, Any], options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of a job in a protocol, updated with those that are given.

    Schedulers that take a parallel environment or a total number of processes (SGE, LSF) refuse numbers of nodes: those
    of the protocol are left out for them.

    :param code: of the job
    """
    merged = merge(protocol, options or {})
    if code.computer is None or 'resources' not in merged:
        return merged
    if not issubclass(code.computer.get_scheduler().job_resource_class, NodeNumberJobResource):
        merged['resources'] = {key: item for key, item in merged['resources'].items() if key not in _NODE_NUMBERS}
    return merged


def gpu_options(code: AbstractCode, gpus: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a job that request GPUs from the scheduler of the code's computer.

    :param gpus: number of GPUs, 0 for none
    :param options: other options of the job; ``custom_scheduler_commands`` among them take precedence
    :raises ValueError: a negative number, or a scheduler for which the request is unknown
    """
    if gpus < 0:
        raise ValueError(f'gpus: {gpus}; give 0 or more')
    if gpus == 0 or 'custom_scheduler_commands' in options:
        return {}
    known = yaml.safe_load((_FOLDER / 'schedulers.yaml').read_text())
    scheduler = code.computer.scheduler_type if code.computer is not None else 'core.direct'
    if scheduler in known:
        line = known[scheduler]
        return {'custom_scheduler_commands': line.format(gpus=gpus)} if line else {}
    if 'queue_name' in options:
        return {}
    raise ValueError(
        f'gpus: the request of GPUs is unknown for the scheduler {scheduler}; choose a queue with GPUs with '
        "options={'queue_name': …}, or give the line of the job script with options={'custom_scheduler_commands': …}"
    )


class ProtocolMixin:
    """Work chain with protocols."""

    _PROTOCOL_FILE: ClassVar[str]
    """name of the YAML file in this folder"""

    _CHECKS: ClassVar[Mapping[str, Check]] = {}
    """dotted key → check of its value, where that is not an input port or has keys itself"""

    @classmethod
    def _read_protocols(cls) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load((_FOLDER / cls._PROTOCOL_FILE).read_text())
        return content

    @classmethod
    def get_available_protocols(cls) -> dict[str, str]:
        """Return name and description of each protocol."""
        return {name: item['description'] for name, item in cls._read_protocols()['protocols'].items()}

    @classmethod
    def get_default_protocol(cls) -> str:
        """Return the name of the default protocol."""
        return str(cls._read_protocols()['default_protocol'])

    @classmethod
    def get_protocol_inputs(
        cls, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the inputs of a protocol, recursively updated with overrides.

        :raises ValueError: an unknown protocol, or one message for each wrong key, joined by semicolons: its path,
            what was found, and the nearest key or what is allowed
        """
        content = cls._read_protocols()
        name = protocol or content['default_protocol']
        if name not in content['protocols']:
            raise ValueError(unknown_value('protocol', name, content['protocols']))
        inputs = merge(content['default_inputs'], content['protocols'][name])
        inputs.pop('description')
        inputs = merge(inputs, overrides or {})
        cls._check_inputs(inputs)
        return inputs

    @classmethod
    def _check_inputs(cls, inputs: Mapping[str, Any]) -> None:
        ports = cls.spec().inputs  # type: ignore[attr-defined]
        if errors := list(input_errors(ports, inputs, cls._CHECKS)):
            raise ValueError('; '.join(errors))

    @classmethod
    def check_options(cls, place: str, options: Mapping[str, Any] | None) -> None:
        """Check the options of a job.

        :param place: dotted name of the namespace ``metadata.options`` of the job
        :raises ValueError: unknown options, or values of another type
        """
        ports = cls.spec().inputs  # type: ignore[attr-defined]
        for name in place.split('.'):
            ports = ports[name]
        checks = {
            'options' + key.removeprefix(place): check
            for key, check in cls._CHECKS.items()
            if key.startswith(f'{place}.')
        }
        if errors := list(input_errors(ports, options or {}, checks, 'options')):
            raise ValueError('; '.join(errors))

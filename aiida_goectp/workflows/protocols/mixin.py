"""Protocols of work chains: YAML files with inputs, merged with overrides."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import AbstractCode

__all__ = ('ProtocolMixin', 'gpu_options', 'merge')

_FOLDER = Path(__file__).parent


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the first mapping that is recursively updated with the second."""
    merged = copy.deepcopy(dict(first))
    for key, value in second.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
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

    _FREE_KEYS: ClassVar[tuple[str, ...]] = ()
    """dotted keys whose content is not checked against the input ports"""

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

        A key of the overrides that is no input of the work chain has no effect; a warning names it.

        :raises ValueError: an unknown protocol
        """
        content = cls._read_protocols()
        name = protocol or content['default_protocol']
        if name not in content['protocols']:
            raise ValueError(f'unknown protocol {name!r}; the protocols are {", ".join(content["protocols"])}')
        inputs = merge(content['default_inputs'], content['protocols'][name])
        inputs.pop('description')
        if overrides:
            cls._warn_unknown(overrides)
            inputs = merge(inputs, overrides)
        return inputs

    @classmethod
    def _warn_unknown(cls, overrides: Mapping[str, Any]) -> None:
        ports = cls.spec().inputs  # type: ignore[attr-defined]
        unknown = list(_unknown_keys(ports, overrides, '', cls._FREE_KEYS))
        if unknown:
            warnings.warn(
                f'{cls.__name__} has no input {", ".join(unknown)}; the override has no effect',
                UserWarning,
                stacklevel=4,
            )


def _unknown_keys(ports: Any, overrides: Mapping[str, Any], path: str, free_keys: tuple[str, ...]) -> Iterator[str]:
    for key, value in overrides.items():
        place = f'{path}{key}'
        if key not in ports:  # also in dynamic namespaces: aiida-core declares those of all jobs as dynamic
            yield place
        elif isinstance(ports[key], PortNamespace) and isinstance(value, Mapping) and place not in free_keys:
            yield from _unknown_keys(ports[key], value, f'{place}.', free_keys)

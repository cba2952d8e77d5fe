"""Protocols for work chains: read the YAML file, merge overrides, and warn about keys that nothing listens to."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

if TYPE_CHECKING:
    from aiida.orm import AbstractCode

__all__ = ('ProtocolMixin', 'gpu_options', 'merge')

_FOLDER = Path(__file__).parent


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first mapping with the second laid over it, level by level; neither is changed."""
    merged = copy.deepcopy(dict(first))
    for key, value in second.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def gpu_options(code: AbstractCode, gpus: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a job that ask the scheduler of the code's computer for GPUs.

    :param gpus: how many; 0 asks for none
    :param options: other options of the job; what they say themselves is left alone
    :raises ValueError: the scheduler is one of those that cannot be asked this way; the message says what to do
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
        f'no way is known to ask the scheduler {scheduler} for GPUs: choose a queue that has them with '
        "options={'queue_name': …}, or give the line itself with options={'custom_scheduler_commands': …}"
    )


class ProtocolMixin:
    """What work chains with protocols have in common."""

    _PROTOCOLS: ClassVar[str]
    """name of the YAML file"""

    _OPEN: ClassVar[tuple[str, ...]] = ()
    """keys whose content is free, dotted"""

    @classmethod
    def _read_protocols(cls) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load((_FOLDER / cls._PROTOCOLS).read_text())
        return content

    @classmethod
    def get_available_protocols(cls) -> dict[str, str]:
        """Return name and description of each protocol."""
        return {name: item['description'] for name, item in cls._read_protocols()['protocols'].items()}

    @classmethod
    def get_default_protocol(cls) -> str:
        """Return the name of the protocol that is taken if none is named."""
        return str(cls._read_protocols()['default_protocol'])

    @classmethod
    def get_protocol_inputs(
        cls, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the inputs of a protocol with overrides laid over them.

        A key of the overrides that is no input of the work chain has no effect; a warning names it.

        :raises ValueError: no such protocol; the message lists those there are
        """
        content = cls._read_protocols()
        name = protocol or content['default_protocol']
        if name not in content['protocols']:
            raise ValueError(f'no protocol is named {name!r}; there are: {", ".join(content["protocols"])}')
        inputs = merge(content['default_inputs'], content['protocols'][name])
        inputs.pop('description')
        if overrides:
            cls._warn_unknown(overrides)
            inputs = merge(inputs, overrides)
        return inputs

    @classmethod
    def _warn_unknown(cls, overrides: Mapping[str, Any]) -> None:
        unknown = list(_unknown(cls.spec().inputs, overrides, '', cls._OPEN))  # type: ignore[attr-defined]
        if unknown:
            warnings.warn(
                f'{cls.__name__} has no input {", ".join(unknown)}; the override has no effect',
                UserWarning,
                stacklevel=4,
            )


def _unknown(ports: Any, overrides: Mapping[str, Any], path: str, open_keys: tuple[str, ...]) -> list[str]:
    from aiida.engine.processes.ports import PortNamespace

    found = []
    for key, value in overrides.items():
        place = f'{path}{key}'
        if key not in ports:  # aiida-core declares the inputs of every job as dynamic, which none of ours are
            found.append(place)
        elif isinstance(ports[key], PortNamespace) and isinstance(value, Mapping) and place not in open_keys:
            found += _unknown(ports[key], value, f'{place}.', open_keys)
    return found

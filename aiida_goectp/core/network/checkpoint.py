"""Model files: safetensors weights with the model card in the header."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from torch.overrides import TorchFunctionMode

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import (
    ModelCard,
    check_sizes,
    encode_model,
    model_hash,
    read_card,
    read_trained_on,
    resolve_model,
)
from aiida_goectp.core.formats.storage import replacing
from aiida_goectp.core.network.force_constants.stacked import StackedNetworks, can_be_stacked
from aiida_goectp.core.network.model import Network, build_network
from aiida_goectp.core.network.preparation import PRESETS

__all__ = ('LoadedModel', 'load_model', 'save_model')

_WHITENING = 'whitening'


@dataclass(frozen=True)
class LoadedModel:
    """Committee of one or more networks with its model card."""

    card: ModelCard
    networks: nn.ModuleList
    hash: str
    trained_on: np.ndarray | None = field(default=None, compare=False)
    """(k,) fingerprints of the crystals of all trainings, see :func:`.read_trained_on`; None if unknown"""

    @property
    def members(self) -> list[Network]:
        """The networks as a list."""
        return list(self.networks)  # type: ignore[arg-type]

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> LoadedModel:
        """Move the networks to a device in place and return the model."""
        first = next(self.networks.parameters(), None)
        # nn.Module.to takes as long as a small prediction, even if nothing changes
        if first is None or (first.device, first.dtype) != (torch.device(device), dtype):
            self.networks.to(device=device, dtype=dtype)
            self.__dict__.pop('stacked', None)
        return self

    @cached_property
    def stacked(self) -> StackedNetworks | None:
        """The members as one network, made at first use from their weights at that time; None if they differ."""
        return StackedNetworks(list(self.networks)) if can_be_stacked(list(self.networks)) else None  # type: ignore[arg-type]

    def with_functionals(self, functionals: Sequence[str]) -> LoadedModel:
        """Return a copy of the model with its functionals in another order; the first one is predicted by default.

        :param functionals: all functionals of the model; the model itself is returned if they are others
        """
        own = self.card.architecture.get('functionals', [])
        if list(functionals) == own or sorted(functionals) != sorted(own):
            return self
        order = [own.index(name) for name in functionals]
        model = replace(self, networks=copy.deepcopy(self.networks))
        for network in model.members:
            network.functionals = list(functionals)
            network.architecture = {**network.architecture, 'functionals': list(functionals)}
            network.functional_shift.weight.data = network.functional_shift.weight.data[order].clone()
        architectures = [network.architecture for network in model.members]
        changes = {
            'architecture': architectures[0],
            'architectures': architectures if self.card.architectures else [],
        }
        return replace(model, card=self.card.model_copy(update=changes))


def save_model(
    path: str | Path, networks: list[Network], card: ModelCard, trained_on: np.ndarray | None = None
) -> None:
    """Write a model file, atomically; equal arguments give equal bytes.

    :param networks: the members
    :param card: model card
    :param trained_on: fingerprints of the crystals of all trainings, see :func:`.crystal_fingerprints`; None if
        unknown
    :raises ValueError: number, architectures or targets of the networks differ from those of the card
    :raises StorageError: the file cannot be written
    """
    expected = [(card.architecture_of(member), card.targets) for member in range(card.members)]
    if [(network.architecture, network.targets) for network in networks] != expected:
        raise ValueError(
            f'model card: {card.members} members with targets {", ".join(card.targets)}; the {len(networks)} networks '
            'differ in number, architecture or targets'
        )
    weights = {}
    for member, network in enumerate(networks):
        whitening = {} if network.whitening is None else {_WHITENING: network.whitening}
        for name, tensor in {**network.state_dict(), **whitening}.items():
            # a copy, since safetensors refuses parameters that share memory, as in SchNet
            weights[f'{member}.{name}'] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    unused = set() if card.architectures else {'architectures'}
    with replacing(Path(path)) as stream:
        stream.write(encode_model(save(weights), card.model_dump_json(exclude=unused), trained_on))


def load_model(name_or_path: str | Path) -> LoadedModel:
    """Return a model in evaluation mode on the CPU.

    :param name_or_path: name of a shipped model, or path of a model file
    :raises FormatError: no such model, not a model file, unsupported version, another checksum, unknown preset or
        architecture, or weights of another architecture
    """
    path = resolve_model(name_or_path)
    card, content_hash = read_card(path), model_hash(path)
    if card.preset not in PRESETS:
        raise FormatError(f'{path}: preset: unknown value {card.preset!r}; allowed: {", ".join(sorted(PRESETS))}')
    check_sizes(path, card)
    try:
        with _BoundedWeights(path.stat().st_size):
            members = [build_network(card.architecture_of(member), card.targets) for member in range(card.members)]
        weights = load_file(path)
        whitening = {member: weights.pop(f'{member}.{_WHITENING}', None) for member in range(card.members)}
        networks = nn.ModuleList(members)
        networks.load_state_dict(weights)
        for member, network in enumerate(members):
            network.whitening = _check_whitening(whitening[member], network)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f'{path}: invalid architecture in the model card ({error})') from error
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise FormatError(f'{path}: weights do not match the architecture in the model card ({reason})') from error
    return LoadedModel(card, networks.eval(), content_hash, read_trained_on(path))


class _BoundedWeights(TorchFunctionMode):
    """Refuses more weights than the file has bytes, before memory is taken for them.

    Modules make their weights by ``torch.empty``. To build the networks on the meta device first would import the
    compiler of torch, which takes as long as torch itself.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.size = 0

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        """Call a function of torch.

        :raises ValueError: it would make more weights than there are bytes
        """
        keywords = keywords or {}
        if function is torch.empty:
            self.size += function(*arguments, **{**keywords, 'device': 'meta'}).numel()
            if self.size > self.limit:
                raise ValueError(f'{self.size} weights or more; the file has {self.limit} bytes')
        return function(*arguments, **keywords)


def _check_whitening(whitening: torch.Tensor | None, network: Network) -> torch.Tensor | None:
    width = network.feature_width
    if whitening is not None and (whitening.shape != (width, width) or not whitening.isfinite().all()):
        raise ValueError(f'whitening: shape {tuple(whitening.shape)} or values not finite; expected ({width}, {width})')
    return whitening

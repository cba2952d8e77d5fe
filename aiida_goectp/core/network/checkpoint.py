"""Writing and reading model files: safetensors weights, with the model card in the header."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from aiida_goectp.core.formats.model_card import (
    MODEL_FORMAT,
    MODEL_VERSION,
    ModelCard,
    model_hash,
    read_card,
    resolve_model,
)
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.network.model import GoeCTP
from aiida_goectp.core.network.preparation import PRESETS

__all__ = ('LoadedModel', 'load_model', 'save_model')

_WHITENING = 'whitening'


@dataclass(frozen=True)
class LoadedModel:
    """A committee of one or more networks, ready to evaluate."""

    card: ModelCard
    networks: nn.ModuleList
    hash: str

    @property
    def members(self) -> list[GoeCTP]:
        """The networks by themselves."""
        return list(self.networks)  # type: ignore[arg-type]

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> LoadedModel:
        """Move the networks to a device, in place, and return the model."""
        first = next(self.networks.parameters(), None)
        there = first is not None and (first.device, first.dtype) == (torch.device(device), dtype)
        if not there:  # a walk through all modules takes as long as a small prediction
            self.networks.to(device=device, dtype=dtype)
        return self

    def predicting(self, functionals: Sequence[str]) -> LoadedModel:
        """Return the model with its functionals in another order, the one to predict first; the weights are copies.

        :param functionals: those that the networks are told, all of them; anything else returns the model as it is
        """
        known = self.card.architecture.get('functionals', [])
        if list(functionals) == known or sorted(functionals) != sorted(known):
            return self
        places = [known.index(name) for name in functionals]
        model = LoadedModel(self.card, copy.deepcopy(self.networks), self.hash)
        for network in model.members:
            network.functionals = list(functionals)
            network.architecture = {**network.architecture, 'functionals': list(functionals)}
            network.functional_shift.weight.data = network.functional_shift.weight.data[places].clone()
        told = [network.architecture for network in model.members]
        changes = {'architecture': told[0], 'architectures': told if self.card.architectures else []}
        return replace(model, card=self.card.model_copy(update=changes))


def save_model(path: str | Path, networks: list[GoeCTP], card: ModelCard) -> None:
    """Write a model file; it is replaced atomically.

    :raises ValueError: the card does not fit the networks
    """
    told = [(card.architecture_of(member), card.targets) for member in range(card.members)]
    if [(network.architecture, network.targets) for network in networks] != told:
        raise ValueError(f'the card speaks of {card.members} networks with targets {card.targets}; these differ')
    weights = {
        f'{member}.{name}': tensor.detach().cpu().contiguous()
        for member, network in enumerate(networks)
        for name, tensor in {**network.state_dict(), **_beside(network)}.items()
    }
    path = Path(path)
    temporary = path.with_name(path.name + '.writing')
    unused = set() if card.architectures else {'architectures'}
    metadata = {'format': MODEL_FORMAT, 'version': str(MODEL_VERSION), 'card': card.model_dump_json(exclude=unused)}
    save_file(weights, temporary, metadata=metadata)
    temporary.replace(path)


def _beside(network: GoeCTP) -> dict[str, torch.Tensor]:
    return {} if network.whitening is None else {_WHITENING: network.whitening}


def load_model(name_or_path: str | Path) -> LoadedModel:
    """Read a model file, or a shipped model by name, in evaluation mode on the CPU.

    :raises FormatError: no such model, not a model file, another version, an unknown preset or architecture, or weights
        that do not fit it
    """
    path = resolve_model(name_or_path)
    card = read_card(path)
    if card.preset not in PRESETS:
        raise FormatError(f'{path}: unknown preset {card.preset!r}; this version knows {", ".join(sorted(PRESETS))}')
    try:
        members = [GoeCTP(card.architecture_of(member), card.targets) for member in range(card.members)]
        weights = load_file(path)
        whitening = {place: weights.pop(f'{place}.{_WHITENING}', None) for place in range(card.members)}
        networks = nn.ModuleList(members)
        networks.load_state_dict(weights)
        for place, network in enumerate(members):
            network.whitening = _checked(whitening[place], network)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f'{path}: the architecture in its card cannot be built ({error})') from error
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise FormatError(f'{path}: the weights do not fit the architecture in the card ({reason})') from error
    return LoadedModel(card, networks.eval(), model_hash(path))


def _checked(whitening: torch.Tensor | None, network: GoeCTP) -> torch.Tensor | None:
    width = network.backbone.width
    if whitening is not None and (whitening.shape != (width, width) or not whitening.isfinite().all()):
        raise ValueError(f'whitening of shape {tuple(whitening.shape)} for {width} features, or not finite')
    return whitening

"""Import of checkpoints that were trained with the authors' code (preset ``published``)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.network.checkpoint import save_model
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP

__all__ = ('import_published', 'load_published_weights')

_UNUSED = ('.bn.', '.lemb.', '.lin_edge_len.')
"""parts of the authors' state dict that their own network never reads (the edge layer's ``bn`` is read)"""


def import_published(
    source: str | Path, output: str | Path, target: str = 'total', name: str | None = None
) -> ModelCard:
    """Turn a checkpoint of the authors' code into a model file of this package.

    :param source: their ``.pt`` or ``.pth``: a state dict, or one in an entry ``state_dict`` or ``model``
    :param output: file to write
    :param target: what that network was trained on: electronic, ionic or total
    :param name: for the card; the file's stem by default
    :raises FormatError: the file holds anything but tensors and plain containers, or weights of another network
    """
    if target not in ('electronic', 'ionic', 'total'):
        raise FormatError(f'target {target!r}: expected electronic, ionic or total')
    network = GoeCTP(ARCHITECTURES['published'], [target])
    load_published_weights(network, _read(Path(source)), str(source))
    card = ModelCard(
        name=name or Path(source).stem,
        preset='published',
        architecture=ARCHITECTURES['published'],
        targets=[target],
        notes='Imported from a checkpoint of the published GoeCTP code (Hua et al., arXiv 2601.04755).',
    )
    save_model(output, [network], card)
    return card


def load_published_weights(network: GoeCTP, weights: Mapping[str, torch.Tensor], label: str = 'weights') -> None:
    """Load weights under the authors' names into a network of preset ``published``.

    :raises FormatError: names or shapes that do not fit
    """
    own = network.state_dict()
    renamed = {}
    for name, tensor in weights.items():
        name = name.removeprefix('module.')
        name = f'head.{name}' if name.startswith('fc_out.') else name
        if name in own or not any(part in f'.{name}' for part in _UNUSED):
            renamed[name] = tensor
    missing, unknown = sorted(set(own) - set(renamed)), sorted(set(renamed) - set(own))
    if missing or unknown:
        raise FormatError(
            f'{label}: not the published iComFormer network (128 wide, 4 attention layers): '
            f'{len(missing)} weights missing ({", ".join(missing[:3])}), '
            f'{len(unknown)} unknown ({", ".join(unknown[:3])})'
        )
    for name, tensor in renamed.items():
        if tensor.shape != own[name].shape:
            raise FormatError(
                f'{label}: weight {name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}'
            )
    network.load_state_dict(renamed)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    remedy = 'save the network anew with torch.save(model.state_dict(), FILE) in an environment that you trust'
    try:
        content: Any = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise FormatError(f'{path}: no such file') from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(
            f'{path}: refused, since it holds more than tensors or is no checkpoint ({reason}); {remedy}'
        ) from error
    for key in ('state_dict', 'model', 'model_state_dict'):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise FormatError(f'{path}: holds no state dict of tensors; {remedy}')
    return content

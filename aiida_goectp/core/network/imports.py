"""Import of checkpoints of the published GoeCTP code (preset ``published``)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.network.checkpoint import save_model
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP

__all__ = ('import_published', 'load_published_weights')

_UNUSED = ('.bn.', '.lemb.', '.lin_edge_len.')
"""parts of the authors' state dict that their network does not use, except for ``bn`` of the edge layer"""


def import_published(
    source: str | Path, output: str | Path, target: str = 'total', name: str | None = None
) -> ModelCard:
    """Convert a checkpoint of the authors' code to a model file of this package.

    :param source: ``.pt`` or ``.pth`` file: a state dict, or one in an entry ``state_dict`` or ``model``
    :param output: model file to write
    :param target: label on which the network was trained: electronic, ionic or total
    :param name: name in the model card; the stem of the file by default
    :return: the model card
    :raises FormatError: unknown target, a file with other content than tensors, or weights of another network
    """
    if target not in PARTS:
        raise FormatError(f'target: unknown value {target!r}; allowed: electronic, ionic, total')
    network = GoeCTP(ARCHITECTURES['published'], [target])
    load_published_weights(network, _read_state_dict(Path(source)), str(source))
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
    """Load weights with the authors' names into a network of preset ``published``.

    :param network: is changed
    :param weights: state dict
    :param label: name of the weights in messages
    :raises FormatError: names or shapes of another network
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
            f'{label}: weights of another network than the published iComFormer (width 128, 4 attention layers): '
            f'{len(missing)} missing ({", ".join(missing[:3])}), {len(unknown)} unknown ({", ".join(unknown[:3])})'
        )
    for name, tensor in renamed.items():
        if tensor.shape != own[name].shape:
            raise FormatError(
                f'{label}: weight {name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}'
            )
    network.load_state_dict(renamed)


def _read_state_dict(path: Path) -> Mapping[str, torch.Tensor]:
    remedy = 'save the network with torch.save(model.state_dict(), FILE) in a trusted environment'
    try:
        content: Any = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise FormatError(f'{path}: no such file') from error
    except pickle.UnpicklingError as error:  # its message advises to read the file without this protection
        raise FormatError(f'{path}: contains other objects than tensors, or is damaged; {remedy}') from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(
            f'{path}: not a checkpoint, or with other content than tensors ({reason}); {remedy}'
        ) from error
    for key in ('state_dict', 'model', 'model_state_dict'):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise FormatError(f'{path}: contains no state dict of tensors; {remedy}')
    return content

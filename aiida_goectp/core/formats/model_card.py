"""The model file: safetensors weights with the model card in the header. Read here without torch.

``network.checkpoint`` writes these files and builds networks from them; the AiiDA side needs the card and the hash
only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aiida_goectp.core.formats.npz import FormatError

__all__ = (
    'MODEL_FORMAT',
    'MODEL_VERSION',
    'ModelCard',
    'member_hashes',
    'model_hash',
    'read_card',
    'resolve_model',
    'shipped_models',
)

MODEL_FORMAT, MODEL_VERSION = 'aiida-goectp/model', 1
_SHIPPED = Path(__file__).parents[1] / 'models'


class ModelCard(BaseModel):
    """What a user must know of a model, and what is needed to build it."""

    model_config = ConfigDict(extra='forbid', protected_namespaces=())

    name: str
    preset: str = Field(description='how crystals become graphs and outputs become tensors: goectp or published')
    architecture: dict[str, Any] = Field(description='everything that decides the shape of the network')
    architectures: list[dict[str, Any]] = Field(
        default_factory=list, description='of each member, where they differ; the first is architecture, too'
    )
    targets: list[str] = Field(description='the outputs in order, of: electronic, ionic, total')
    members: int = Field(default=1, ge=1, description='size of the committee')
    elements: list[int] = Field(default_factory=list, description='atomic numbers of the training set')
    functional: str = Field(default='unknown', description='exchange-correlation functional of the labels')
    training: dict[str, Any] = Field(default_factory=dict, description='data, hash, split, seed, hyperparameters')
    uncertainty: dict[str, Any] = Field(
        default_factory=dict,
        description='factors of the standard deviations by target and quantity; unlike_above: leverage of strange rows',
    )
    metrics: dict[str, Any] = Field(default_factory=dict, description='figures reached, with the rows they hold for')
    licence: str = ''
    citation: str = ''
    notes: str = ''

    @model_validator(mode='after')
    def _one_architecture_a_member(self) -> ModelCard:
        several = self.architectures
        if several and (len(several) != self.members or several[0] != self.architecture):
            raise ValueError(f'architectures: {len(several)} for {self.members} members, or another first one')
        return self

    def architecture_of(self, member: int) -> dict[str, Any]:
        """Return the architecture of a member; beyond the last it begins again with the first."""
        return self.architectures[member % self.members] if self.architectures else self.architecture

    def of_member(self, member: int) -> ModelCard:
        """Return the card of one member by itself, which states no uncertainty and no figures: those are of all."""
        alone = {'members': 1, 'architecture': self.architecture_of(member), 'architectures': []}
        name = f'{self.name}, member {member % self.members}'
        return self.model_copy(update={**alone, 'uncertainty': {}, 'metrics': {}, 'name': name})

    def other_options(self, options: Mapping[str, Any]) -> list[str]:
        """Return the names of those options of the backbone that some member has otherwise."""
        told = [self.architecture_of(member).get('options', {}) for member in range(self.members)]
        return [
            name for name, value in options.items() if any(name not in item or item[name] != value for item in told)
        ]

    def other_functionals(self, functionals: Sequence[str]) -> bool:
        """Return whether the networks are told of other functionals than these; their order is no difference."""
        known = self.architecture.get('functionals', [])
        return sorted(functionals if known or len(functionals) > 1 else []) != sorted(known)


def shipped_models() -> tuple[str, ...]:
    """Return the names of the models that come with the package."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob('*.safetensors')))


def resolve_model(name_or_path: str | Path) -> Path:
    """Return the file of a model given by path or by the name of a shipped one.

    :raises FormatError: there is neither
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = _SHIPPED / f'{name_or_path}.safetensors'
    if path.name == str(name_or_path) and shipped.is_file():
        return shipped
    raise FormatError(
        f'{name_or_path}: no such model file, nor one of the shipped models: {", ".join(shipped_models())}'
    )


def read_card(path: str | Path) -> ModelCard:
    """Read the card from the header of a model file.

    :raises FormatError: not a model of this package (a pickle, say), another version, or a broken card
    """
    return _card(str(path), _header(Path(path)).get('__metadata__', {}))


def model_hash(path: str | Path) -> str:
    """Return the content hash of a model: what decides its numbers, weights included; not the prose of its card.

    :raises FormatError: as :func:`read_card`
    """
    path = Path(path)
    header = _header(path)
    card = _card(str(path), header.pop('__metadata__', {}))
    digest = hashlib.blake2b(digest_size=20)
    identity: dict[str, Any] = {
        'preset': card.preset,
        'architecture': card.architecture,
        'targets': card.targets,
        'members': card.members,
    }
    if card.architectures:
        identity['architectures'] = card.architectures
    if card.uncertainty:
        identity['uncertainty'] = card.uncertainty
    digest.update(json.dumps(identity, sort_keys=True).encode())
    _add_tensors(digest, path, header)
    return digest.hexdigest()


def member_hashes(path: str | Path, members: int) -> list[str]:
    """Return a hash of the weights of each member, by which the same network is known in another committee.

    :param members: as the card says
    :raises FormatError: as :func:`read_card`
    """
    path, hashes = Path(path), []
    header = _header(path)
    for member in range(members):
        digest = hashlib.blake2b(digest_size=20)
        own = {name.removeprefix(f'{member}.'): name for name in header if name.startswith(f'{member}.')}
        own.pop('whitening', None)  # of a calibration, not of the network
        _add_tensors(digest, path, {name: header[whole] for name, whole in own.items()})
        hashes.append(digest.hexdigest())
    return hashes


def _add_tensors(digest: Any, path: Path, entries: Mapping[str, dict[str, Any]]) -> None:
    with path.open('rb') as stream:
        start = 8 + int.from_bytes(stream.read(8), 'little')
        for name in sorted(entries):
            begin, end = entries[name]['data_offsets']
            digest.update(json.dumps([name, entries[name]['dtype'], entries[name]['shape']]).encode())
            stream.seek(start + begin)
            digest.update(stream.read(end - begin))


def _header(path: Path) -> dict[str, Any]:
    """Return the JSON header of a safetensors file (8 bytes of length, then JSON)."""
    remedy = 'models of this package end in .safetensors; `goectp info` describes one, imports need network.imports'
    try:
        with path.open('rb') as stream:
            length = int.from_bytes(stream.read(8), 'little')
            if not 2 <= length <= min(100_000_000, path.stat().st_size - 8):
                raise FormatError(f'{path}: not a safetensors file (a pickle, or cut off); {remedy}')
            header = json.loads(stream.read(length))
    except OSError as error:
        raise FormatError(f'{path}: cannot be read ({error.strerror})') from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f'{path}: not a safetensors file (a pickle, or cut off); {remedy}') from error
    try:
        if not isinstance(header.get('__metadata__', {}), dict):
            raise TypeError
        entries = [entry for name, entry in header.items() if name != '__metadata__']
        ends = [0, *(int(end) for entry in entries for end in entry['data_offsets'])]
        if min(ends) < 0 or any('dtype' not in entry or 'shape' not in entry for entry in entries):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f'{path}: not a safetensors file (its header is of another form); {remedy}') from error
    if max(ends) != path.stat().st_size - 8 - length:
        raise FormatError(f'{path}: the weights are cut off; copy the file again')
    return header


def _card(label: str, metadata: dict[str, str]) -> ModelCard:
    if metadata.get('format') != MODEL_FORMAT:
        raise FormatError(f'{label}: safetensors, but not a model of this package (no model card in the header)')
    if metadata.get('version') != str(MODEL_VERSION):
        raise FormatError(
            f'{label}: model format version {metadata.get("version")}; this package reads version {MODEL_VERSION}; '
            'use the package version that wrote it, or export the model anew'
        )
    try:
        return ModelCard.model_validate_json(metadata.get('card', ''))
    except ValidationError as error:
        first = error.errors()[0]
        where = '.'.join(map(str, first['loc'])) or 'card'
        raise FormatError(f'{label}: the model card is broken at {where}: {first["msg"]}') from error

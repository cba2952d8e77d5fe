"""Model files, read without torch: safetensors weights with the model card in the header.

``network.checkpoint`` writes these files and builds networks from them; the AiiDA side needs only card and hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import settings_errors

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
    """Description of a model: what its user must know, and what is needed to build the network."""

    model_config = ConfigDict(extra='forbid', protected_namespaces=())

    name: str
    preset: str = Field(description='conversion of crystals to graphs and of outputs to tensors: goectp or published')
    architecture: dict[str, Any] = Field(description='all parameters that determine the shape of the network')
    architectures: list[dict[str, Any]] = Field(
        default_factory=list, description='architecture of each member, if they differ; the first equals architecture'
    )
    targets: list[str] = Field(description='outputs in order, from: electronic, ionic, total')
    members: int = Field(default=1, ge=1, description='size of the committee')
    elements: list[int] = Field(default_factory=list, description='atomic numbers of the training set')
    functional: str = Field(default='unknown', description='exchange-correlation functional of the labels')
    training: dict[str, Any] = Field(default_factory=dict, description='data, hash, split, seed, hyperparameters')
    uncertainty: dict[str, Any] = Field(
        default_factory=dict,
        description='factors of the standard deviations by target and quantity; unlike_above: leverage above which a '
        'crystal is flagged unlike_training',
    )
    metrics: dict[str, Any] = Field(default_factory=dict, description='metrics, with the rows they were evaluated on')
    licence: str = ''
    citation: str = ''
    notes: str = ''

    @model_validator(mode='after')
    def _check_architectures(self) -> ModelCard:
        if self.architectures and len(self.architectures) != self.members:
            raise ValueError(f'architectures: found {len(self.architectures)} for {self.members} members')
        if self.architectures and self.architectures[0] != self.architecture:
            raise ValueError('architectures: the first one differs from architecture')
        return self

    def architecture_of(self, member: int) -> dict[str, Any]:
        """Return the architecture of a member, counted modulo the size of the committee."""
        return self.architectures[member % self.members] if self.architectures else self.architecture

    def of_member(self, member: int) -> ModelCard:
        """Return the card of a single member, without uncertainty and metrics, which belong to the committee."""
        changes = {'members': 1, 'architecture': self.architecture_of(member), 'architectures': []}
        name = f'{self.name}, member {member % self.members}'
        return self.model_copy(update={**changes, 'uncertainty': {}, 'metrics': {}, 'name': name})

    def differing_options(self, options: Mapping[str, Any]) -> list[str]:
        """Return the names of the backbone options that differ from those of any member."""
        own = [self.architecture_of(member).get('options', {}) for member in range(self.members)]
        return [name for name, value in options.items() if any(name not in item or item[name] != value for item in own)]

    def functionals_differ(self, functionals: Sequence[str]) -> bool:
        """Return whether the functionals differ from the inputs of the networks, whatever their order.

        A single functional is no input of a network.
        """
        own = self.architecture.get('functionals', [])
        return sorted(functionals if own or len(functionals) > 1 else []) != sorted(own)


def shipped_models() -> tuple[str, ...]:
    """Return the names of the models that are shipped with the package."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob('*.safetensors')))


def resolve_model(name_or_path: str | Path) -> Path:
    """Return the file of a model given by its path or by the name of a shipped model.

    :raises FormatError: neither exists
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = _SHIPPED / f'{name_or_path}.safetensors'
    if path.name == str(name_or_path) and shipped.is_file():
        return shipped
    raise FormatError(
        f'{name_or_path}: neither a file nor a shipped model; shipped models: {", ".join(shipped_models())}'
    )


def read_card(path: str | Path) -> ModelCard:
    """Read the card from the header of a model file.

    :raises FormatError: not a model file of this package, another version, or an invalid card
    """
    return _card(str(path), _header(Path(path)).get('__metadata__', {}))


def model_hash(path: str | Path) -> str:
    """Return the content hash of a model: weights and all fields of the card that determine predictions.

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
    """Return a hash of the weights of each member; equal networks of different committees have equal hashes.

    :param members: number of members in the card
    :raises FormatError: as :func:`read_card`
    """
    path, hashes = Path(path), []
    header = _header(path)
    for member in range(members):
        digest = hashlib.blake2b(digest_size=20)
        own = {name.removeprefix(f'{member}.'): name for name in header if name.startswith(f'{member}.')}
        own.pop('whitening', None)  # belongs to the calibration
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
    """Return the JSON header of a safetensors file: eight bytes with its length, then JSON."""
    remedy = 'give a .safetensors file of this package; `goectp info FILE` describes one'
    try:
        with path.open('rb') as stream:
            length = int.from_bytes(stream.read(8), 'little')
            if not 2 <= length <= min(100_000_000, path.stat().st_size - 8):
                raise FormatError(f'{path}: not a safetensors file, or truncated; {remedy}')
            header = json.loads(stream.read(length))
    except OSError as error:
        raise FormatError(f'{path}: cannot be read ({error.strerror})') from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f'{path}: not a safetensors file, or truncated; {remedy}') from error
    try:
        if not isinstance(header.get('__metadata__', {}), dict):
            raise TypeError
        entries = [entry for name, entry in header.items() if name != '__metadata__']
        ends = [0, *(int(end) for entry in entries for end in entry['data_offsets'])]
        if min(ends) < 0 or any('dtype' not in entry or 'shape' not in entry for entry in entries):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f'{path}: not a safetensors file (invalid header); {remedy}') from error
    if max(ends) != path.stat().st_size - 8 - length:
        raise FormatError(f'{path}: the weights are truncated; copy the file again')
    return header


def _card(label: str, metadata: dict[str, str]) -> ModelCard:
    if metadata.get('format') != MODEL_FORMAT:
        raise FormatError(f'{label}: not a model of this package (no model card in the safetensors header)')
    if metadata.get('version') != str(MODEL_VERSION):
        raise FormatError(
            f'{label}: unknown version {metadata.get("version")} of the model format; supported: {MODEL_VERSION}; '
            'read the file with the package version that wrote it'
        )
    try:
        return ModelCard.model_validate_json(metadata.get('card', ''))
    except ValidationError as error:
        messages = '; '.join(settings_errors(ModelCard, error, 'card'))
        raise FormatError(f'{label}: invalid model card: {messages}') from error

"""Model files, read without torch: safetensors weights with the model card in the header.

``network.checkpoint`` writes these files and builds networks from them; the AiiDA side needs only card and hash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.settings import settings_errors

__all__ = (
    'MODEL_FORMAT',
    'MODEL_VERSION',
    'ModelCard',
    'check_sizes',
    'encode_model',
    'member_hashes',
    'model_hash',
    'read_card',
    'read_trained_on',
    'resolve_model',
    'shipped_models',
)

MODEL_FORMAT, MODEL_VERSION = 'aiida-goectp/model', 1
_SHIPPED = Path(__file__).parents[1] / 'models'
_CHECKSUM = 'checksum'
"""key of the metadata"""
_TRAINED_ON = 'trained_on'
"""key of the metadata"""
_MAX_TRAINED_ON = 1_000_000
"""crystals; their fingerprints take two thirds of the largest header"""
_MAX_HEADER = 16 * 2**20
"""bytes"""
_LOGGER = logging.getLogger(__name__)
_without_checksum: set[str] = set()
"""files that were reported"""


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
        description='factors of the standard deviations by target and quantity; lowest_eigenvalue: factors for the '
        'probability of stability; unlike_above: leverage above which a crystal is flagged unlike_training',
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

    @property
    def gives_stability(self) -> bool:
        """Whether predictions of the model have a probability of stability, which needs calibrated force constants."""
        return bool(self.uncertainty.get('lowest_eigenvalue'))

    @property
    def preparation_can_be_kept(self) -> bool:
        """Whether a prepared.npz serves the model: preset ``published`` takes crystals as they are given."""
        return self.preset != 'published'

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

    @property
    def predicted_functional(self) -> str | None:
        """Functional that is predicted, the first of those that the networks distinguish; None if they do not."""
        return next(iter(self.architecture.get('functionals', [])), None)

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


def read_trained_on(path: str | Path) -> np.ndarray | None:
    """Return the fingerprints (k,) of the crystals that a model was trained on, see :func:`.crystal_fingerprints`.

    None if the file does not contain them: that of an early version, of a model whose parent lacks them, or of a
    training with more than a million crystals.

    :raises FormatError: as :func:`read_card`, or fingerprints that cannot be read
    """
    text = _header(Path(path)).get('__metadata__', {}).get(_TRAINED_ON)
    if text is None:
        return None
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype='<u8').astype(np.uint64)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f'{path}: {_TRAINED_ON}: not base64 of integers of 64 bits; copy the file again') from error


def encode_model(tensors: bytes, card: str, trained_on: np.ndarray | None = None) -> bytes:
    """Return the content of a model file; equal arguments give equal bytes.

    :param tensors: safetensors content without metadata
    :param card: JSON text of the card
    :param trained_on: see :func:`read_trained_on`; more than a million are left out
    """
    start = 8 + int.from_bytes(tensors[:8], 'little')
    entries, data = json.loads(tensors[8:start]), tensors[start:]
    metadata = {'format': MODEL_FORMAT, 'version': str(MODEL_VERSION), 'card': card}
    if trained_on is not None and len(trained_on) <= _MAX_TRAINED_ON:
        metadata[_TRAINED_ON] = base64.b64encode(trained_on.astype('<u8').tobytes()).decode()
    metadata[_CHECKSUM] = _checksum(metadata, entries, data)
    order = sorted(entries, key=lambda name: (entries[name]['data_offsets'], name))
    header = json.dumps({'__metadata__': metadata, **{name: entries[name] for name in order}}, separators=(',', ':'))
    text = header.encode()
    text += b' ' * (-len(text) % 8)  # the format aligns the tensors
    return len(text).to_bytes(8, 'little') + text + data


def _checksum(metadata: Mapping[str, str], entries: Mapping[str, Any], data: bytes) -> str:
    """Return the checksum of a model file: of its metadata, of what its header states of each tensor, and of all bytes
    of the tensors."""
    digest = hashlib.blake2b(digest_size=20)
    own = {name: text for name, text in metadata.items() if name != _CHECKSUM}
    digest.update(json.dumps([own, {name: entries[name] for name in sorted(entries)}], sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()


def _check_integrity(path: Path, metadata: Mapping[str, str], entries: Mapping[str, Any]) -> None:
    """Compare the checksum of a model file with its content. A file without one, of an older version, is accepted.

    :raises FormatError: another checksum
    """
    if _CHECKSUM not in metadata:
        if str(path) not in _without_checksum:
            _without_checksum.add(str(path))
            _LOGGER.warning(
                '%s: no checksum, since an early version wrote it; damage of its weights would not be noticed', path
            )
        return
    with path.open('rb') as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), 'little'))
        found = _checksum(metadata, entries, stream.read())
    if found != metadata[_CHECKSUM]:
        raise FormatError(f'{path}: the checksum does not match the weights and the card; copy the file again')


def model_hash(path: str | Path) -> str:
    """Return the content hash of a model: weights and all fields of the card that determine predictions.

    The checksum of the file is verified.

    :raises FormatError: as :func:`read_card`, or another checksum
    """
    path = Path(path)
    header = _header(path)
    metadata = header.pop('__metadata__', {})
    card = _card(str(path), metadata)
    _check_integrity(path, metadata, header)
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


def check_sizes(path: str | Path, card: ModelCard) -> None:
    """Check that a model file has the weights for the sizes in its card, before a network of these sizes is built.

    :raises FormatError: more members, layers or channels than weights
    """
    header = _header(Path(path))
    header.pop('__metadata__', None)
    weights = Path(path).stat().st_size
    limits = {'members': len(header), 'layers': len(header)}
    architectures = [card.architecture_of(member) for member in range(min(card.members, len(header)))]
    for name, size in _sizes({'members': card.members, 'architectures': architectures}):
        if size > limits.get(name, weights):
            raise FormatError(
                f'{path}: {name}: {size} in the model card; the file has {len(header)} tensors of {weights} bytes'
            )


def _sizes(value: Any, name: str = '') -> Iterator[tuple[str, int]]:
    """Yield the whole numbers in nested objects and arrays, each with its key."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else ((name, item) for item in value):
            yield from _sizes(item, key)
    elif isinstance(value, int):
        yield name, value


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
            if not 2 <= length <= min(_MAX_HEADER, path.stat().st_size - 8):
                raise FormatError(f'{path}: not a safetensors file, or truncated; {remedy}')
            header = parse_json(stream.read(length), str(path))
    except OSError as error:
        raise FormatError(f'{path}: cannot be read ({error.strerror})') from error
    except FormatError as error:
        raise FormatError(f'{path}: not a safetensors file, or truncated; {remedy}') from error
    try:
        metadata = header.get('__metadata__', {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError
        entries = [entry for name, entry in header.items() if name != '__metadata__']
        spans = [[int(place) for place in entry['data_offsets']] for entry in entries]
        if any(not 0 <= begin <= end for begin, end in spans):
            raise ValueError
        if any('dtype' not in entry or 'shape' not in entry for entry in entries):
            raise ValueError
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise FormatError(f'{path}: not a safetensors file (invalid header); {remedy}') from error
    if sum(end - begin for begin, end in spans) > path.stat().st_size:  # also bounds the time to hash them
        raise FormatError(f'{path}: not a safetensors file (tensors overlap); {remedy}')
    if max([0, *(end for _, end in spans)]) != path.stat().st_size - 8 - length:
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
        return ModelCard.model_validate(parse_json(metadata.get('card', ''), f'{label}: model card'))
    except ValidationError as error:
        messages = '; '.join(settings_errors(ModelCard, error, 'card'))
        raise FormatError(f'{label}: invalid model card: {messages}') from error

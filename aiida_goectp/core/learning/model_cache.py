"""Models that stay loaded in this process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import NamedTemporaryFile

from aiida_goectp.core.formats.model_card import resolve_model
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model

__all__ = ('cached_model',)

_CAPACITY = 12
"""models; a daemon that compares models in each round of a campaign must not keep them all"""

_loaded: dict[tuple[str, str], LoadedModel] = {}


def cached_model(model: str | Path | bytes, device: str) -> LoadedModel:
    """Return a model on a device, loaded before or now. Callers must not change its networks.

    :param model: a path, the name of a shipped model, or the content of a model file
    :param device: as :func:`aiida_goectp.core.learning.device.choose_device` returns it
    :raises FormatError: no such model, or not one of this version
    """
    key = (_identity(model), device)
    found = _loaded.pop(key, None) or _load(model).to(device)
    _loaded[key] = found  # the last of the dictionary is the most recently used
    for oldest in list(_loaded)[:-_CAPACITY]:
        del _loaded[oldest]
    return found


def _identity(model: str | Path | bytes) -> str:
    """Return the hash of a content; path, size and time of a file, which is not read for it."""
    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()
    path = resolve_model(model).resolve()
    state = path.stat()
    return f'{path} {state.st_ino} {state.st_size} {state.st_mtime_ns}'


def _load(model: str | Path | bytes) -> LoadedModel:
    if not isinstance(model, bytes):
        return load_model(model)
    with NamedTemporaryFile(suffix='.safetensors') as stream:
        stream.write(model)
        stream.flush()
        return load_model(stream.name)

"""Models that stay loaded."""

from __future__ import annotations

from aiida_goectp.core.learning.model_cache import cached_model
from tests import tiny


def test_a_model_is_loaded_once_from_path_or_content(model):
    assert cached_model(model, 'cpu') is cached_model(str(model), 'cpu')
    assert cached_model(model.read_bytes(), 'cpu') is cached_model(model.read_bytes(), 'cpu')


def test_the_least_recently_used_model_is_dropped(model, tmp_path):
    first = cached_model(model, 'cpu')
    others = [tiny.write_model(tmp_path / f'{seed}.safetensors', seed=seed) for seed in range(1, 13)]
    for path in others[:11]:
        cached_model(path, 'cpu')
    assert cached_model(model, 'cpu') is first
    for path in others:
        cached_model(path, 'cpu')
    assert cached_model(model, 'cpu') is not first

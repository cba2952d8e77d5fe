"""A campaign with the inputs of a backtest, and the differences between their histories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isclose
from typing import Any

from aiida import orm

from aiida_goectp.calculations.datasets import import_dataset
from aiida_goectp.calculations.structures import import_structures
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.selection import History
from aiida_goectp.core.selection.backtest import BacktestSettings, SearchTask
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from tests.workflows.campaign.searching import OPTIONS, file_of

_NOT_COMPARED = ('model_hash', 'new_model_hash', 'core_hours')
"""fields of a round that differ: model files contain names, and a backtest has no cost"""


def campaign_like(
    code: orm.AbstractCode,
    task: SearchTask,
    settings: BacktestSettings,
    training: TrainSettings,
    seed: int,
    engine: str,
    dfpt: dict[str, Any],
    **more: Any,
) -> Any:
    """Return the builder of a campaign with start, pool, settings and seed of a backtest.

    The dataset is given without the base split of the task, so that the campaign makes its own.

    :param settings: with one acquisition function
    :param more: overrides of the work chain
    """
    (acquisition,) = settings.acquisitions
    bare = replace(task.start, splits={}, split_settings={})
    overrides = {
        'picking': settings.picking(acquisition).model_dump(mode='json'),
        'stop_rules': settings.rules.model_dump(mode='json'),
        'retraining': settings.policy.model_dump(mode='json'),
        'seed': seed,
        'predict': {'goectp': {'device': 'cpu'}},
        'train': {
            'goectp': {
                'settings': training.model_dump(mode='json', exclude={'seed', 'members'}),
                'device': 'cpu',
                'monitors': {'training': None},
            },
        },
        **more,
    }
    return ActiveLearningWorkChain.get_builder_from_protocol(
        code,
        import_structures(file_0=file_of(task.pool, 'pool.npz')),
        import_dataset(file_of(bare, 'start.npz')),
        engine,
        dfpt,
        None,
        'fast',
        overrides,
        OPTIONS,
    )


def differences(one: History, two: History, tolerance: float = 0.0) -> list[str]:
    """Return the differences between two histories; numbers may differ by a relative tolerance."""
    return list(_differences(one.model_dump(mode='json'), two.model_dump(mode='json'), tolerance, 'history'))


def _differences(one: Any, two: Any, tolerance: float, where: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two} - {*_NOT_COMPARED}):
            yield from _differences(one.get(key), two.get(key), tolerance, f'{where}.{key}')
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for place, (first, second) in enumerate(zip(one, two, strict=True)):
            yield from _differences(first, second, tolerance, f'{where}[{place}]')
    elif isinstance(one, float) and isinstance(two, float):
        if not isclose(one, two, rel_tol=tolerance):
            yield f'{where}: {one!r} and {two!r}, by {abs(one - two) / max(abs(one), abs(two)):.1e}'
    elif one != two:
        yield f'{where}: {one!r} and {two!r}'

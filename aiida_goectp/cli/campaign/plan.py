"""From a configuration to the inputs of the work chain; all that is wrong is said before anything is stored."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from aiida_goectp.cli.campaign import sources
from aiida_goectp.cli.campaign.config import CampaignConfig
from aiida_goectp.cli.jobs import checked, default_code

__all__ = ('Plan', 'candidates', 'make_plan')

_TRIES = 50
"""candidates of which the engine must accept one"""

_PLAIN = ('max_concurrent', 'max_trainings', 'seed')


class Plan(NamedTuple):
    """A campaign that is checked and not begun."""

    builder: Any
    config: CampaignConfig
    found: dict[str, sources.Source]
    """pool, dataset and model, the last one if there is one"""

    def store(self) -> Any:
        """Return the builder with everything that was a file until now stored as a node."""
        for name, source in self.found.items():
            setattr(self.builder, name, source.store())
        return self.builder


def make_plan(config: CampaignConfig, folder: Path) -> Plan:
    """Find what a configuration names, and try whether work chain and engine accept it.

    :param folder: that relative paths begin in
    :raises click.UsageError: with one line for each key that is wrong
    """
    from aiida_goectp.workflows.dfpt.engines import load_engine

    wrong: list[str] = []

    def look(key: str, find: Callable[[], Any]) -> Any:
        try:
            return find()
        except (ValueError, click.ClickException) as error:
            text = error.message if isinstance(error, click.ClickException) else str(error)
            wrong.append(f'{key}: {text}')
            return None

    found = {
        'pool': look('pool', partial(sources.find_pool, config.pool, folder)),
        'dataset': look('dataset', partial(sources.find_dataset, config.dataset, folder)),
    }
    if config.model is not None:
        found['model'] = look('model', partial(sources.find_model, config.model, folder))
    nodes = {
        name: look(name, partial(sources.find_node, getattr(config, name), kind))
        for name, kind in (('predictions', 'goectp.predictions'), ('labels', 'goectp.dataset'))
        if getattr(config, name) is not None
    }
    code = look('code', partial(_code, config.code))
    engine = look('engine', partial(load_engine, config.engine))
    dfpt = None if engine is None else look('dfpt', partial(_engine_arguments, engine, config))
    if wrong:
        raise click.UsageError(_joined(wrong))
    try:
        builder = checked(_builder(config, found, nodes, code, dfpt))
    except ValueError as error:
        raise click.UsageError(_joined([str(error)])) from error
    if config.label:
        builder.metadata.label = config.label
    if config.description:
        builder.metadata.description = config.description
    _check_functionals(builder)
    _try_engine(builder)
    return Plan(builder, config, found)


def _joined(wrong: list[str]) -> str:
    return 'the campaign cannot be started:\n' + '\n'.join(f'  {text}' for text in wrong)


def _code(label: str | None) -> Any:
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import load_code

    if label is None:
        return default_code()
    try:
        return load_code(label)
    except (NotExistent, MultipleObjectsError) as error:
        raise ValueError(f'{error}; `verdi code list` lists what there is') from error


def _engine_arguments(engine: Any, config: CampaignConfig) -> dict[str, Any]:
    from aiida_goectp.cli.engine_arguments import engine_arguments

    given = config.dfpt
    names = {'queue_name': 'queue', 'account': 'account', 'max_wallclock_seconds': 'wall_time'}
    options = {name: getattr(given, field) for name, field in names.items() if getattr(given, field) is not None}
    asked = {
        **{name: getattr(given, name) for name in ('potentials', 'protocol', 'relax', 'electronic_only', 'processes')},
        **{name: getattr(given, name) for name in ('overrides', 'arguments')},
        'codes': [f'{role}={label}' for role, label in given.codes.items()],
        'options': {**given.options, **options},
    }
    return engine_arguments(engine, config.engine, asked, {'codes': 'codes:', 'potentials': 'potentials'})


def _builder(
    config: CampaignConfig, found: dict[str, sources.Source], nodes: dict[str, Any], code: Any, dfpt: Any
) -> Any:
    """Return the builder, with nodes that may be unstored.

    :raises ValueError: what the protocol or the work chain refuses
    """
    from aiida import orm

    from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain

    more = {
        'split': orm.Str(config.split) if config.split else None,
        'thresholds': orm.Dict(config.thresholds) if config.thresholds else None,
        'reuse': orm.Bool(config.reuse),
        **nodes,
    }
    with warnings.catch_warnings():
        # an override without effect is a wrong key
        warnings.filterwarnings('error', message='.* has no input .*', category=UserWarning)
        try:
            return ActiveLearningWorkChain.get_builder_from_protocol(
                code,
                found['pool'].node,
                found['dataset'].node,
                config.engine,
                dfpt,
                found['model'].node if 'model' in found else None,
                config.protocol,
                _overrides(config),
                config.options,
                config.gpus,
                **more,
            )
        except UserWarning as error:
            raise ValueError(f'overrides: {error}') from error


def _overrides(config: CampaignConfig) -> dict[str, Any]:
    from aiida_goectp.workflows.protocols.mixin import merge

    device = {} if config.device is None else {'device': config.device}
    training = config.given('training')
    own: dict[str, Any] = {
        **{name: config.given(name) for name in ('picking', 'stop_rules', 'retraining')},
        **{name: getattr(config, name) for name in _PLAIN if getattr(config, name) is not None},
        'predict': {'goectp': device},
        'train': {'goectp': {**device, **({'settings': training} if training else {})}},
    }
    return merge(config.overrides, own)


def candidates(builder: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return of the crystals of the pool whether the filters admit them (n,), and whether they are known (n,).

    Known is what the dataset has a label of, or has refused, with the same content.
    """
    from aiida_goectp.core.selection import KnownCrystals, PickSettings, read_settings

    pool = builder.pool.crystals
    picking = read_settings(PickSettings, builder.picking.get_dict(), 'picking')
    past = KnownCrystals.of_dataset(builder.dataset.dataset, picking.figure_of_merit, pool)
    return picking.filters.passes(pool), np.isin(pool.hashes, past.crystals.hashes)


def _check_functionals(builder: Any) -> None:
    """Refuse labels of several functionals that no training would take.

    :raises click.UsageError: the trainings are not told of them
    """
    functionals = builder.dataset.base.attributes.get('functionals')
    told = builder.train['goectp']['settings'].get_dict().get('functionals', [])
    if builder.model is not None and not told:
        told = builder.model.card.architecture.get('functionals', [])
    missing = [name for name in functionals if name not in told]
    if len(functionals) > 1 and missing:
        text = (
            f'dataset: labels of several functionals ({", ".join(functionals)}), which no training mixes unknowingly; '
            'name them in training.functionals, the one to predict first, or begin with labels of one'
        )
        raise click.UsageError(_joined([text]))


def _try_engine(builder: Any) -> None:
    """Let the engine make the inputs of a candidate, which finds wrong codes, potentials and overrides.

    :raises click.UsageError: it refuses the first ones, or there is none
    """
    from aiida_goectp.data.crystals import structure_from_crystal
    from aiida_goectp.workflows.dfpt.engines import engine_inputs, load_engine

    passes, known = candidates(builder)
    rows = np.flatnonzero(passes & ~known)[:_TRIES].tolist()
    if not rows:
        raise click.UsageError(_joined([f'pool: {_why_none(passes, known)}']))
    engine = load_engine(builder.engine.value)
    refused: list[str] = []
    for crystal in (builder.pool.crystals[row] for row in rows):
        try:
            engine_inputs(engine, structure_from_crystal(crystal), builder.dfpt, builder.thresholds)
        except ValueError as error:
            refused.append(f'{crystal.id}: {error}')
        else:
            return
    first = f'dfpt: {builder.engine.value} refuses the first {len(refused)} candidates; {refused[0]}'
    raise click.UsageError(_joined([first]))


def _why_none(passes: np.ndarray, known: np.ndarray) -> str:
    """Return why there is nothing to pick."""
    if not passes.any():
        return f'none of its {len(passes)} crystals passes the filters (picking.filters)'
    return f'all of its {int(passes.sum())} crystals that pass the filters are known from the dataset already'

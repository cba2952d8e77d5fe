"""Plan of a campaign: the builder of a configuration, validated before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent

from aiida_goectp.cli.campaign import sources
from aiida_goectp.cli.campaign.config import CampaignConfig, ParsedConfig, configuration_error, parse_config
from aiida_goectp.cli.doctor.codes import errors_of_codes
from aiida_goectp.cli.engine_arguments import engine_arguments
from aiida_goectp.cli.jobs import default_code, port_errors
from aiida_goectp.core.datasets.splits import reduced_formulas
from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import KnownCrystals, PickSettings
from aiida_goectp.core.selection.diversity import StructureMatcher
from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.campaign.validation import campaign_errors, hold_out_warning
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from aiida_goectp.workflows.dfpt.engines import first_refusal, load_engine
from aiida_goectp.workflows.protocols.mixin import merge

__all__ = ('Plan', 'candidates', 'engine_errors', 'plan_of_file')

_TRAINING = 'train.goectp.settings', 'training'
"""port of the work chain, and the key of the configuration that gives it"""

_DEPENDENT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(('picking', 'retraining', 'thresholds', 'split', 'model', 'predictions', 'labels'), ()),
    'training': ('train',),
    **dict.fromkeys(('overrides', 'protocol'), ('picking', 'retraining', 'train')),
}
"""optional key of the configuration → ports whose inputs depend on it, besides that of its name"""

_MAX_TRIED_CANDIDATES = 50
"""the engine must accept one of these"""
_BLOCK = 1000
"""crystals in which copies are searched at a time"""


class Plan(NamedTuple):
    """A campaign that is valid and not started."""

    builder: Any
    found: dict[str, sources.Source]
    """pool, dataset, and model if there is one"""

    @property
    def warning(self) -> str | None:
        """See :func:`.hold_out_warning`."""
        return hold_out_warning(builder_inputs(self.builder))

    def store(self) -> Any:
        """Store the content of files as nodes, and return the builder."""
        for name, source in self.found.items():
            setattr(self.builder, name, source.store())
        return self.builder


def plan_of_file(path: Path) -> Plan:
    """Read a configuration, find its nodes and files, and check that work chain and engine accept them.

    Relative paths are those from the folder of the file. Nothing is stored.

    :raises click.UsageError: all errors that can be found at once, one line per key, with its line in the file
    """
    try:
        parsed = parse_config(path)
    except ValueError as error:
        raise configuration_error(str(error).splitlines()) from error
    errors = list(parsed.errors)
    if parsed.config is None:
        raise configuration_error(errors)
    parts = _find_parts(parsed, path.resolve().parent, errors)
    errors += map(parsed.locate, _code_errors(parts))
    config, invalid = parsed.config, {*parsed.invalid, *(name for name, part in parts.named() if part is None)}
    try:
        ActiveLearningWorkChain.get_protocol_inputs(config.protocol, config.overrides)
    except ValueError as error:  # the other keys are checked with the default protocol
        message = str(error)
        key = '' if message.startswith('protocol: ') else 'overrides: '
        errors.append(parsed.locate(f'{key}{message}'))
        config, invalid = config.model_copy(update={'protocol': None, 'overrides': {}}), invalid | {'overrides'}
    builder = None
    try:
        builder = _builder(config, parts)
    except ValueError as error:
        errors += map(parsed.locate, str(error).splitlines())
    if builder is not None:
        errors += [parsed.locate(message.replace(*_TRAINING)) for message in _builder_errors(builder, invalid)]
    if errors or builder is None:
        raise configuration_error(dict.fromkeys(errors))
    if parsed.config.label:
        builder.metadata.label = parsed.config.label
    if parsed.config.description:
        builder.metadata.description = parsed.config.description
    return Plan(builder, parts.found)


class _Parts(NamedTuple):
    """What a configuration names; None for what is not found."""

    found: dict[str, sources.Source]
    nodes: dict[str, Any]
    code: Any
    dfpt: Any

    def named(self) -> Iterator[tuple[str, Any]]:
        """Yield the keys of nodes and files, and what they name."""
        yield from self.found.items()
        yield from self.nodes.items()


def _find_parts(parsed: ParsedConfig, folder: Path, errors: list[str]) -> _Parts:
    """Return nodes, files, code and arguments of the engine that the valid keys name, and add the errors of each.

    :param folder: folder of relative paths
    """
    config: Any = parsed.config

    def resolve(key: str, find: Callable[[], Any]) -> Any:
        if key in parsed.invalid:
            return None
        try:
            return find()
        except (ValueError, click.ClickException) as error:
            message = error.message if isinstance(error, click.ClickException) else str(error)
            errors.append(parsed.locate(f'{key}: {message}'))
            return None

    found = {
        'pool': resolve('pool', partial(sources.find_pool, config.pool, folder)),
        'dataset': resolve('dataset', partial(sources.find_dataset, config.dataset, folder)),
    }
    if config.model is not None:
        found['model'] = resolve('model', partial(sources.find_model, config.model, folder))
    nodes = {
        name: resolve(name, partial(sources.find_node, getattr(config, name), entry_point))
        for name, entry_point in (('predictions', 'goectp.predictions'), ('labels', 'goectp.dataset'))
        if getattr(config, name) is not None
    }
    code = resolve('code', partial(_code, config.code))
    engine = resolve('engine', partial(load_engine, config.engine))
    dfpt = None if engine is None else resolve('dfpt', partial(_engine_arguments, engine, config))
    return _Parts(found, nodes, code, dfpt)


def _code(label: str | None) -> Any:
    if label is None:
        return default_code()
    try:
        return orm.load_code(label)
    except (NotExistent, MultipleObjectsError) as error:
        raise ValueError(f'{error}; list the codes with `verdi code list`') from error


def _engine_arguments(engine: Any, config: CampaignConfig) -> dict[str, Any]:
    names = {'codes': 'codes: {}', 'potentials': 'potentials'}
    return engine_arguments(engine, config.engine, config.dfpt.requested(), names)


def _code_errors(parts: _Parts) -> list[str]:
    """Return why the codes cannot run, each after its key in the configuration."""
    keys: dict[Any, str] = {}
    for name, value in (parts.dfpt or {}).items():
        if isinstance(value, orm.AbstractCode):
            keys[value] = 'dfpt.codes' if name == 'code' else f'dfpt.codes.{name.removesuffix("_code")}'
    if parts.code is not None:
        keys[parts.code] = 'code'
    return [f'{keys[code]}: {message}' for code, message in errors_of_codes(keys)]


def _builder(config: CampaignConfig, parts: _Parts) -> Any:
    """Return the builder, whose nodes may be unstored; None if a part of it is missing.

    :raises ValueError: the work chain refuses an input
    """
    found = parts.found
    if any(part is None for part in (found['pool'], found['dataset'], parts.code, parts.dfpt)):
        return None
    more = {
        'split': orm.Str(config.split) if config.split else None,
        'thresholds': orm.Dict(config.thresholds) if config.thresholds else None,
        'reuse': orm.Bool(config.reuse),
        **{name: node for name, node in parts.nodes.items() if node is not None},
    }
    return ActiveLearningWorkChain.get_builder_from_protocol(
        parts.code,
        found['pool'].node,
        found['dataset'].node,
        config.engine,
        parts.dfpt,
        None if found.get('model') is None else found['model'].node,
        config.protocol,
        _overrides(config),
        config.options,
        config.gpus,
        **more,
    )


def _builder_errors(builder: Any, invalid: Container[str]) -> list[str]:
    """Return the errors of the inputs, of the dataset, and of the engine.

    :param invalid: keys of the configuration that have errors of their own; what depends on them is not checked, since
        its result would be that of a default
    """
    own = port_errors(builder)
    broken = {*own, *(name for name in _DEPENDENT if name in invalid)}
    broken |= {port for key, ports in _DEPENDENT.items() if key in broken for port in ports}
    errors = [*own.values(), *campaign_errors(builder_inputs(builder), broken)]
    if not {'train', 'model'} & broken:
        errors += _functional_errors(builder)
    if not errors and not {'picking', 'thresholds'} & broken:
        errors += engine_errors(builder)
    return errors


def _overrides(config: CampaignConfig) -> dict[str, Any]:
    device = {} if config.device is None else {'device': config.device}
    training = config.given('training')
    plain = {name: getattr(config, name) for name in ('max_concurrent', 'max_trainings', 'seed')}
    own: dict[str, Any] = {
        **{name: config.given(name) for name in ('picking', 'stop_rules', 'retraining')},
        **{name: value for name, value in plain.items() if value is not None},
        'predict': {'goectp': device},
        'train': {'goectp': {**device, **({'settings': training} if training else {})}},
    }
    return merge(config.overrides, own)


def candidates(builder: Any, enough: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return which crystals of the pool pass the filters (n,), and which are known (n,).

    Known are crystals with a label in the dataset or among the further labels, accepted or refused, and their copies
    unless ``diversity.copies`` is off, as in the first round of the campaign.

    :param enough: number of candidates after which no further copy is searched, to limit the time in a large pool
    """
    pool, dataset = builder.pool.crystals, builder.dataset.dataset
    if builder.labels is not None:  # they may complete rows of the dataset
        # numba takes a second to import
        from aiida_goectp.core.datasets.joining import join_datasets

        dataset = join_datasets([dataset, builder.labels.dataset])[0]
    picking = read_settings(PickSettings, builder.picking.get_dict(), 'picking')
    passes = picking.filters.passes(pool)
    found = KnownCrystals.of_dataset(dataset, picking.figure_of_merit, pool)
    known = np.isin(pool.hashes, found.crystals.hashes)
    if picking.diversity.copies:
        alike = np.isin(reduced_formulas(pool), reduced_formulas(found.crystals))
        rows, matcher = np.flatnonzero(passes & ~known), StructureMatcher()
        for stop in range(_BLOCK, len(rows) + _BLOCK, _BLOCK):
            block = rows[stop - _BLOCK : stop]
            known[list(found.copies(pool, block[alike[block]].tolist(), matcher))] = True
            if enough is not None and (~known[rows[:stop]]).sum() >= enough:
                break
    return passes, known


def _functional_errors(builder: Any) -> list[str]:
    """Return an error if labels of several functionals are trained on without a functional as input of the model."""
    functionals = builder.dataset.base.attributes.get('functionals')
    trained = builder.train['goectp']['settings'].get_dict().get('functionals', [])
    if builder.model is not None and not trained:
        trained = builder.model.card.architecture.get('functionals', [])
    if len(functionals) < 2 or len(trained_as(functionals, trained)) == len(functionals):
        return []
    return [
        f'dataset: labels of several functionals ({", ".join(functionals)}); list them in training.functionals, the '
        'one to predict first, or start with labels of one functional'
    ]


def engine_errors(builder: Any) -> list[str]:
    """Return an error if the engine refuses the first candidates, or no candidate is left.

    An engine refuses all candidates with wrong codes, potentials or overrides.
    """
    passes, known = candidates(builder, _MAX_TRIED_CANDIDATES)
    rows = np.flatnonzero(passes & ~known)[:_MAX_TRIED_CANDIDATES].tolist()
    if not passes.any():
        return [f'pool: none of its {len(passes)} crystals passes picking.filters']
    if not rows:
        return [f'pool: dataset and labels contain all of its {int(passes.sum())} crystals that pass the filters']
    crystals = (builder.pool.crystals[row] for row in rows)
    structures = ((crystal.id, structure_from_crystal(crystal)) for crystal in crystals)
    error = first_refusal(load_engine(builder.engine.value), structures, builder.dfpt, builder.thresholds)
    return [] if error is None else [f'dfpt: {error}']

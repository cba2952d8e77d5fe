"""The question that a process answers, in plain words, from its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT
from aiida_goectp.core.selection.picking import PickSettings
from aiida_goectp.core.selection.stopping import StopRules
from aiida_goectp.report.results import Result

__all__ = ('asked', 'filter_words', 'merit_words')

_TENSORS = {
    'total': 'static permittivity ε_total',
    'electronic': 'electronic permittivity ε∞',
    'ionic': 'ionic permittivity',
}


def asked(result: Result) -> list[str]:
    """Return sentences that describe what was asked."""
    write = {'screen': _screen, 'verification': _verification, 'campaign': _campaign}
    return list(write[result.kind](result))


def merit_words(name: str) -> str:
    """Return a figure of merit with its formula."""
    item = FIGURES_OF_MERIT.get(name)
    return name if item is None else f'{name} = {item.formula}'


def filter_words(filters: Filters) -> list[str]:
    """Return the conditions of filters, one phrase each."""
    words = []
    for column, (low, high) in filters.bounds().items():
        name = {'band_gap': 'band gap (eV)', 'e_above_hull': 'energy above the convex hull (eV/atom)'}.get(
            column, column
        )
        bounds = [f'≥ {low:g}' if low is not None else '', f'≤ {high:g}' if high is not None else '']
        words.append(f'{name} {" and ".join(filter(None, bounds))}')
    for names, phrase in (
        (filters.elements_all, 'contains {} (all of them)'),
        (filters.elements_any, 'contains at least one of {}'),
        (filters.elements_only, 'contains no elements other than {}'),
        (filters.elements_none, 'contains none of {}'),
    ):
        if names:
            words.append(phrase.format(', '.join(names)))
    return words


def _screen(result: Result) -> Iterator[str]:
    inputs = result.process.inputs
    crystals = inputs.crystals
    name = f' "{crystals.label}"' if crystals.label else ''
    yield f'Which of the {len(crystals):,} crystals of node {crystals.pk}{name} have the highest {_goal(result)}?'
    yield _model_sentence(inputs.model)
    filters = inputs.filters.get_dict() if 'filters' in inputs else {}
    words = filter_words(Filters(**filters))
    if words:
        yield f'Crystals were candidates if they meet these conditions: {"; ".join(words)}.'
    if not filters.get('unseen_elements'):
        yield 'Crystals with an element that is not in the training set of the model were not ranked.'
    if 'min_stability' in inputs:
        yield (
            f'Ranked were only crystals whose predicted probability of having no unstable vibration is '
            f'{inputs.min_stability.value:g} or more.'
        )
    if not inputs.keep_duplicates.value:
        yield 'Equal crystals were ranked once.'
    yield f'The best {inputs.number.value} were to be selected.'


def _goal(result: Result) -> str:
    return f'figure of merit {merit_words(result.candidates.figure_of_merit)}'


def _model_sentence(model: Any) -> str:
    card = model.card
    members = f'a committee of {card.members} networks' if card.members > 1 else 'a single network'
    functional = f' trained on labels of functional {card.functional}' if card.functional != 'unknown' else ''
    return f'The tensors were predicted by the model {card.name} (node {model.pk}), {members}{functional}.'


def _verification(result: Result) -> Iterator[str]:
    inputs = result.process.inputs
    yield (
        f'Do the predictions of {len(result.candidates)} selected crystals agree with density functional perturbation '
        'theory (DFPT)?'
    )
    yield f'The crystals were computed in the order of their rank with the engine {_engine(inputs)}.'
    if result.models:
        yield _model_sentence(result.models[0])
    yield from _budget(inputs)
    if 'thresholds' in inputs:
        changed = ', '.join(f'{name} {value}' for name, value in inputs.thresholds.get_dict().items())
        yield f'Thresholds of quality gates that differ from the defaults: {changed}.'


def _engine(inputs: Any) -> str:
    return str(inputs.engine.value).removeprefix('goectp.dfpt.').rpartition(':')[2]


def _budget(inputs: Any) -> Iterator[str]:
    limits = [
        f'{inputs[name].value:g} {unit}'
        for name, unit in (('max_calculations', 'calculations'), ('max_core_hours', 'core-hours'))
        if name in inputs
    ]
    if limits:
        yield f'The budget was {" and ".join(limits)}.'


def _campaign(result: Result) -> Iterator[str]:
    inputs = result.process.inputs
    settings = PickSettings(**inputs.picking.get_dict())
    yield f'Which of the {len(inputs.pool):,} crystals of node {inputs.pool.pk} have the highest {_goal(result)}?'
    yield (
        f'In each round, {settings.batch_size} crystals were picked by the acquisition function '
        f'{settings.acquisition.name}, verified by DFPT with the engine {_engine(inputs)}, and the model was retrained '
        'on the new labels if due.'
    )
    if settings.pruning is not None:
        yield (
            f'One of {settings.pruning.every} models predicted all crystals, the others those that could be picked '
            f'within {settings.pruning.margin:g} standard deviations.'
        )
    words = filter_words(settings.filters)
    if words:
        yield f'Crystals were candidates if they meet these conditions: {"; ".join(words)}.'
    start = 'the model ' + inputs.model.card.name if 'model' in inputs else 'a model trained on it'
    yield f'The campaign started with a dataset of {len(inputs.dataset):,} labelled crystals and {start}.'
    yield f'It ends with the first stop rule that is met: {"; ".join(_rules(inputs.stop_rules.get_dict()))}.'


def _rules(given: Mapping[str, Any]) -> list[str]:
    values = StopRules(**given).model_dump(exclude_none=True)
    return [
        name + (' ' + ', '.join(f'{key} {item:g}' for key, item in value.items()) if isinstance(value, dict) else
                f' {value:g}')
        for name, value in values.items()
    ]  # fmt: skip

"""``aiida-goectp screen``."""

from __future__ import annotations

from typing import Any

import click
from aiida.cmdline.utils import decorators, echo

from aiida_goectp.cli.jobs import checked, default_code, job_options, scheduler_options, submit
from aiida_goectp.cli.params import ElementsParam, ModelParam, crystals_type, latest

__all__ = ('screen',)

_FILTERS = (
    'min_gap',
    'max_gap',
    'max_hull',
    'elements_all',
    'elements_any',
    'elements_only',
    'elements_none',
    'min_atoms',
    'max_atoms',
    'unseen_elements',
)


@click.command()
@click.argument('crystals', required=False, type=crystals_type())
@click.option('--model', type=ModelParam(), help='Node, shipped name or file; the first shipped model if not given.')
@click.option('--min-gap', type=float, help='Band gap at least, eV (column band_gap).')
@click.option('--max-gap', type=float, help='Band gap at most, eV.')
@click.option('--max-hull', type=float, help='Distance to the hull at most, eV/atom (column e_above_hull).')
@click.option('--elements', 'elements_only', type=ElementsParam(), help='No elements but these: Ba,Ti,O.')
@click.option('--with-all', 'elements_all', type=ElementsParam(), help='Each of these elements.')
@click.option('--with-any', 'elements_any', type=ElementsParam(), help='One of these elements at least.')
@click.option('--without', 'elements_none', type=ElementsParam(), help='None of these elements.')
@click.option('--min-atoms', type=int, help='Atoms in the cell at least.')
@click.option('--max-atoms', type=int, help='Atoms in the cell at most.')
@click.option('--unseen-elements', is_flag=True, default=None, help='Rank also what holds elements new to the model.')
@click.option(
    '--range',
    'ranges',
    type=(str, float, float),
    multiple=True,
    metavar='COLUMN LOW HIGH',
    help='Of any property column.',
)
@click.option('--merit', 'figure_of_merit', help='Figure of merit to rank by, e.g. total, gap_total, refractive_index.')
@click.option('--select', 'number', type=click.IntRange(min=1), help='How many to select.')
@click.option('--shard-size', type=click.IntRange(min=1), help='Crystals in one job.')
@click.option('--max-shards', 'max_concurrent_shards', type=click.IntRange(min=1), help='Jobs at the same time.')
@click.option('--predict-all', is_flag=True, default=None, help='Predict also what the filters exclude.')
@job_options
@decorators.with_dbenv()
def screen(crystals: Any, run: bool, label: str, **values: Any) -> None:
    """Predict CRYSTALS, rank them, and select the best.

    CRYSTALS is a node made by `aiida-goectp import`, by PK, UUID or label; the newest one if not given. Filters look at
    property columns and composition, and are applied before anything is predicted.
    """
    from aiida_goectp.cli.views.progress import run_and_report

    crystals = crystals if crystals is not None else _latest_crystals()
    builder = _builder(crystals, values)
    builder.metadata.label = label
    if not run:
        submit(builder)
        return
    echo.echo_report(f'screening the {len(crystals)} crystals of node {crystals.pk} with {builder.model.card.name}')
    try:
        node = run_and_report(builder)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from aiida_goectp.cli.views.nodes import show_node

    show_node(node, builder.number.value)
    if not node.is_finished_ok:
        echo.echo_critical(f'the work chain failed; `verdi process report {node.pk}` tells more')


def _latest_crystals() -> Any:
    node = latest('goectp.crystals')
    if node is None:
        raise click.UsageError('there are no crystals yet; read some with `aiida-goectp import`')
    # a screen filters crystals: what was imported is at the end of the line
    while node.creator is not None and 'crystals' in node.creator.inputs:
        node = node.creator.inputs.crystals
    return node


def _builder(crystals: Any, values: dict[str, Any]) -> Any:
    """Return the builder that the options ask for.

    :raises click.UsageError: with what is wrong
    """
    from aiida_goectp.workflows.screen import ScreenWorkChain

    filters = {name: values[name] for name in _FILTERS if values[name] is not None}
    if values['ranges']:
        filters['ranges'] = {name: [low, high] for name, low, high in values['ranges']}
    names = ('figure_of_merit', 'number', 'shard_size', 'max_concurrent_shards', 'predict_all')
    overrides: dict[str, Any] = {name: values[name] for name in names if values[name] is not None}
    if values['device'] is not None:
        overrides['predict'] = {'goectp': {'device': values['device']}}
    try:
        return checked(
            ScreenWorkChain.get_builder_from_protocol(
                values['code'] or default_code(),
                crystals,
                values['model'] or _default_model(),
                values['protocol'],
                overrides,
                filters,
                scheduler_options(values),
                values['gpus'],
            )
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _default_model() -> Any:
    from aiida_goectp.core.formats.model_card import shipped_models
    from aiida_goectp.data.model import ModelData

    if not shipped_models():
        raise click.UsageError('no model ships with this version; name one with --model')
    return ModelData.get_or_create(shipped_models()[0])

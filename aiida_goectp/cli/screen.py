"""``aiida-goectp screen``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import MODEL, job_options, scheduler_options
from aiida_goectp.cli.params import CRYSTALS, ElementsParam, complete_merit
from aiida_goectp.core.formats.names import MIN_STABILITY
from aiida_goectp.core.formats.numbers import FiniteFloat

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
_OVERRIDES = (
    'figure_of_merit',
    'number',
    'shard_size',
    'max_concurrent_shards',
    'predict_all',
    'keep_duplicates',
    'min_stability',
)


@click.command()
@click.argument('crystals', required=False, type=CRYSTALS)
@MODEL
@click.option('--min-gap', type=float, help='Minimum band gap in eV (column band_gap).')
@click.option('--max-gap', type=float, help='Maximum band gap in eV.')
@click.option('--max-hull', type=float, help='Maximum energy above the convex hull in eV/atom (column e_above_hull).')
@click.option(
    '--elements', 'elements_only', type=ElementsParam(), help='Keep crystals without other elements, e.g. Ba,Ti,O.'
)
@click.option('--with-all', 'elements_all', type=ElementsParam(), help='Keep crystals with all of these elements.')
@click.option(
    '--with-any', 'elements_any', type=ElementsParam(), help='Keep crystals with at least one of these elements.'
)
@click.option('--without', 'elements_none', type=ElementsParam(), help='Keep crystals without these elements.')
@click.option('--min-atoms', type=int, help='Minimum number of atoms per cell.')
@click.option('--max-atoms', type=int, help='Maximum number of atoms per cell.')
@click.option(
    '--unseen-elements',
    is_flag=True,
    default=None,
    help='Rank also crystals with elements that are not in the training set of the model.',
)
@click.option(
    '--range',
    'ranges',
    type=(str, float, float),
    multiple=True,
    metavar='COLUMN LOW HIGH',
    help='Keep rows with LOW ≤ COLUMN ≤ HIGH; -inf and inf are no bound; may be given several times.',
)
@click.option(
    '--merit',
    'figure_of_merit',
    shell_complete=complete_merit,
    help='Figure of merit of the ranking, e.g. gap_total, refractive_index; default: total.',
)
@click.option(
    '--select', 'number', type=click.IntRange(min=1), help='Number of top-ranked crystals to select; default: 20.'
)
@click.option('--shard-size', type=click.IntRange(min=1), help='Number of crystals per job.')
@click.option(
    '--max-shards', 'max_concurrent_shards', type=click.IntRange(min=1), help='Maximum number of concurrent jobs.'
)
@click.option('--predict-all', is_flag=True, default=None, help='Predict also the crystals that the filters exclude.')
@click.option(
    '--keep-duplicates', is_flag=True, default=None, help='Rank every row of equal crystals.  [default: once]'
)
@click.option(
    '--stable',
    'min_stability',
    type=FiniteFloat(0, 1),
    is_flag=False,
    flag_value=MIN_STABILITY,
    metavar='[PROBABILITY]',
    help='Rank only crystals whose predicted probability of stability is PROBABILITY or more. '
    f'[without a value: {MIN_STABILITY}]',
)
@click.option('--phonons', is_flag=True, default=None, help='Also predict phonons at Γ; some kilobytes per crystal.')
@job_options
@decorators.with_dbenv()
def screen(crystals: Any, run: bool, label: str, **values: Any) -> None:
    """Predict CRYSTALS, rank them, and select the best.

    CRYSTALS is a node created by `aiida-goectp import`, given by PK, UUID or label; the default is the latest one.
    Crystals that other commands stored, such as `aiida-goectp predict FILE`, must be given.
    Filters use property columns and the composition, and are applied before the prediction.
    """
    from aiida_goectp.cli.jobs import launch

    crystals = crystals if crystals is not None else _latest_import()
    builder = _builder(crystals, values)
    builder.metadata.label = label
    name = f' "{crystals.label}"' if crystals.label else ''
    message = f'screening the {len(crystals)} crystals of node {crystals.pk}{name} with {builder.model.card.name}'
    launch(builder, run, message, builder.number.value)


def _latest_import() -> Any:
    from aiida_goectp.cli.queries import latest_import

    node = latest_import()
    if node is None:
        raise click.UsageError('no crystals are imported; import some with `aiida-goectp import`, or give a node')
    return node


def _builder(crystals: Any, values: dict[str, Any]) -> Any:
    """Return the builder of the screen.

    :raises click.UsageError: invalid option values
    """
    from aiida_goectp.cli.jobs import default_code, validated
    from aiida_goectp.workflows.screen import ScreenWorkChain

    filters = {name: values[name] for name in _FILTERS if values[name] is not None}
    if values['ranges']:
        filters['ranges'] = _common_ranges(values['ranges'])
    overrides: dict[str, Any] = {name: values[name] for name in _OVERRIDES if values[name] is not None}
    predict = {name: values[name] for name in ('device', 'phonons') if values[name] is not None}
    if predict:
        overrides['predict'] = {'goectp': predict}
    try:
        return validated(
            ScreenWorkChain.get_builder_from_protocol(
                values['code'] or default_code(),
                crystals,
                values['model'],
                values['protocol'],
                overrides,
                filters,
                scheduler_options(values),
                values['gpus'],
            )
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _common_ranges(ranges: Iterable[tuple[str, float, float]]) -> dict[str, list[float]]:
    """Return the range of each column that is within all ranges given for it; NaN is kept, to be refused."""
    import numpy as np

    common: dict[str, list[float]] = {}
    for name, low, high in ranges:
        first, last = common.get(name, (low, high))
        common[name] = [float(np.maximum(first, low)), float(np.minimum(last, high))]
    return common

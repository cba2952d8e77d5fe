"""``aiida-goectp evaluate``."""

from __future__ import annotations

from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import job_options, scheduler_options
from aiida_goectp.cli.params import DATASET, SPLIT_PART, ModelParam

__all__ = ('evaluate',)


@click.command()
@click.argument('model', type=ModelParam())
@click.argument('dataset', type=DATASET)
@click.option('--split', help='Split of the dataset.  [default: no split, all rows with a usable label]')
@click.option(
    '--part',
    type=SPLIT_PART,
    default='test',
    show_default=True,
    help='Part of the split to evaluate on.',
)
@job_options
@decorators.with_dbenv()
def evaluate(model: Any, dataset: Any, split: str | None, part: str, run: bool, label: str, **values: Any) -> None:
    """Compute the errors of MODEL on DATASET.

    The metrics are given overall, by crystal system, and by functional. MODEL is a node, the name of a shipped model,
    or a file.
    """
    from aiida_goectp.cli.jobs import default_code, launch, validated
    from aiida_goectp.workflows.evaluate import EvaluateWorkChain

    overrides = {'goectp': {'device': values['device']}} if values['device'] is not None else {}
    try:
        builder = EvaluateWorkChain.get_builder_from_protocol(
            values['code'] or default_code(),
            dataset,
            model,
            split,
            part,
            values['protocol'],
            overrides,
            scheduler_options(values),
            values['gpus'],
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    validated(builder).metadata.label = label
    launch(builder, run, f'evaluating {model.card.name} on dataset node {dataset.pk}')

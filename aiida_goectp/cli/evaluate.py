"""``aiida-goectp evaluate``."""

from __future__ import annotations

from typing import Any

import click
from aiida.cmdline.params.types import DataParamType
from aiida.cmdline.utils import decorators, echo

from aiida_goectp.cli.jobs import checked, default_code, job_options, scheduler_options, submit
from aiida_goectp.cli.params import ModelParam

__all__ = ('evaluate',)


@click.command()
@click.argument('model', type=ModelParam())
@click.argument('dataset', type=DataParamType(sub_classes=('aiida.data:goectp.dataset',)))
@click.option('--split', help='Split of the dataset; without, all rows with a label that may be used.')
@click.option(
    '--part',
    type=click.Choice(['train', 'validation', 'test']),
    default='test',
    show_default=True,
    help='Of the split.',
)
@job_options
@decorators.with_dbenv()
def evaluate(model: Any, dataset: Any, split: str | None, part: str, run: bool, label: str, **values: Any) -> None:
    """Compare what MODEL predicts with the labels of DATASET, in all and by crystal system and functional.

    MODEL is a node, the name of a shipped model, or a file.
    """
    from aiida_goectp.cli.views.nodes import show_node
    from aiida_goectp.cli.views.progress import run_and_report
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
    checked(builder).metadata.label = label
    if not run:
        submit(builder)
        return
    node = run_and_report(builder)
    show_node(node, 20)
    if not node.is_finished_ok:
        echo.echo_critical(f'the work chain failed; `verdi process report {node.pk}` tells more')

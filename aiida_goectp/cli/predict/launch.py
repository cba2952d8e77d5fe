"""Launch of a prediction, and the output of its result."""

from __future__ import annotations

from typing import Any

import click

from aiida_goectp.cli import echo
from aiida_goectp.cli.jobs import default_code, require_daemon, run, submit, validated
from aiida_goectp.cli.options import write_output
from aiida_goectp.cli.predict.sources import CrystalSource
from aiida_goectp.cli.views.exports import export_pieces
from aiida_goectp.cli.views.nodes import print_node
from aiida_goectp.core.executable.output import text
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.workflows.predict import PredictWorkChain

__all__ = ('launch_prediction',)


def launch_prediction(sources: tuple[Any, ...], here: bool, label: str, rows: int, values: dict[str, Any]) -> None:
    """Check all inputs, store the crystals, and run or submit the prediction.

    :param here: run in this process, and print the result
    :param rows: maximum number of rows per table
    :param values: values of the options
    :raises click.UsageError: invalid inputs; nothing is stored
    """
    source = CrystalSource(sources, values['recursive'])
    overrides = {name: values[name] for name in ('device', 'phonons') if values[name] is not None}
    try:
        builder = validated(
            PredictWorkChain.get_builder_from_protocol(
                values['code'] or default_code(),
                source.node,
                values['model'],
                values['protocol'],
                {'goectp': overrides} if overrides else {},
                values['options'],
                values['gpus'],
            )
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not here:
        require_daemon()
    builder.goectp.crystals = source.store('aiida-goectp predict')
    _warn_of_failures(source.node)
    builder.metadata.label = label
    if not here:
        submit(builder)
        return
    echo.echo_report(
        f'predicting {len(source.node)} crystals of node {source.node.pk} with {values["model"].card.name}'
    )
    node = run(builder)
    if values['output'] is not None and 'predictions' in node.outputs:
        pieces = export_pieces(node.outputs.predictions, values['file_format'])
        write_output(values['output'], pieces, values['force'])
    if str(values['output']) != '-':
        _show(node, source.node, rows)
    if not node.is_finished_ok:
        echo.echo_critical(f'the prediction failed; print its log with `verdi process report {node.pk}`')


def _warn_of_failures(crystals: CrystalsData) -> None:
    """Print how many inputs are not predicted, since the predictions have no rows for them."""
    if failures := crystals.crystals.failures:
        echo.echo_warning(
            f'{len(failures)} of {len(failures) + len(crystals)} inputs are no valid crystals and are not predicted, '
            f'first {failures[0].id}: {failures[0].message}; all reasons: aiida-goectp show {crystals.pk}'
        )


def _show(node: Any, crystals: Any, rows: int) -> None:
    if len(crystals) == 1 and 'predictions' in node.outputs and echo.output_format() is None:
        echo.echo(text(crystals.crystals, node.outputs.predictions.predictions), keep='\n')
        echo.echo(f'predictions node {node.outputs.predictions.pk} of process {node.pk}')
    else:
        print_node(node, rows)

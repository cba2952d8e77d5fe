"""Output of predictions."""

from __future__ import annotations

from aiida_goectp.cli import echo
from aiida_goectp.core.executable.output import NO_STATIC_PERMITTIVITY
from aiida_goectp.core.executable.prediction_table import predictions_table
from aiida_goectp.core.formats.text_tables import show_table
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.report.formulas import formulas_of

__all__ = ('show_predictions',)


def show_predictions(node: PredictionsData, rows: int) -> None:
    """Print the table, which of its crystals are unstable, and how to show phonons."""
    with node.open_rows() as file:
        predictions, phonons = file.reader()(min(rows, len(file))), file.nested
    echo.echo(f'model {node.model_hash[:10]}, {node.base.attributes.get("failed")} of {len(node)} rows failed')
    show_table(predictions_table(predictions, rows, formulas_of(node, predictions.hashes), len(node)))
    if len(unstable := predictions.ids[predictions.unstable]):
        echo.echo(f'{", ".join(unstable)}: {NO_STATIC_PERMITTIVITY}')
    if phonons:
        echo.echo(f'modes and Born charges: aiida-goectp phonons show {node.pk}' + (' ID' if len(node) > 1 else ''))

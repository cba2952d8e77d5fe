"""``aiida-goectp predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import (
    FORCE,
    MODEL,
    ROWS,
    TABLE_FORMATS,
    check_overwrite,
    export_format,
    job_options,
    scheduler_options,
)
from aiida_goectp.cli.params import CrystalsOrPathParam

__all__ = ('predict',)


@click.command()
@click.argument('sources', nargs=-1, required=True, metavar='FILE|FOLDER|NODE...', type=CrystalsOrPathParam())
@MODEL
@click.option('--recursive', is_flag=True, help='Read also files in subfolders.')
@click.option('--phonons', is_flag=True, default=None, help='Also predict phonons at Γ; some kilobytes per crystal.')
@click.option(
    '-o',
    '--output',
    type=click.Path(dir_okay=False, path_type=Path),
    help='Also write the predictions, as .npz, .json or .csv; - is npz on stdout.',
)
@FORCE
@ROWS
@job_options
@decorators.with_dbenv()
def predict(sources: tuple[Any, ...], run: bool, label: str, rows: int, **values: Any) -> None:
    """Predict the dielectric tensors of crystals, with provenance.

    Give structure files and folders, or the PK, UUID or label of a node of crystals, a StructureData or a CifData.
    Files are stored as nodes, as `aiida-goectp import` does. A single crystal is printed with its tensors, several as a
    table.
    """
    from aiida_goectp.cli.predict.launch import launch_prediction

    output = values['output']
    values['file_format'] = export_format(None, output, TABLE_FORMATS)
    if output is not None:
        if not run:
            raise click.UsageError('--output requires --run; export the predictions when the process has finished')
        if str(output) != '-':
            check_overwrite(output, values['force'])
            if output.exists() and any(isinstance(item, Path) and output.samefile(item) for item in sources):
                raise click.BadParameter(f'{output} is an input; name another file', param_hint='--output')
    values['options'] = scheduler_options(values)
    launch_prediction(sources, run, label, rows, values)

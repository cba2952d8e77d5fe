"""``aiida-goectp plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import FORCE, OUTPUT, check_overwrite, write_output
from aiida_goectp.cli.params import TENSOR_PART, NodeParam

if TYPE_CHECKING:
    import numpy as np

    from aiida_goectp.core.crystals import Crystal
    from aiida_goectp.report.candidates import Candidates

__all__ = ('plot',)

_KINDS = {
    'gap': 'permittivity against band gap, lines of equal merit, Pareto front; of a screen, verification or campaign',
    'distribution': 'histograms of predicted permittivities; of a process with predictions',
    'anisotropy': 'largest against smallest principal value; of a process with predictions',
    'elements': 'periodic table with the number of crystals; of crystals, a dataset, a model or a screen',
    'parity': 'predicted against computed; of an evaluation, a verification, a screen or a campaign',
    'calibration': 'observed coverage of the prediction intervals; of an evaluation',
    'learning-curve': 'error against number of training rows; of two or more models',
    'rounds': 'error and best value of each round; of a campaign',
    'ellipsoid': 'tensor as an ellipsoid in the cell; of a screen, verification or campaign, with --crystal',
    'infrared': 'permittivity and reflectivity; of a node with phonons, with --crystal',
}
_SUFFIXES = ('.png', '.svg', '.pdf')


class _Help(click.Command):
    """Command whose help lists the kinds of figures."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the kinds of figures."""
        with formatter.section('Kinds'):
            formatter.write_dl(list(_KINDS.items()))


@click.command(cls=_Help)
@click.argument('kind', type=click.Choice(tuple(_KINDS)), metavar='KIND')
@click.argument('nodes', metavar='NODE...', nargs=-1, required=True, type=NodeParam())
@OUTPUT(help='File to write: .png, .svg or .pdf; - writes PNG to standard output.  [default: KIND-PK.png]')
@click.option('--crystal', help='Id of the crystal, for ellipsoid and infrared.')
@click.option('--tensor', type=TENSOR_PART, default='total', show_default=True, help='Tensor of the ellipsoid.')
@FORCE
@decorators.with_dbenv()
def plot(kind: str, nodes: tuple[Any, ...], output: Path | None, crystal: str | None, tensor: str, force: bool) -> None:
    """Draw a figure of NODE, given by PK, UUID or label.

    Only a learning curve takes several nodes.
    """
    from aiida_goectp.core.figures.style import figure_bytes

    path = output or Path(f'{kind}-{nodes[0].pk}.png')
    suffix = '.png' if str(path) == '-' else path.suffix
    if suffix not in _SUFFIXES:
        raise click.BadParameter(f'{path}: unknown file type; allowed: {", ".join(_SUFFIXES)}', param_hint='--output')
    if len(nodes) > 1 and kind != 'learning-curve':
        raise click.UsageError(f'{kind} takes one node; {len(nodes)} are given')
    check_overwrite(path, force)
    try:
        figure = _figure(kind, nodes, crystal, tensor)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    write_output(path, figure_bytes(figure, suffix[1:]), force)


def _figure(kind: str, nodes: tuple[Any, ...], crystal: str | None, tensor: str) -> Any:
    """Return the figure.

    :raises ValueError: a node that has no such figure
    """
    from aiida_goectp.cli.phonons.sources import phonon_source
    from aiida_goectp.report import figures
    from aiida_goectp.report.results import load_result

    if kind == 'infrared':
        source = phonon_source(nodes[0], crystal, '--crystal')
        return figures.infrared({source.label: source.cell}, source.id)
    if kind == 'ellipsoid':
        rows = load_result(nodes[0], 3, () if crystal is None else (crystal,)).candidates
        row = next((row for row, name in enumerate(rows.ids.tolist()) if crystal is None or name == crystal), None)
        if row is None:
            nearest = ', '.join(rows.ids[:3].tolist())
            raise ValueError(f'node {nodes[0].pk} has no crystal {crystal!r}; the best are {nearest}')
        return figures.ellipsoid(*_crystal_with_tensor(rows, row, tensor), f'{tensor} ε')
    return figures.FIGURES[kind](*nodes)


def _crystal_with_tensor(rows: Candidates, row: int, name: str) -> tuple[Crystal, np.ndarray]:
    """Return the crystal of a row, and its predicted tensor (3, 3).

    :param name: electronic, ionic or total
    :raises ValueError: no prediction of this tensor, or a crystal that could not be read; the message gives the reason
    """
    import numpy as np

    found = {part: tensors[row] for part, tensors in rows.tensors.items() if np.isfinite(tensors[row]).all()}
    if row in rows.crystals and name in found:
        return rows.crystals[row], found[name]
    if found and row in rows.crystals:
        why = f'predicted are {", ".join(found)}, see --tensor'
    else:
        why = str(rows.reason[row]) or 'it was not predicted'
    raise ValueError(f'crystal {str(rows.ids[row])!r} has no tensor {name}: {why}')

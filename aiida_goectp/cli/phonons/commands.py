"""The commands of ``aiida-goectp phonons``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import FORCE, JSON, RAW, ROWS, check_overwrite, write_output
from aiida_goectp.cli.params import NodeParam
from aiida_goectp.core.formats.numbers import FiniteFloat

if TYPE_CHECKING:
    from aiida_goectp.cli.phonons.sources import PhononSource

__all__ = ('phonons',)

_ARRAYS, _FIGURES = ('.csv', '.json', '.npz'), ('.pdf', '.png', '.svg')


@click.group('phonons', cls=echo.CommandGroup)
def phonons() -> None:
    """Show and export phonons at Γ.

    NODE is a predictions node, a dielectric response of DFPT, or a process with one of these as output. ID is the id of
    a crystal, or its row, counted from 0; it may be omitted if the node has one crystal. Predictions contain phonons if
    they were made with --phonons.
    """


def _source(command: Any) -> Any:
    """Add the arguments NODE and ID."""
    command = click.argument('which', metavar='[ID]', required=False)(command)
    return click.argument('node', type=NodeParam())(command)


def _with_suffix(known: tuple[str, ...]) -> Any:
    """Return a callback that refuses a file whose format is unknown."""

    def check(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and value.suffix not in known:
            raise click.BadParameter(f'{value}: unknown file type; allowed: {", ".join(known)}', ctx, param)
        return value

    return check


@phonons.command('show')
@_source
@click.option(
    '--direction',
    type=(float, float, float),
    metavar='X Y Z',
    help='Cartesian direction of q → 0: show also the frequencies with the macroscopic field (LO-TO splitting).',
)
@ROWS
@JSON
@RAW
@decorators.with_dbenv()
def show(node: Any, which: str | None, direction: tuple[float, float, float] | None, rows: int) -> None:
    """Print the optical modes and the Born charges."""
    import numpy as np

    from aiida_goectp.cli.phonons.sources import phonon_source, phonons_content
    from aiida_goectp.cli.phonons.tables import show_phonons
    from aiida_goectp.core.dielectric.gamma_modes import unit_vector

    try:
        along = None if direction is None else unit_vector(np.array(direction), 'direction')
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint='--direction') from error
    source = phonon_source(node, which)
    if echo.output_format() == 'json':
        echo.echo_json(phonons_content(source, along))
    else:
        show_phonons(source, along, rows)


@phonons.command('phonopy')
@_source
@click.option(
    '-o', '--output', type=click.Path(file_okay=False, path_type=Path), help='Folder to write.  [default: phonopy-ID]'
)
@FORCE
@decorators.with_dbenv()
def phonopy(node: Any, which: str | None, output: Path | None, force: bool) -> None:
    """Write POSCAR, BORN and FORCE_CONSTANTS for phonopy.

    The supercell of the force constants is the cell itself, so that phonopy gives the modes at Γ, not elsewhere.
    phonopy_params.yaml holds cell, supercell and masses.
    """
    from aiida_goectp.cli.phonons.sources import phonon_source
    from aiida_goectp.core.dielectric.phonopy_files import PARAMETERS, phonopy_files

    source = phonon_source(node, which)
    stem = ''.join(char if char.isalnum() or char in '-_.' else '_' for char in source.id)
    folder = output or Path(f'phonopy-{stem}')
    files = phonopy_files(source.cell, source.id)
    for name in files:
        check_overwrite(folder / name, force)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding='utf-8')
    echo.echo_success(f'wrote {", ".join(files)} to {folder}')
    command = f'cd {shlex.quote(str(folder))} && phonopy {PARAMETERS} --qpoints 0 0 0'
    echo.echo(f'modes at Γ:           {command}')
    echo.echo(f'with LO-TO splitting: {command} --q-direction 1 0 0')


@phonons.command('infrared')
@_source
@click.option('--compare', type=NodeParam(), help='Second node, such as a DFPT result for a prediction.')
@click.option('--compare-id', metavar='ID', help='Crystal of the second node.  [default: the same ID]')
@click.option(
    '--damping',
    type=FiniteFloat(min=0, min_open=True),
    default=0.2,
    show_default=True,
    help='Damping γ/2π of all modes in THz.',
)
@click.option(
    '--range',
    'limits',
    type=(float, float),
    metavar='LOW HIGH',
    help='Frequencies in THz.  [default: 0 to 1.2 times the highest longitudinal frequency]',
)
@click.option(
    '--points', type=click.IntRange(2, 100_000), default=1001, show_default=True, help='Number of frequencies.'
)
@click.option(
    '-o',
    '--output',
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_with_suffix(_ARRAYS),
    help='File of the spectra: .csv, .json or .npz.',
)
@click.option(
    '--figure',
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_with_suffix(_FIGURES),
    help='File of the figure: .svg, .png or .pdf.',
)
@FORCE
@JSON
@RAW
@decorators.with_dbenv()
def infrared(
    node: Any, which: str | None, output: Path | None, figure: Path | None, force: bool, **values: Any
) -> None:
    """Compute permittivity and reflectivity in the infrared.

    The spectra are those along the principal axes of ε∞; reflectivity at normal incidence, polarised along the axis.
    """
    import numpy as np

    from aiida_goectp.cli.phonons.tables import spectra_table
    from aiida_goectp.core.dielectric.infrared import default_range, infrared_spectra
    from aiida_goectp.core.figures import infrared_figure, save_figure
    from aiida_goectp.core.formats.json_input import parse_json
    from aiida_goectp.core.formats.text_tables import show_table

    for path, hint in ((output, '--output'), (figure, '--figure')):
        if path is not None:
            check_overwrite(path, force, hint)
    sources = _sources(node, which, values['compare'], values['compare_id'])
    cells = {label: source.cell for label, source in sources.items()}
    low, high = values['limits'] or default_range(cells)
    if not 0 <= low < high < float('inf'):
        raise click.BadParameter(f'{low:g} {high:g}: expected 0 ≤ LOW < HIGH', param_hint='--range')
    spectra = infrared_spectra(cells, np.linspace(low, high, values['points']), values['damping'])
    if echo.output_format() == 'json':
        echo.echo_json(parse_json(spectra.json()))
    else:
        show_table(spectra_table(spectra))
    for label, source in sources.items():
        imaginary = source.cell.modes().frequencies < 0
        if imaginary.any():
            echo.echo_warning(
                f'{label}: {imaginary.sum()} of {len(imaginary)} modes are unstable; the crystal has no static '
                'permittivity in this structure, and the spectrum at low frequency has no meaning'
            )
    if output is not None:
        write_output(output, getattr(spectra, output.suffix[1:])(), force)
    if figure is not None:
        echo.echo_success(f'wrote {save_figure(infrared_figure(spectra, next(iter(sources.values())).id), figure)}')


def _sources(node: Any, which: str | None, compare: Any, compare_id: str | None) -> dict[str, PhononSource]:
    """Return the phonons of both nodes by label.

    :raises click.UsageError: a node without phonons, no such crystal, or another crystal in the second node
    """
    from aiida_goectp.cli.phonons.sources import phonon_source
    from aiida_goectp.core.crystals.elements import reduced_formula
    from aiida_goectp.data.predictions import PredictionsData

    first = phonon_source(node, which)
    if compare is None:
        if compare_id is not None:
            raise click.UsageError('--compare-id requires --compare')
        return {first.label: first}
    if compare_id is None and isinstance(compare, PredictionsData) and len(compare) > 1:
        compare_id = first.id
    second = phonon_source(compare, compare_id, '--compare-id')
    formulas = [reduced_formula(source.cell.atomic_numbers) for source in (first, second)]
    if formulas[0] != formulas[1]:
        raise click.UsageError(
            f'{first.id} is {formulas[0]}, {second.id} is {formulas[1]}; a comparison needs one crystal'
        )
    labels = [first.label, second.label]
    if (first.node.pk, first.id) == (second.node.pk, second.id):
        raise click.UsageError(f'{first.id} of node {first.node.pk} is compared with itself; give another node or ID')
    if labels[0] == labels[1]:
        labels = [f'{source.label}, {source.id} of node {source.node.pk}' for source in (first, second)]
    return dict(zip(labels, (first, second), strict=True))

"""Tables of modes, Born charges and infrared spectra."""

from __future__ import annotations

import numpy as np
from rich.table import Table
from rich.text import Text

from aiida_goectp.cli import echo
from aiida_goectp.cli.phonons.sources import PhononSource
from aiida_goectp.cli.views.responses import tensor_text
from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.dielectric.gamma_modes import WAVENUMBER, degenerate_modes, mode_groups
from aiida_goectp.core.dielectric.gamma_phonons import NATURAL_HYDROGEN
from aiida_goectp.core.dielectric.infrared import InfraredSpectra, axis_name
from aiida_goectp.core.dielectric.predictions import flag_names, flag_words
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.executable.output import NO_STATIC_PERMITTIVITY
from aiida_goectp.core.formats.numbers import with_deviation
from aiida_goectp.core.formats.text_tables import make_table, show_table, table_title
from aiida_goectp.report.words import counted

__all__ = ('charges_table', 'modes_table', 'show_phonons', 'spectra_table')


def show_phonons(source: PhononSource, direction: np.ndarray | None, rows: int) -> None:
    """Print modes and Born charges, and the stability and ionic permittivity that follow from them.

    :param direction: (3,) Cartesian unit vector of q → 0 with the macroscopic field, or None
    :param rows: maximum number of rows per table
    """
    atoms = counted(len(source.cell.atomic_numbers), 'atom')
    echo.echo(f'{source.id}, node {source.node.pk}: {source.label}, primitive cell of {atoms}')
    show_table(modes_table(source, direction, rows))
    if 1 in source.cell.atomic_numbers:
        echo.echo(NATURAL_HYDROGEN)
    modes = source.cell.modes()
    imaginary = int((modes.frequencies < 0).sum())
    row = source.prediction
    if not imaginary:
        average = float(np.trace(modes.contributions.sum(axis=0)) / 3)
        text = f'ε ionic, average: {average:.4g} from these modes'
        if not np.isnan(source.ionic):
            deviation = float('nan') if row is None else float(row.average_std[0, 1])
            text += f', {with_deviation(source.ionic, deviation)} in node {source.node.pk}'
            if row is not None and not np.isclose(source.ionic, average, rtol=0.01, atol=0.01):
                text += ', where the response of soft modes is bounded'
        echo.echo(text)
    if row is not None:
        if not np.isnan(row.stability[0]):
            echo.echo(f'probability that no mode is unstable: {row.stability[0]:.2f}')
        if flags := flag_names(row.flags[0]):
            echo.echo(f'remarks: {flag_words(flags)}')
    if imaginary:
        echo.echo_warning(NO_STATIC_PERMITTIVITY)
    if row is None and not imaginary:
        _warn_of_other_modes(source.node.dielectric)
    show_table(charges_table(source, rows))


def _warn_of_other_modes(response: DielectricResponse) -> None:
    """Print a warning if a cell that is not primitive has an unstable mode that the primitive cell does not have."""
    if response.frequencies is not None and (lowest := float(response.frequencies.min())) < 0:
        atoms = counted(len(response.crystal.atomic_numbers), 'atom')
        echo.echo_warning(
            f'the computed cell of {atoms} has an unstable mode, {_frequency(lowest)} THz, which is not at Γ of the '
            'primitive cell'
        )


def modes_table(source: PhononSource, direction: np.ndarray | None, rows: int) -> Table:
    """Return the optical modes, those of equal frequency in one line.

    :param direction: as for :func:`show_phonons`
    """
    modes = source.cell.modes()
    groups = mode_groups(modes.frequencies, modes.contributions, modes.active)
    columns = ['THz', 'cm⁻¹', 'modes', 'infrared', 'ε ionic']
    longitudinal = None
    if direction is not None:
        longitudinal = source.cell.longitudinal(direction)
        columns.append(f'q → 0 along {axis_name(direction)}, THz')
    lines = []
    for group in groups[:rows]:
        stable = group.frequency >= 0
        line: list[object] = [
            _frequency(group.frequency),
            _frequency(group.frequency * WAVENUMBER, 1),
            group.degeneracy,
            'active' if group.active else '',
            (f'{group.contribution:.4g}' if group.active else '') if stable else 'unstable',
        ]
        if longitudinal is not None:
            line.append(_frequencies(longitudinal[group.modes]))
        lines.append(line)
    return make_table(table_title('Modes at Γ', min(rows, len(groups)), len(groups)), columns, lines, 0)


def charges_table(source: PhononSource, rows: int) -> Table:
    """Return the Born charges of the cell of the phonons."""
    cell = source.cell
    n = min(rows, len(cell.atomic_numbers))
    lines = [
        [
            place,
            symbol,
            ' '.join(f'{value + 0.0:.4f}' for value in position.round(4)),  # + 0.0: no −0.0000
            f'{np.trace(charge) / 3:+.2f}',
            Text(tensor_text(charge)),
        ]
        for place, symbol, position, charge in zip(
            range(n), symbols_of(cell.atomic_numbers), cell.fractional_positions, cell.born_charges, strict=False
        )
    ]
    title = table_title('Born charges (e)', n, len(cell.atomic_numbers))
    return make_table(title, ['atom', 'element', 'position', 'mean', 'tensor'], lines, 3)


def spectra_table(spectra: InfraredSpectra) -> Table:
    """Return what marks the spectrum of each distinct axis: ε at both ends, absorption, reflection."""
    lines: list[list[object]] = []
    values, wavenumbers = spectra.permittivity, spectra.frequencies * WAVENUMBER
    for axes in spectra.distinct_axes():
        for source, label in enumerate(spectra.labels):
            along, reflected = values[source, :, axes[0]], spectra.reflectivity[source, :, axes[0]]
            names = ', '.join(axis_name(spectra.axes[source, axis]) for axis in axes)
            peak, best = int(along.imag.argmax()), int(reflected.argmax())
            ends = [f'{along[place].real:.4g}' for place in (0, -1)]
            absorbs = along.imag[peak] > 0
            lines.append(
                [
                    names,
                    str(label),
                    *ends,
                    f'{wavenumbers[peak]:.1f}' if absorbs else '',
                    f'{wavenumbers[best]:.1f}',
                    f'{reflected[best]:.3f}',
                ]
            )
    low, high = spectra.frequencies[[0, -1]]
    columns = ['axis', 'source', f'Re ε({low:.4g} THz)', f'Re ε({high:.4g} THz)']
    columns += ['peak Im ε, cm⁻¹', 'peak R, cm⁻¹', 'largest R']
    return make_table('Infrared spectra', columns, lines, 2)


def _frequency(value: float, digits: int = 3) -> str:
    return f'{value:.{digits}f}' if value >= 0 else f'{-value:.{digits}f}i'


def _frequencies(values: np.ndarray) -> str:
    """Return frequencies as text, equal ones once with their number."""
    parts = []
    for place in degenerate_modes(values):
        count = place.stop - place.start
        parts.append(_frequency(float(values[place].mean())) + (f' ×{count}' if count > 1 else ''))
    return ', '.join(parts)

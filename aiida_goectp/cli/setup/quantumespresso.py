"""``aiida-goectp setup dfpt``: programs of Quantum ESPRESSO, their codes, and pseudopotentials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators
from aiida.manage.configuration import get_config

from aiida_goectp.cli import echo
from aiida_goectp.cli.setup.programs import (
    InstallError,
    apt_prefix,
    environment_lines,
    find_programs,
    install_with_apt,
    install_with_qepy,
)

if TYPE_CHECKING:
    from aiida_pseudo.groups.family import PseudoPotentialFamily

__all__ = ('setup_dfpt',)

_PATH = click.Path(exists=True, path_type=Path)


@click.command('dfpt')
@click.option('--pw', type=_PATH, help='Executable pw.x.  [default: pw.x in PATH]')
@click.option('--ph', type=_PATH, help='Executable ph.x.  [default: ph.x in PATH]')
@click.option(
    '--install',
    type=click.Choice(['auto', 'apt', 'qepy', 'no']),
    default='auto',
    show_default=True,
    help='How to install missing programs: apt (requires root, or sudo without password), qepy (PyPI, without root), '
    'or auto (the first of these that works).',
)
@click.option('--pseudos', type=_PATH, help='Archive or folder of UPF files, one per element.')
@click.option('--cutoffs', type=_PATH, help='JSON file of recommended cutoffs of --pseudos, in Ry.')
@click.option('--download', is_flag=True, help='Download PseudoDojo 0.4 (PBEsol) with aiida-pseudo.')
@click.option('--generate', is_flag=True, help='Generate pseudopotentials of light elements with ld1.x.')
@click.option('--label', help='Label of the family of --pseudos.  [default: name of the file]')
@decorators.with_dbenv()
def setup_dfpt(
    pw: Path | None,
    ph: Path | None,
    install: str,
    pseudos: Path | None,
    cutoffs: Path | None,
    download: bool,
    generate: bool,
    label: str | None,
) -> None:
    """Set up DFPT with Quantum ESPRESSO in the loaded profile.

    Finds or installs pw.x and ph.x, creates the codes pw@localhost and ph@localhost, and installs a pseudopotential
    family. Existing entities are kept. Without --pseudos, --download and --generate, an installed family is used, or
    one is downloaded, or one is generated.
    """
    if sum([pseudos is not None, download, generate]) > 1:
        echo.echo_critical('give only one of --pseudos, --download and --generate')
    if cutoffs is not None and pseudos is None:
        echo.echo_critical('--cutoffs requires --pseudos')
    try:
        import aiida_pseudo  # noqa: F401
        import aiida_quantumespresso  # noqa: F401
    except ImportError as error:
        echo.echo_critical(f"{error}; pip install 'aiida-goectp[quantumespresso]'")
    from aiida_goectp.cli.setup.pseudo_families import FamilyError

    try:
        programs = _programs({'pw.x': pw, 'ph.x': ph}, install)
        _create_codes(programs)
        family = _family(programs, pseudos, cutoffs, download, generate, label)
    except (InstallError, FamilyError) as error:
        echo.echo_critical(str(error))
    elements = sorted(family.elements)
    echo.echo_report(f'pseudopotentials {family.label}: {len(elements)} elements ({" ".join(elements)})')
    echo.echo_success('setup finished; next: aiida-goectp verify --engine quantumespresso')


def _programs(given: dict[str, Path | None], install: str) -> dict[str, Path]:
    """Return the path of each program; install missing ones.

    :raises InstallError: a program is missing and cannot be installed
    """
    folder = Path(get_config().dirpath) / 'goectp-quantum-espresso'
    found = find_programs(folder, given)
    missing = [name for name in ('pw.x', 'ph.x') if name not in found]
    if missing and install == 'no':
        raise InstallError(f'{", ".join(missing)} not in PATH; give --pw and --ph, or leave out --install no')
    if missing:
        prefix = apt_prefix()
        if install == 'apt' and prefix is None:
            raise InstallError('--install apt requires apt-get, and root or sudo without password; try --install qepy')
        if prefix is not None and install in ('auto', 'apt'):
            echo.echo_report(f'{", ".join(missing)} not in PATH: installing the system package quantum-espresso')
            try:
                install_with_apt(prefix)
            except InstallError as error:
                if install == 'apt':
                    raise
                echo.echo_warning(str(error))
        found = find_programs(folder, given)
        if not {'pw.x', 'ph.x'} <= set(found):
            echo.echo_report(f'installing the PyPI package qepy (Quantum ESPRESSO 7.2) in {folder}')
            install_with_qepy(folder)
            found = find_programs(folder, given)
    for name, path in found.items():
        echo.echo_report(f'{name}: {path}')
    return found


def _create_codes(programs: dict[str, Path]) -> None:
    from aiida_goectp.cli.setup.computer import localhost_code, localhost_computer

    computer = localhost_computer()
    for name in ('pw', 'ph'):
        localhost_code(
            computer,
            name,
            programs[f'{name}.x'],
            description='Quantum ESPRESSO',
            default_calc_job_plugin=f'quantumespresso.{name}',
            prepend_text=environment_lines(),
            with_mpi=False,  # one process is fastest for cells of a few atoms
        )


def _family(
    programs: dict[str, Path],
    pseudos: Path | None,
    cutoffs: Path | None,
    download: bool,
    generate: bool,
    label: str | None,
) -> PseudoPotentialFamily:
    """Return the requested pseudopotential family; install it if necessary.

    :raises FamilyError: it cannot be installed
    """
    from aiida_goectp.cli.setup.pseudo_families import (
        DOJO,
        GENERATED,
        FamilyError,
        download_family,
        generate_small_family,
        install_family,
        installed_family,
        label_of_archive,
        read_cutoffs,
    )

    if pseudos is not None:
        name = label or label_of_archive(pseudos)
        family = installed_family(name)
        if family is None:
            table = None if cutoffs is None else read_cutoffs(cutoffs)
            family = install_family(pseudos, name, table)
            if table is None:
                echo.echo_warning('no recommended cutoffs (--cutoffs): give ecutwfc and ecutrho in each calculation')
        return family
    if generate:
        return installed_family(GENERATED) or generate_small_family(programs)
    if download:
        return installed_family(DOJO) or download_family()
    family = installed_family(DOJO) or installed_family(GENERATED)
    if family is not None:
        return family
    echo.echo_report('no pseudopotential family is installed: downloading PseudoDojo with aiida-pseudo')
    try:
        return download_family()
    except FamilyError as error:
        echo.echo_warning(str(error))
        return generate_small_family(programs)

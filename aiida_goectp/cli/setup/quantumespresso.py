"""``aiida-goectp setup dfpt``: Quantum ESPRESSO, its codes in the profile, and pseudopotentials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

from aiida_goectp.cli.setup.programs import (
    InstallError,
    environment_lines,
    find_programs,
    install_with_apt,
    install_with_qepy,
    may_use_apt,
)
from aiida_goectp.cli.setup.pseudo_families import (
    DOJO,
    GENERATED,
    FamilyError,
    download_family,
    install_family,
    installed_family,
    read_cutoffs,
)

if TYPE_CHECKING:
    from aiida.orm import Computer, InstalledCode
    from aiida_pseudo.groups.family import PseudoPotentialFamily

__all__ = ('setup_dfpt',)

_PATH = click.Path(exists=True, path_type=Path)


@click.command('dfpt')
@click.option('--pw', type=_PATH, help='The executable pw.x; that in PATH if not given.')
@click.option('--ph', type=_PATH, help='The executable ph.x; that in PATH if not given.')
@click.option(
    '--install',
    type=click.Choice(['auto', 'apt', 'qepy', 'no']),
    default='auto',
    show_default=True,
    help='How to install what is missing: apt (root, or sudo without password), qepy (PyPI, no root), auto: the first '
    'of them that can be used.',
)
@click.option('--pseudos', type=_PATH, help='An archive or a folder of UPF files, one for each element.')
@click.option('--cutoffs', type=_PATH, help='JSON with the cutoffs recommended for --pseudos, in Ry.')
@click.option('--download', is_flag=True, help='Let aiida-pseudo download PseudoDojo 0.4 (PBEsol).')
@click.option('--generate', is_flag=True, help='Let ld1.x generate pseudopotentials of light elements.')
@click.option('--label', help='Of the family from --pseudos; its file name if not given.')
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
    """Prepare the loaded profile for DFPT with Quantum ESPRESSO.

    Finds pw.x and ph.x or installs them, makes the codes pw@localhost and ph@localhost, and installs a pseudopotential
    family. What is there already stays as it is. Without --pseudos, --download or --generate it takes a family that
    is installed, else downloads one, else generates one.
    """
    if sum([pseudos is not None, download, generate]) > 1:
        echo.echo_critical('give one of --pseudos, --download and --generate')
    if cutoffs is not None and pseudos is None:
        echo.echo_critical('--cutoffs belongs to --pseudos; give both')
    try:
        import aiida_pseudo  # noqa: F401
        import aiida_quantumespresso  # noqa: F401
    except ImportError as error:
        echo.echo_critical(f"{error}; pip install 'aiida-goectp[quantumespresso]'")
    try:
        programs = _programs({'pw.x': pw, 'ph.x': ph}, install)
        _codes(programs)
        _family(programs, pseudos, cutoffs, download, generate, label)
    except (InstallError, FamilyError) as error:
        echo.echo_critical(str(error))
    echo.echo_success('ready; next: aiida-goectp verify --engine quantumespresso')


def _folder() -> Path:
    from aiida.manage.configuration import get_config

    return Path(get_config().dirpath) / 'goectp-quantum-espresso'


def _programs(given: dict[str, Path | None], install: str) -> dict[str, Path]:
    """Return the programs, after an installation if one is missing.

    :raises InstallError: still missing, and why
    """
    found = find_programs(_folder(), given)
    missing = [name for name in ('pw.x', 'ph.x') if name not in found]
    if missing and install == 'no':
        raise InstallError(f'{", ".join(missing)} not in PATH; name them with --pw and --ph, or leave out --install no')
    if missing:
        before = may_use_apt()
        if install == 'apt' and before is None:
            raise InstallError('--install apt needs apt-get, and root or sudo without password; try --install qepy')
        if before is not None and install in ('auto', 'apt'):
            echo.echo_report(f'{", ".join(missing)} not in PATH: installing the system package quantum-espresso')
            try:
                install_with_apt(before)
            except InstallError as error:
                if install == 'apt':
                    raise
                echo.echo_warning(str(error))
        found = find_programs(_folder(), given)
        if not {'pw.x', 'ph.x'} <= set(found):
            echo.echo_report(f'installing the PyPI package qepy (Quantum ESPRESSO 7.2) in {_folder()}')
            install_with_qepy(_folder())
            found = find_programs(_folder(), given)
    for name, path in found.items():
        echo.echo_report(f'{name}: {path}')
    return found


def _codes(programs: dict[str, Path]) -> None:
    from aiida_goectp.cli.setup.command import _computer

    computer = _computer()
    for name in ('pw', 'ph'):
        code = _code(computer, name, programs[f'{name}.x'])
        echo.echo_report(f'code {code.full_label} (pk {code.pk}) runs {code.filepath_executable}')


def _code(computer: Computer, name: str, executable: Path) -> InstalledCode:
    """Return the code ``pw@localhost`` or ``ph@localhost``; one that runs another executable is set aside."""
    from aiida.orm import InstalledCode, QueryBuilder

    query = QueryBuilder().append(InstalledCode, filters={'label': name, 'dbcomputer_id': computer.pk})
    for code in query.all(flat=True):
        if Path(code.filepath_executable) == executable:
            return code
        code.label = f'{name}-{code.pk}'
        code.is_hidden = True
        echo.echo_warning(f'the code that ran {code.filepath_executable} is now called {code.full_label}, and hidden')
    return InstalledCode(
        label=name,
        description='Quantum ESPRESSO',
        computer=computer,
        filepath_executable=str(executable),
        default_calc_job_plugin=f'quantumespresso.{name}',
        prepend_text=environment_lines(),
        with_mpi=False,  # one process is best for cells of a few atoms; code and options can say otherwise
    ).store()


def _family(
    programs: dict[str, Path],
    pseudos: Path | None,
    cutoffs: Path | None,
    download: bool,
    generate: bool,
    label: str | None,
) -> None:
    """Install the family that is asked for, or see to it that there is one."""
    if pseudos is not None:
        name = label or _label_of(pseudos)
        family = installed_family(name)
        if family is None:
            table = None if cutoffs is None else read_cutoffs(cutoffs)
            family = install_family(pseudos, name, table)
            if table is None:
                echo.echo_warning(
                    'no cutoffs recommended (--cutoffs): each calculation must be given ecutwfc and ecutrho'
                )
    elif generate:
        family = installed_family(GENERATED) or _generate(programs)
    elif download:
        family = installed_family(DOJO) or download_family()
    else:
        family = installed_family(DOJO) or installed_family(GENERATED)
        if family is None:
            try:
                echo.echo_report('no pseudopotentials yet: downloading PseudoDojo through aiida-pseudo')
                family = download_family()
            except FamilyError as error:
                echo.echo_warning(f'{error}')
                family = _generate(programs)
    elements = sorted(family.elements)
    echo.echo_report(f'pseudopotentials {family.label}: {len(elements)} elements ({" ".join(elements)})')


def _generate(programs: dict[str, Path]) -> PseudoPotentialFamily:
    """Let ld1.x make the family of light elements.

    :raises FamilyError: no ld1.x, or it failed
    """
    if 'ld1.x' not in programs:
        raise FamilyError('ld1.x is not in PATH; it comes with Quantum ESPRESSO, also with --install qepy')
    from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import PseudoError, generate_family

    echo.echo_report(f'generating {GENERATED} with {programs["ld1.x"]}')
    try:
        return generate_family(label=GENERATED, ld1=str(programs['ld1.x']))
    except PseudoError as error:
        raise FamilyError(str(error)) from error


def _label_of(path: Path) -> str:
    stem = path.name.removesuffix('.gz').removesuffix('.tar').removesuffix('.zip').removesuffix('.tgz')
    return DOJO if stem == 'pseudo-dojo-0.4-pbesol-sr-standard-upf' else stem

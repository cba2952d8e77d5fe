"""Options that several commands of ``goectp`` have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from aiida_goectp.core.executable.status import ExecutableError, report_error
from aiida_goectp.core.formats.numbers import FiniteFloat
from aiida_goectp.core.formats.terminal import echo

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.crystalset import CrystalSet

__all__ = (
    'FILE',
    'POSITIVE',
    'STANDARD_OUTPUT',
    'complete_model',
    'count_or_auto',
    'device_option',
    'functional_option',
    'in_existing_folder',
    'is_crystal_set',
    'model_options',
    'output_option',
    'quiet_option',
    'read_crystals',
    'resume_option',
    'source_options',
    'threads_option',
    'time_limit_option',
    'unnamed_functional_option',
    'wait_option',
)

_Command = TypeVar('_Command', bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
POSITIVE = click.IntRange(min=1)
STANDARD_OUTPUT = Path('-')
"""value of ``--output`` that stands for standard output"""


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Return the shipped models that begin with an incomplete word, or files if none does."""
    from aiida_goectp.core.formats.model_card import shipped_models

    names = [name for name in shipped_models() if name.startswith(incomplete)]
    return list(map(CompletionItem, names)) or [CompletionItem(incomplete, type='file')]


def in_existing_folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return the file of an option, whose folder must exist."""
    if value == STANDARD_OUTPUT and parameter.required:
        report_error(ExecutableError('bad_input', 'a model is not written to standard output; give a file'))
    if value is not None and not value.parent.is_dir():
        report_error(ExecutableError('bad_input', f'{value}: folder {value.parent} does not exist; create it first'))
    return value


def _table_in_existing_folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in ('', '.npz'):
        report_error(ExecutableError('bad_input', f'{value}: the output is an npz file; name it {value.stem}.npz'))
    return in_existing_folder(context, parameter, value)


def _known_functional(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from aiida_goectp.core.formats.functionals import check_functional

    try:
        return None if value is None else check_functional(value)
    except ValueError as error:
        report_error(ExecutableError('bad_input', str(error)))


def count_or_auto(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """Return the number of an option, None for ``auto``."""
    least = 1 if parameter.name == 'batch_atoms' else 0
    if value == 'auto':
        return None
    if not value.isdigit() or int(value) < least:
        raise click.BadParameter(f'{value!r}; allowed: auto, or a number from {least}')
    return int(value)


def source_options(command: _Command) -> _Command:
    """Add the argument INPUT, of which there may be several, and the option ``--recursive``."""
    recursive = click.option('--recursive', is_flag=True, help='Read also files in subfolders.')
    kind = click.Path(path_type=Path)
    return click.argument('sources', nargs=-1, required=True, metavar='INPUT...', type=kind)(recursive(command))


def is_crystal_set(sources: Sequence[Path]) -> bool:
    """Return whether the input is one crystals.npz, whose author expects results of its rows in their order."""
    return len(sources) == 1 and sources[0].suffix == '.npz'


def read_crystals(sources: Sequence[Path], recursive: bool, quiet: bool) -> CrystalSet:
    """Return the crystals of an input, a crystals.npz or structures; see :func:`.read_structures`.

    :param recursive: also the files in subfolders
    :param quiet: do not print how many files and folders are left out
    """
    from aiida_goectp.core.crystals.crystalset import CrystalSet
    from aiida_goectp.core.crystals.readers import LeftOut, list_structures, read_structures

    if is_crystal_set(sources):
        return CrystalSet.load(sources[0])  # with its invalid rows
    left_out = [item for source in sources for item in list_structures(source, recursive).left_out]
    left_out = [
        item for item in left_out if item.reason in (LeftOut.UNKNOWN_KIND, LeftOut.SAME_CRYSTAL, LeftOut.SUBFOLDER)
    ]
    if left_out and not quiet:
        first = left_out[0]
        reason = first.reason.value.replace('_', ' ')
        echo(f'{len(left_out)} files and folders are left out, first {first.path} ({reason})', err=True)
    return read_structures(sources, recursive)


def output_option(
    required: bool, help: str, check: Callable[..., Path | None] = _table_in_existing_folder
) -> Callable[[_Command], _Command]:
    """Return the option ``--output``, a file in an existing folder.

    :param check: callback of the option; by default, the name must not have the suffix of another format than npz
    """
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option('-o', '--output', required=required, type=kind, callback=check, help=help)


def resume_option(file: str) -> Callable[[_Command], _Command]:
    """Return the option ``--resume/--no-resume``.

    :param file: name of the file from which the command resumes, for the help
    """
    return click.option(
        '--resume/--no-resume', default=True, show_default=True, help=f'Resume from {file} if it exists.'
    )


device_option = click.option('--device', default='auto', show_default=True, help='auto, cpu, cuda or cuda:N.')
time_limit_option = click.option(
    '--time-limit', type=FiniteFloat(min=0), help='Stop after this many seconds, to be resumed.'
)
threads_option = click.option('--threads', type=POSITIVE, help='Number of CPU threads.')
quiet_option = click.option('--quiet', is_flag=True, help='Print no progress and no results.')


def functional_option(rows: str) -> Callable[[_Command], _Command]:
    """Return the option ``--functional``.

    :param rows: to what it applies, for the help
    """
    return click.option('--functional', callback=_known_functional, help=f'Functional of the {rows} state none.')


unnamed_functional_option = click.option(
    '--unnamed-functional',
    callback=_known_functional,
    help='Functional of calculations whose files state one without a name here; else they are not imported.',
)


def model_options(what: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the options of every command that writes a model.

    :param what: what the model is, for the help
    """
    options = (
        output_option(True, 'Model file to write (.safetensors).', in_existing_folder),
        click.option('--split-file', type=FILE, help='JSON file with splits: splits → name → part → ids.'),
        threads_option,
        quiet_option,
        click.option('--name', help=f'Name of the {what} in the model card.'),
        functional_option('dataset rows that'),
        click.option('--licence', default='', help='Licence in the model card.'),
        click.option('--citation', default='', help='Citation in the model card.'),
        click.option('--notes', default='', help='Notes in the model card.'),
    )

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


wait_option = click.option(
    '--wait',
    is_flag=True,
    help='Wait until no other run writes the output; compute nothing if one of this command has finished.',
)

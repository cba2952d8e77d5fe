"""``goectp prepare``: the part of a prediction that depends on no model, kept for later predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_goectp.core.executable.options import (
    count_or_auto,
    output_option,
    quiet_option,
    read_crystals,
    resume_option,
    source_options,
    time_limit_option,
)
from aiida_goectp.core.executable.output_lock import locked_output
from aiida_goectp.core.executable.progress import Progress
from aiida_goectp.core.executable.signals import StopSignal
from aiida_goectp.core.executable.status import ExecutableError, Status, record_errors
from aiida_goectp.core.formats.deflate import available_cores
from aiida_goectp.core.formats.terminal import echo
from aiida_goectp.core.learning import testing_hooks
from aiida_goectp.core.learning.workers import useful_processes

__all__ = ('prepare',)


@click.command()
@source_options
@output_option(required=True, help='prepared.npz to write.')
@click.option(
    '--processes',
    default='auto',
    show_default=True,
    callback=count_or_auto,
    help='Number of processes; auto: one for each core.',
)
@time_limit_option
@resume_option('OUTPUT.partial')
@quiet_option
def prepare(sources: tuple[Path, ...], output: Path, **options: Any) -> None:
    """Prepare the crystals of INPUT for later predictions.

    The preparation consists of validity, symmetry, primitive cell and frames. It depends on no model, and takes one to
    three milliseconds a crystal. `goectp predict INPUT --prepared OUTPUT` reads it; the predictions are the same, to
    the last digit on one kind of machine. INPUT is as for `goectp predict`.

    Exit status: as `goectp predict`. After 73 and 75 the same command resumes.
    """
    from aiida_goectp.core.executable.kept_preparation import KeptPreparation
    from aiida_goectp.core.learning.batches import prepared_pieces

    stop, status = StopSignal(options['time_limit']), Status(Path(f'{output}.status.json'))
    with locked_output(output, sources), record_errors(status):
        status.update(rows_done=0, rows_total=0, rows_failed=0, crystals_per_second=0.0)
        crystals = read_crystals(sources, options['recursive'], options['quiet'])
        kept = KeptPreparation(output, crystals, options['resume'], options['quiet'])
        done, failed, total = kept.rows, kept.failed, len(crystals)
        status.update(rows_total=total, rows_done=done, rows_failed=failed)
        processes = options['processes']
        processes = useful_processes(available_cores() if processes is None else processes, total - done)
        with Progress(total, done, options['quiet'], 'preparing') as progress:
            # one process would only be in the way
            for piece in prepared_pieces(crystals, done, processes=processes if processes > 1 else 0):
                kept.append(piece, done)
                done += len(piece)
                failed += int((piece.errors != '').sum())
                rate = progress.update(done, failed)
                status.update(rows_done=done, rows_failed=failed, crystals_per_second=rate)
                testing_hooks.after_rows(done)
                if done < total and stop():
                    kept.flush()
                    raise ExecutableError(
                        'interrupted', f'stopped after {done} of {total} rows; the same command resumes'
                    )
        kept.finish()
        status.update(state='finished', rows_done=total, rows_failed=failed)
        if not options['quiet']:
            echo(f'{total} crystals, {failed} failed: {output}', err=True)

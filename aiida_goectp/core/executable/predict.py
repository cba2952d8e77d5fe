"""``goectp predict``: read, evaluate, collect, write.

:mod:`aiida_goectp.core.learning.predict` describes the stages between reading and writing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.executable.options import (
    POSITIVE,
    STANDARD_OUTPUT,
    complete_model,
    count_or_auto,
    device_option,
    in_existing_folder,
    is_crystal_set,
    output_option,
    quiet_option,
    read_crystals,
    resume_option,
    source_options,
    threads_option,
    time_limit_option,
    wait_option,
)
from aiida_goectp.core.executable.output import NO_STATIC_PERMITTIVITY, json_lines, text, with_failed_rows
from aiida_goectp.core.executable.output_lock import locked_output
from aiida_goectp.core.executable.partial import PREDICTION, PartialFile, identity
from aiida_goectp.core.executable.progress import Progress
from aiida_goectp.core.executable.signals import StopSignal
from aiida_goectp.core.executable.status import ExecutableError, Status, record_errors
from aiida_goectp.core.formats.deflate import available_cores
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import read_card, resolve_model
from aiida_goectp.core.formats.names import DEFAULT_MODEL
from aiida_goectp.core.formats.output_format import RAW, json_option, output_format
from aiida_goectp.core.formats.terminal import echo, write_bytes
from aiida_goectp.core.learning import testing_hooks
from aiida_goectp.core.learning.results import PredictedBatch, collect, with_repeated_rows

if TYPE_CHECKING:
    from aiida_goectp.core.executable.kept_preparation import KeptPreparation
    from aiida_goectp.core.learning.predict import Predictor
    from aiida_goectp.core.network.prepared import PreparedFile

__all__ = ('predict',)


@click.command()
@source_options
@click.option(
    '--model',
    default=DEFAULT_MODEL,
    show_default=True,
    shell_complete=complete_model,
    help='A model file, or the name of a shipped model (`goectp info` lists them).',
)
@output_option(required=False, help='predictions.npz to write; - is standard output.')
@click.option(
    '-n', '--rows', default=100, show_default=True, type=POSITIVE, help='Maximum number of rows of the printed table.'
)
@device_option
@click.option(
    '--batch-atoms',
    default='auto',
    show_default=True,
    callback=count_or_auto,
    help='Maximum number of atoms per batch; auto: from the memory of the device.',
)
@click.option(
    '--graph-processes',
    default='auto',
    show_default=True,
    callback=count_or_auto,
    help='Number of processes that build graphs; auto: one for each remaining core with a GPU, none on the CPU.',
)
@click.option(
    '--prepared',
    type=click.Path(dir_okay=False, path_type=Path),
    help='prepared.npz of INPUT, as `goectp prepare` writes it; it must fit crystals and versions.',
)
@click.option(
    '--keep-prepared',
    type=click.Path(dir_okay=False, path_type=Path),
    callback=in_existing_folder,
    help='Read this prepared.npz if it fits INPUT, else write it, for later predictions of INPUT.',
)
@click.option('--phonons', is_flag=True, help='Also predict phonons at Γ; some kilobytes per crystal.')
@json_option('Print one JSON object per line.')
@RAW
@time_limit_option
@resume_option('OUTPUT.partial')
@quiet_option
@threads_option
@wait_option
def predict(sources: tuple[Path, ...], output: Path | None, **options: Any) -> None:
    """Predict the dielectric tensors of all crystals of INPUT.

    Each INPUT is a structure file (CIF, POSCAR, extended XYZ, JSON of pymatgen, database or trajectory of
    ASE, phonopy.yaml, pw.in, geometry.in, JSON lines), a folder of such files, or a crystals.npz. Without
    --output, a single structure is printed with its tensors, several as a table of averages and eigenvalues.

    Exit status: 0 finished (failed rows included), 2 bad input or model, 3 no such device, 4 out of memory, 73 output
    cannot be written, 75 interrupted. After 73 and 75 the same command resumes.
    """
    if output_format() and output == STANDARD_OUTPUT:
        raise click.UsageError(f'--{output_format()} and --output - both write to standard output; give one of them')
    if options['prepared'] and options['keep_prepared']:
        raise click.UsageError('--prepared and --keep-prepared both name a prepared.npz; give one of them')
    options['to_stdout'], output = output == STANDARD_OUTPUT, None if output == STANDARD_OUTPUT else output
    options['files'] = [*sources, options['model'], output]
    stop = StopSignal(options['time_limit'])
    status = Status(Path(f'{output}.status.json') if output else None)
    inputs = [*sources, options['model'], options['prepared']]
    lock = locked_output(output, inputs, stop if options['wait'] else None)
    with lock as run, record_errors(status):
        status.update(
            run=run, rows_done=0, rows_total=0, rows_failed=0, device='', batch_atoms=0, crystals_per_second=0.0
        )
        crystals = _read(sources, output, options)
        predictor = _load_predictor(options)
        status.update(rows_total=len(crystals), device=predictor.device, batch_atoms=predictor.batch_atoms)
        batches = _evaluate(crystals, predictor, output, options, status, stop)
        predictions = collect(crystals, batches, predictor.model.hash, predictor.settings())
        if not is_crystal_set(sources) or output is None:  # the author of a crystals.npz already has its failed rows
            predictions = with_failed_rows(predictions, crystals.failures)
        _write(crystals, predictions, output, options, status)


def _read(sources: Sequence[Path], output: Path | None, options: Mapping[str, Any]) -> CrystalSet:
    """Return the crystals of the input. A bad model is reported here, before torch is imported."""
    try:
        read_card(resolve_model(options['model']))
    except FormatError as error:
        raise ExecutableError('bad_model', str(error)) from error
    crystals = read_crystals(sources, options['recursive'], options['quiet'])
    if output is None and not (crystals.failures or len(crystals)):
        raise ExecutableError('bad_input', f'{sources[0]}: contains no crystals; give a file or folder with some')
    return crystals


def _load_predictor(options: Mapping[str, Any]) -> Predictor:
    import torch

    from aiida_goectp.core.learning.device import choose_device
    from aiida_goectp.core.learning.predict import Predictor
    from aiida_goectp.core.network.checkpoint import load_model

    if options['threads']:
        torch.set_num_threads(options['threads'])
    device = choose_device(options['device'])
    try:
        model = load_model(options['model'])
    except FormatError as error:
        raise ExecutableError('bad_model', str(error)) from error
    processes = options['graph_processes']
    if processes is None:
        processes = 0 if device == 'cpu' else available_cores() - 1
    try:
        return Predictor(model, device, options['batch_atoms'], processes, options['phonons'])
    except FormatError as error:
        raise ExecutableError('bad_model', str(error)) from error


def _evaluate(
    crystals: CrystalSet,
    predictor: Predictor,
    output: Path | None,
    options: Mapping[str, Any],
    status: Status,
    stop: Callable[[], bool],
) -> list[PredictedBatch]:
    """Return the results of all rows, those of a partial file included; partial file and status are kept up to date.

    :raises ExecutableError: interrupted
    """
    partial = None
    if output is not None:
        precision = predictor.settings()['precision']
        header = identity(crystals, predictor.model.hash, precision, predictor.phonons)
        partial = PartialFile(Path(f'{output}.partial'), PREDICTION, header, options['resume'])
        if (message := partial.message('all rows are predicted')) and not options['quiet']:
            echo(message, err=True)
    earlier = [] if partial is None else list(partial.batches)
    batches = list(earlier)
    start, failed = sum(len(batch.rows) for batch in batches), sum(batch.failed for batch in batches)
    with (
        Progress(len(crystals), start, quiet=options['quiet'] or output is None) as progress,
        _preparation(crystals, predictor, options, start, stop) as (prepared, kept),
    ):
        for batch in predictor.run(crystals, start, prepared, kept is not None):
            batches.append(batch._replace(prepared=None))
            if kept is not None and batch.prepared is not None:
                kept.append(batch.prepared, int(batch.rows[0]))
            if partial is not None:
                partial.append(batch)
            failed += batch.failed
            done = int(batch.rows[-1]) + 1
            rate = progress.update(done, failed)
            status.update(
                rows_done=done, rows_failed=failed, batch_atoms=predictor.batch_atoms, crystals_per_second=rate
            )
            testing_hooks.after_rows(done)
            if done < len(crystals) and stop():
                for file in (kept, partial):
                    if file is not None:
                        file.flush()
                message = f'stopped after {done} of {len(crystals)} rows; the same command resumes'
                raise ExecutableError('interrupted', message)
        if kept is not None:
            kept.finish()
    if partial is not None:
        partial.close()  # the table itself follows
    return [*with_repeated_rows(earlier, crystals, predictor.run), *batches[len(earlier) :]]


@contextmanager
def _preparation(
    crystals: CrystalSet, predictor: Predictor, options: Mapping[str, Any], start: int, stop: Callable[[], bool]
) -> Iterator[tuple[PreparedFile | None, KeptPreparation | None]]:
    """Return the preparation to read, and that to write. A file is locked only if it does not fit.

    :param start: first row that is predicted
    :raises FormatError: ``--prepared`` does not fit
    """
    from aiida_goectp.core.executable.kept_preparation import KeptPreparation
    from aiida_goectp.core.network.prepared import PreparedFile

    given, keep, preset = options['prepared'], options['keep_prepared'], predictor.model.card.preset
    if given is not None:
        with PreparedFile(given, crystals, preset) as prepared:
            yield prepared, None
        return
    if keep is None or not predictor.model.card.preparation_can_be_kept:
        if keep is not None and not options['quiet']:
            echo(f'{keep}: not written; the preparation for preset {preset} cannot be kept', err=True)
        yield None, None
        return
    with ExitStack() as stack:
        found = _fitting(keep, crystals, preset, quiet=True)
        if found is None:
            wait_until = stop if options['wait'] else None
            stack.enter_context(locked_output(keep, options['files'], wait_until, option='--keep-prepared'))
            found = _fitting(keep, crystals, preset, options['quiet'])  # another run may have written it meanwhile
        if found is not None:
            yield stack.enter_context(found), None
            return
        kept = KeptPreparation(keep, crystals, options['resume'], options['quiet'])
        kept.catch_up(start)
        yield None, kept


def _fitting(path: Path, crystals: CrystalSet, preset: str, quiet: bool) -> PreparedFile | None:
    """Return the stored preparation of the crystals; None, with a message why, if the file does not fit them."""
    from aiida_goectp.core.network.prepared import PreparedFile

    try:
        return PreparedFile(path, crystals, preset)
    except FormatError as error:
        if path.exists() and not quiet:
            echo(f'{error}; the crystals are prepared again', err=True)
        return None


def _write(
    crystals: CrystalSet, predictions: Predictions, output: Path | None, options: Mapping[str, Any], status: Status
) -> None:
    """Write the table and remove the partial file; print what the options ask for."""
    if output is not None:
        predictions.save(output)
        Path(f'{output}.partial').unlink(missing_ok=True)
    rows, failed = len(predictions), int(predictions.failed.sum())
    status.update(state='finished', rows_total=rows, rows_done=rows, rows_failed=failed)
    if options['to_stdout']:
        buffer = io.BytesIO()
        predictions.save(buffer)
        write_bytes(buffer.getvalue())
    elif output_format() == 'json':
        for line in json_lines(crystals, predictions):
            echo(line)
    elif output_format() == 'raw':
        _print_table(crystals, predictions, options['rows'])
    elif output is None and rows == 1:
        echo(text(crystals, predictions), keep='\n')
    elif output is None:
        _print_table(crystals, predictions, options['rows'])
    elif not options['quiet']:
        device = predictions.settings['device']
        echo(f'{rows} crystals, {failed} failed, on {device}: {output}', err=True)


def _print_table(crystals: CrystalSet, predictions: Predictions, rows: int) -> None:
    """Print the first rows, which of them are unstable, and where the tensors are."""
    from aiida_goectp.core.executable.prediction_table import predictions_table
    from aiida_goectp.core.formats.text_tables import show_table

    shown = zip(crystals.hashes.tolist()[:rows], crystals, strict=False)
    formulas = {key: formula(crystal.atomic_numbers) for key, crystal in shown}
    show_table(predictions_table(predictions, rows, formulas))
    if len(unstable := predictions.ids[:rows][predictions.unstable[:rows]]):
        echo(f'{", ".join(unstable)}: {NO_STATIC_PERMITTIVITY}', err=output_format() == 'raw')
    echo('whole tensors: --json prints them, --output writes them to a file', err=True)

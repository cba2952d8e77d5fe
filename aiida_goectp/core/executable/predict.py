"""``goectp predict``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.core.executable.signals import StopSignal
from aiida_goectp.core.executable.status import ExecutableError, Status, record_errors, report_error
from aiida_goectp.core.formats.npz import FormatError

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.crystalset import CrystalSet
    from aiida_goectp.core.dielectric.predictions import Predictions
    from aiida_goectp.core.learning.predict import Predictor

__all__ = ('predict',)


def _number_or_auto(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    least = 1 if parameter.name == 'batch_atoms' else 0
    if value == 'auto':
        return None
    if not value.isdigit() or int(value) < least:
        raise click.BadParameter(f'{value!r}: expected auto or a number from {least}')
    return int(value)


@click.command()
@click.argument('source', metavar='INPUT', type=click.Path())
@click.option('--model', required=True, help='A model file, or the name of a shipped model (`goectp info` lists them).')
@click.option('--output', type=click.Path(dir_okay=False), help='predictions.npz to write.')
@click.option('--device', default='auto', show_default=True, help='auto, cpu, cuda, cuda:1, …')
@click.option('--batch-atoms', default='auto', show_default=True, callback=_number_or_auto, help='Atoms in a batch.')
@click.option(
    '--graph-processes',
    default='auto',
    show_default=True,
    callback=_number_or_auto,
    help='Processes that make graphs; auto: for a GPU as many as there are cores left, none for the CPU.',
)
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object a line.')
@click.option('--time-limit', type=float, help='Seconds after which to stop cleanly, to be resumed.')
@click.option('--resume/--no-resume', default=True, show_default=True, help='Go on with OUTPUT.partial if it is there.')
@click.option('--quiet', is_flag=True, help='No progress.')
@click.option('--threads', type=click.IntRange(min=1), help='CPU threads.')
def predict(source: str, output: str | None, **options: Any) -> None:
    """Predict the dielectric tensors of all crystals of INPUT.

    INPUT is a crystals.npz, a structure file (CIF, POSCAR, extended XYZ, JSON lines) or a folder of such files. For a
    single structure without --output, tensors, averages and eigenvalues are printed.

    Exit status: 0 finished (failed rows included), 2 bad input or model, 3 no such device, 4 out of memory, 75
    interrupted (the same command goes on).
    """
    stop_asked = StopSignal(options['time_limit'])
    if output and not Path(output).parent.is_dir():
        report_error(ExecutableError('bad_input', f'{output}: there is no folder {Path(output).parent}; make it first'))
    status = Status(Path(output + '.status.json') if output else None)
    with record_errors(status):
        status.update(rows_done=0, rows_total=0, rows_failed=0, device='', batch_atoms=0, crystals_per_second=0.0)
        _predict(Path(source), Path(output) if output else None, options, status, stop_asked)


def _predict(
    source: Path, output: Path | None, options: dict[str, Any], status: Status, stop_asked: Callable[[], bool]
) -> None:
    from aiida_goectp.core.crystals.crystalset import CrystalSet
    from aiida_goectp.core.crystals.readers import read_structures
    from aiida_goectp.core.executable.output import with_failed_rows
    from aiida_goectp.core.formats.model_card import read_card, resolve_model

    try:
        read_card(resolve_model(options['model']))  # a bad model is told before torch is imported
    except FormatError as error:
        raise ExecutableError('bad_model', str(error)) from error
    # the rows of a crystals.npz are kept one by one, bad ones too: whoever made it counts on their order
    crystals = CrystalSet.load(source) if source.suffix == '.npz' else read_structures([source])
    rows = len(crystals) + len(crystals.failures)
    if output is None and not options['as_json'] and rows != 1:
        raise ExecutableError('bad_input', f'{source} holds {rows} crystals; name a file with --output, or use --json')
    predictor = _predictor(options)
    status.update(rows_total=len(crystals), device=predictor.device, batch_atoms=predictor.batch_atoms)
    predictions = _run(crystals, predictor, output, options, status, stop_asked)
    if source.suffix != '.npz' or output is None:  # whoever wrote a crystals.npz knows which rows failed before
        predictions = with_failed_rows(predictions, crystals.failures)
    if output is not None:
        predictions.save(output)
        Path(f'{output}.partial').unlink(missing_ok=True)
    failed = int(predictions.failed.sum())
    status.update(state='finished', rows_total=len(predictions), rows_done=len(predictions), rows_failed=failed)
    _print(crystals, predictions, output, options)


def _predictor(options: dict[str, Any]) -> Predictor:
    import torch

    from aiida_goectp.core.learning.device import choose_device
    from aiida_goectp.core.learning.graphs import cores
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
        processes = 0 if device == 'cpu' else cores() - 1
    return Predictor(model, device, options['batch_atoms'], processes)


def _run(
    crystals: CrystalSet,
    predictor: Predictor,
    output: Path | None,
    options: dict[str, Any],
    status: Status,
    stop_asked: Callable[[], bool],
) -> Predictions:
    """Predict all rows, those of a partial file excepted, and keep the partial file and the status up to date."""
    from aiida_goectp.core.executable.partial import PartialFile, identity
    from aiida_goectp.core.executable.progress import Progress
    from aiida_goectp.core.learning.device import fault
    from aiida_goectp.core.learning.predict import assemble

    chunks, partial, start = [], None, 0
    if output is not None:
        header = identity(crystals, predictor.model.hash, predictor.settings()['precision'])
        partial = PartialFile(Path(f'{output}.partial'), header, options['resume'])
        if partial.moved_aside and not options['quiet']:
            print(f'the partial file is of another run; moved to {partial.moved_aside}', file=sys.stderr)
        chunks, start = list(partial.chunks), partial.rows_done
    failed = sum(bool(error) for chunk in chunks for error in chunk.errors)
    with Progress(len(crystals), start, quiet=options['quiet'] or output is None) as progress:
        for chunk in predictor.run(crystals, start):
            chunks.append(chunk)
            if partial is not None:
                partial.append(chunk)
            failed += sum(bool(error) for error in chunk.errors)
            done = int(chunk.rows[-1]) + 1
            rate = progress.update(done, failed)
            status.update(
                rows_done=done, rows_failed=failed, batch_atoms=predictor.batch_atoms, crystals_per_second=rate
            )
            if (kill := fault('kill_after')) and done >= int(kill):
                signal.raise_signal(signal.SIGKILL)
            if done < len(crystals) and stop_asked():
                raise ExecutableError(
                    'interrupted', f'stopped after {done} of {len(crystals)} rows; the same command goes on'
                )
    if partial is not None:
        partial.close()
    return assemble(crystals, chunks, predictor)


def _print(crystals: CrystalSet, predictions: Predictions, output: Path | None, options: dict[str, Any]) -> None:
    from aiida_goectp.core.executable.output import json_lines, text

    if options['as_json']:
        for line in json_lines(crystals, predictions):
            print(line)
    elif output is None:
        print(text(crystals, predictions))
    elif not options['quiet']:
        failed = int(predictions.failed.sum())
        print(
            f'{len(predictions)} crystals, {failed} failed, on {predictions.settings["device"]}: {output}',
            file=sys.stderr,
        )

"""``goectp train``: read, train, calibrate, write."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.core.executable.launch import is_launched, launch
from aiida_goectp.core.executable.model_output import echo_metrics
from aiida_goectp.core.executable.options import (
    FILE,
    POSITIVE,
    device_option,
    model_options,
    resume_option,
    time_limit_option,
    wait_option,
)
from aiida_goectp.core.executable.output_lock import LOCKED_OUTPUT, locked_output
from aiida_goectp.core.executable.progress import EpochProgress
from aiida_goectp.core.executable.signals import StopSignal
from aiida_goectp.core.executable.status import Status, record_errors
from aiida_goectp.core.executable.traininputs import TrainInputs, read_inputs
from aiida_goectp.core.formats.terminal import echo
from aiida_goectp.core.formats.training_log import TrainingLog, append_line, json_safe, validation_errors
from aiida_goectp.core.learning import testing_hooks
from aiida_goectp.core.learning.settings import PRESET_NAMES

if TYPE_CHECKING:
    from aiida_goectp.core.learning.train import Epoch
    from aiida_goectp.core.network.model import Network

__all__ = ('train',)


@click.command()
@click.argument('dataset', type=click.Path(dir_okay=False, path_type=Path))
@click.option('--settings', type=FILE, help='JSON file with an object of settings; the options below override it.')
@click.option('--preset', type=click.Choice(PRESET_NAMES), help='Kind of network; default: goectp.')
@click.option('--width', type=POSITIVE, help='Channels of the network; default: those of the preset.')
@click.option('--layers', type=POSITIVE, help='Layers of the network; default: those of the preset.')
@click.option('--members', type=POSITIVE, help='Networks of the committee, trained one after the other.')
@click.option('--epochs', type=POSITIVE, help='Number of epochs.')
@click.option('--batch-size', type=click.IntRange(min=2), help='Number of crystals per optimisation step.')
@click.option('--learning-rate', type=float, help='Peak of the learning rate.')
@click.option('--schedule', type=click.Choice(['linear', 'cosine', 'constant']), help='Decay of the learning rate.')
@click.option('--patience', type=POSITIVE, help='Stop after this many epochs without a lower validation error.')
@click.option('--keep', type=click.Choice(['last', 'best']), help='Weights of the last epoch, or of the best one.')
@click.option('--precision', type=click.Choice(['float32', 'bfloat16']), help='bfloat16: mixed precision.')
@click.option('--seed', type=int, help='Seed of weights, order of rows and random split.')
@click.option('--initial', metavar='MODEL', help='Model to fine-tune: a file, or the name of a shipped model.')
@click.option(
    '--split',
    help='Name of a split of the dataset or of the split file; default: a random split with a tenth of the rows each '
    'for validation and test.',
)
@device_option
@click.option(
    '--processes', type=POSITIVE, default=1, show_default=True, help='Processes, one for each GPU of this node.'
)
@time_limit_option
@resume_option('OUTPUT.state')
@wait_option
@model_options('model')
def train(dataset: Path, output: Path, **options: Any) -> None:
    """Train a model, or a committee, on labelled crystals.

    DATASET is a dataset.npz, or JSON lines with labels. The same command resumes a killed training. Each epoch is a
    JSON line in OUTPUT.log.jsonl; OUTPUT.status.json states the progress. Settings that are not given have their
    defaults, which the model card records.

    Several GPUs: --processes N, equivalent to torchrun --nproc-per-node=N $(which goectp) train …

    Exit status: 0 finished, 2 bad input or model, 3 no such device, 4 out of memory, 5 diverged, 73 output cannot be
    written, 75 interrupted. After 73 and 75 the same command resumes.
    """
    status_file = Path(f'{output}.status.json')
    stop = StopSignal(options['time_limit'])
    inputs = [dataset, *(options[name] for name in ('settings', 'split_file', 'initial'))]
    lock = locked_output(output, inputs, stop if options['wait'] else None, distributed=True)
    if options['processes'] > 1 and not is_launched():
        with lock:
            os.environ[LOCKED_OUTPUT] = str(output.absolute())
            sys.exit(launch(options['processes'], sys.argv[1:], status_file))
    first = os.environ.get('RANK', '0') == '0'  # of the processes that torchrun starts
    status = Status(status_file if first else None)
    with lock as run, record_errors(status):
        status.update(run=run, epochs_done=0, epochs_total=0, device='')
        data = read_inputs(dataset, options)
        networks, device = _train(data, output, options, status, stop)
        if first:
            from aiida_goectp.core.learning.device import device_errors

            with device_errors(device):
                _write(networks, data, device, output, options, status)


def _train(
    inputs: TrainInputs, output: Path, options: Mapping[str, Any], status: Status, stop: Callable[..., bool]
) -> tuple[list[Network], str]:
    """Return the trained networks, and the device of this process."""
    import torch

    from aiida_goectp.core.learning import parallel
    from aiida_goectp.core.learning.device import choose_device, device_errors
    from aiida_goectp.core.learning.train import train_committee

    if options['threads']:
        torch.set_num_threads(options['threads'])
    device = parallel.join_group(choose_device(options['device']))
    settings, quiet = inputs.settings, options['quiet'] or not parallel.is_first()
    rows = {part: len(data) for part, data in inputs.parts.items()}
    epochs = settings.members * settings.epochs
    status.update(device=device, rows=rows, batch_size=settings.batch_size, epochs_total=epochs)
    if not quiet:
        echo(f'{rows["train"]} training crystals, {rows["validation"]} for validation, {device}')
    state_file, log_file = Path(f'{output}.state'), Path(f'{output}.log.jsonl')
    if parallel.is_first():
        if not options['resume']:
            state_file.unlink(missing_ok=True)
        if not state_file.exists():  # the log is that of another training
            log_file.unlink(missing_ok=True)
    recorder = _EpochRecorder(log_file, status, EpochProgress(epochs, quiet))
    torch.set_flush_denormal(True)  # decaying functions reach them, and a step takes twice as long
    try:
        with recorder.progress, device_errors(device):
            networks = train_committee(
                inputs.parts['train'],
                inputs.parts['validation'],
                settings,
                device=device,
                initial=inputs.initial,
                state_file=state_file,
                report=recorder,
                stop=lambda: stop(ahead=recorder.end_epoch()),
            )
    finally:
        torch.set_flush_denormal(False)
    parallel.leave_group()
    return networks, device


def _write(
    networks: list[Network],
    inputs: TrainInputs,
    device: str,
    output: Path,
    options: Mapping[str, Any],
    status: Status,
) -> None:
    """Calibrate and evaluate the networks, and write the model."""
    from aiida_goectp.core.learning.calibrate import calibrate_committee, trained_on
    from aiida_goectp.core.network.checkpoint import save_model

    initial = inputs.initial
    networks, card = calibrate_committee(
        networks,
        inputs.parts,
        inputs.settings,
        device=device,
        name=options['name'] or output.stem,
        data=inputs.origin,
        functional=inputs.functional,
        parent=initial.hash if initial else None,
        inherited=initial,
        known=initial.card.elements if initial else (),
        **{name: options[name] for name in ('licence', 'citation', 'notes')},
    )
    card.metrics = json_safe(card.metrics)
    save_model(output, networks, card, trained_on([initial] if initial else [], inputs.parts['train']))
    Path(f'{output}.state').unlink(missing_ok=True)
    status.update(state='finished', epochs_done=status.fields['epochs_total'], seconds_left=0.0)
    if not options['quiet']:
        echo_metrics(card, output)


class _EpochRecorder:
    """Called after each epoch: writes the log and the status file, and prints the progress.

    :param log_file: may have the epochs of a killed run of this training
    """

    def __init__(self, log_file: Path, status: Status, progress: EpochProgress) -> None:
        self.log_file, self.status, self.progress = log_file, status, progress
        self.done, self.seconds = 0, 0.0
        """number of epochs done, of all members, and duration of the last one"""
        if (last := TrainingLog.read(log_file).last) is not None:
            self._update_status(last)

    def __call__(self, epoch: Epoch) -> None:
        line = asdict(epoch)
        append_line(self.log_file, line)
        self.done, self.seconds = self._update_status(line), epoch.seconds
        place = f'epoch {epoch.epoch}/{epoch.epochs}'
        if epoch.members > 1:
            place = f'member {epoch.member + 1}/{epoch.members}, {place}'
        maes = ', '.join(f'{name} {value.get("mae", float("nan")):.3f}' for name, value in epoch.validation.items())
        note = f'loss {epoch.loss:.4f}{f", validation MAE {maes}" if maes else ""}, {epoch.seconds:.0f} s'
        if epoch.skipped:
            note += f', batches skipped since their gradient is not finite: {epoch.skipped}'
        self.progress.update(self.done, place, note)

    def end_epoch(self) -> float:
        """Return the duration of the last epoch, s; the injected faults occur here, after the state was written."""
        return self.seconds + testing_hooks.after_epoch(self.done)

    def _update_status(self, line: Mapping[str, Any]) -> int:
        """Write the status after an epoch, and return the number of epochs done."""
        log = TrainingLog.read(self.log_file)
        done = line['member'] * line['epochs'] + line['epoch']
        total = line['members'] * line['epochs']
        best = log.best
        self.status.update(
            epochs_done=done,
            epochs_total=total,
            **{name: line[name] for name in ('member', 'members', 'epoch', 'epochs', 'loss', 'learning_rate')},
            best_epoch=best['epoch'] if best else None,
            best_validation=validation_errors(best) if best else None,
            since_best=log.since_best,
            seconds_left=(total - done) * log.seconds_per_epoch,
        )
        return int(done)

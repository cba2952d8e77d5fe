"""``goectp train``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.core.executable.launch import is_launched, launch
from aiida_goectp.core.executable.model_output import echo_metrics
from aiida_goectp.core.executable.options import card_options
from aiida_goectp.core.executable.progress import EpochProgress
from aiida_goectp.core.executable.signals import StopSignal
from aiida_goectp.core.executable.status import ExecutableError, Status, record_errors, report_error

if TYPE_CHECKING:
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.learning.settings import TrainSettings
    from aiida_goectp.core.learning.train import Epoch
    from aiida_goectp.core.network.checkpoint import LoadedModel
    from aiida_goectp.core.network.model import GoeCTP

__all__ = ('train',)

_PATH = click.Path(exists=True, dir_okay=False)
_ONE, _TWO = click.IntRange(min=1), click.IntRange(min=2)


@click.command()
@click.argument('dataset', type=click.Path(dir_okay=False))
@click.option('--output', required=True, type=click.Path(dir_okay=False), help='Model file to write (.safetensors).')
@click.option('--settings', type=_PATH, help='JSON object of settings; the options below override it.')
@click.option(
    '--preset', type=click.Choice(['goectp', 'published', 'descriptors']), help='goectp if nothing else is said.'
)
@click.option('--width', type=_ONE, help='Channels of the network, instead of the preset’s.')
@click.option('--layers', type=_ONE, help='Attention layers, instead of the preset’s.')
@click.option('--members', type=_ONE, help='Networks of the committee, trained one after the other.')
@click.option('--epochs', type=_ONE)
@click.option('--batch-size', type=_TWO, help='Crystals in a step.')
@click.option('--learning-rate', type=float, help='Peak of the learning rate.')
@click.option('--schedule', type=click.Choice(['linear', 'cosine', 'constant']), help='Of the learning rate.')
@click.option('--patience', type=_ONE, help='Stop after so many epochs without a better validation.')
@click.option('--keep', type=click.Choice(['last', 'best']), help='Weights of the last epoch, or of the best one.')
@click.option('--precision', type=click.Choice(['float32', 'bfloat16']), help='bfloat16: mixed precision.')
@click.option('--seed', type=int, help='Of weights, order and the random split.')
@click.option('--initial', metavar='MODEL', help='A model to go on from (fine-tuning): a file or a shipped model.')
@click.option('--split', help='Name of a split of the dataset, or of the file; without, a tenth is held out twice.')
@click.option('--split-file', type=_PATH, help='JSON: splits → name → part → ids.')
@click.option('--device', default='auto', show_default=True, help='auto, cpu, cuda, cuda:1, …')
@click.option('--threads', type=_ONE, help='CPU threads.')
@click.option('--processes', type=_ONE, default=1, show_default=True, help='One a GPU of this node, on one network.')
@click.option('--time-limit', type=float, help='Seconds after which to stop cleanly, to be resumed.')
@click.option('--resume/--no-resume', default=True, show_default=True, help='Go on with OUTPUT.state if it is there.')
@click.option('--quiet', is_flag=True, help='No progress.')
@card_options('model')
def train(dataset: str, output: str, **options: Any) -> None:
    """Train a model, or a committee, on labelled crystals.

    DATASET is a dataset.npz, or JSON lines with labels. A killed training goes on where it stopped when the same
    command is given again. One JSON line an epoch goes to OUTPUT.log.jsonl; OUTPUT.status.json says how far it is.
    Settings that nothing names have their defaults, those of the model card.

    Several GPUs: --processes N, which is torchrun --nproc-per-node=N $(which goectp) train …

    Exit status: 0 finished, 2 bad input or model, 3 no such device, 4 out of memory, 5 diverged, 75 interrupted (the
    same command goes on).
    """
    target = Path(output)
    if not target.parent.is_dir():
        report_error(ExecutableError('bad_input', f'{output}: there is no folder {target.parent}; make it first'))
    if options['processes'] > 1 and not is_launched():
        sys.exit(launch(options['processes'], sys.argv[1:], _beside(target, 'status.json')))
    watch = StopSignal(options['time_limit'])
    first = os.environ.get('RANK', '0') == '0'  # of the processes that torchrun starts
    status = Status(_beside(target, 'status.json') if first else None)
    with record_errors(status):
        status.update(epochs_done=0, epochs_total=0, device='')
        _Training(Path(dataset), target, options, status, watch).run()


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(f'{output.name}.{suffix}')


class _Training:
    """One run of the command."""

    def __init__(
        self, source: Path, output: Path, options: Mapping[str, Any], status: Status, watch: StopSignal
    ) -> None:
        self.source, self.output, self.options = source, output, dict(options)
        self.status, self.watch = status, watch
        self.state_file, self.log_file = _beside(output, 'state'), _beside(output, 'log.jsonl')

    def run(self) -> None:
        """Read, train, judge, and write the model."""
        import torch

        from aiida_goectp.core.datasets.dataset import Dataset
        from aiida_goectp.core.executable.traininputs import name_functional, read_initial, read_settings, split_dataset
        from aiida_goectp.core.learning import parallel
        from aiida_goectp.core.learning.device import choose_device

        options = self.options
        initial = read_initial(options['initial'])
        data, functional = name_functional(Dataset.load(self.source), options['functional'])
        settings = read_settings(options, initial, set(data.functional.tolist()))
        chosen = (options['split'], options['split_file'], settings.seed)
        split, parts = split_dataset(data, *chosen, label=str(self.source))
        if options['threads']:
            torch.set_num_threads(options['threads'])
        device = parallel.join_group(choose_device(options['device']))
        rows = {part: len(table) for part, table in parts.items()}
        self.status.update(
            device=device, rows=rows, batch_size=settings.batch_size, epochs_total=settings.members * settings.epochs
        )
        if not options['quiet'] and parallel.is_first():
            print(f'{rows["train"]} crystals to learn from, {rows["validation"]} to validate, {device}', flush=True)
        networks = self._train(parts, settings, device, initial)
        if parallel.is_first():
            self._finish(networks, parts, settings, device, initial, split, functional)

    def _train(
        self, parts: dict[str, Dataset], settings: TrainSettings, device: str, initial: LoadedModel | None
    ) -> list[GoeCTP]:
        from aiida_goectp.core.learning import parallel
        from aiida_goectp.core.learning.device import known_failure
        from aiida_goectp.core.learning.train import train_committee

        if parallel.is_first():
            self._tidy()
        reporter = _Reporter(self.log_file, self.status, settings, self.options['quiet'] or not parallel.is_first())
        try:
            with reporter.progress:
                return train_committee(
                    parts['train'],
                    parts['validation'],
                    settings,
                    device=device,
                    initial=initial,
                    state_file=self.state_file,
                    report=reporter,
                    stop=lambda: self.watch(ahead=reporter.seconds),
                )
        except (MemoryError, RuntimeError) as error:
            known = known_failure(error, device)
            if known is None:
                raise
            raise known from error
        except ValueError as error:  # a state file or an initial model that does not fit
            if type(error) is ValueError:
                raise ExecutableError('bad_input', str(error)) from error
            raise

    def _tidy(self) -> None:
        """Remove what another training has left, so that a new one does not mistake it for its own."""
        if not self.options['resume']:
            self.state_file.unlink(missing_ok=True)
        if not self.state_file.exists():
            self.log_file.unlink(missing_ok=True)

    def _finish(
        self,
        networks: list[GoeCTP],
        parts: dict[str, Dataset],
        settings: TrainSettings,
        device: str,
        initial: LoadedModel | None,
        split: str,
        functional: str,
    ) -> None:
        """Judge the networks and write the model."""
        from aiida_goectp.core.formats.training_log import finite
        from aiida_goectp.core.learning.calibrate import calibrate_committee
        from aiida_goectp.core.network.checkpoint import save_model

        texts = {name: self.options[name] for name in ('licence', 'citation', 'notes')}
        networks, card = calibrate_committee(
            networks,
            parts,
            settings,
            device=device,
            name=self.options['name'] or self.output.stem,
            data=f'{self.source.name}, split {split}',
            functional=functional,
            parent=initial.hash if initial else None,
            inherited=initial,
            known=initial.card.elements if initial else (),
            **texts,
        )
        card.metrics = finite(card.metrics)
        save_model(self.output, networks, card)
        self.state_file.unlink(missing_ok=True)
        self.status.update(state='finished', epochs_done=self.status.fields['epochs_total'], seconds_left=0.0)
        if not self.options['quiet']:
            echo_metrics(card, self.output)


class _Reporter:
    """Called after each epoch: log, status, progress, and the faults that tests ask for."""

    def __init__(self, log_file: Path, status: Status, settings: TrainSettings, quiet: bool) -> None:
        from aiida_goectp.core.formats.training_log import TrainingLog

        self.log_file, self.status = log_file, status
        self.seconds = 0.0
        """of the last epoch"""
        self.progress = EpochProgress(settings.members * settings.epochs, quiet)
        if (last := TrainingLog.read(log_file).last) is not None:
            self._tell(last)

    def __call__(self, epoch: Epoch) -> None:
        from aiida_goectp.core.formats.training_log import add_line
        from aiida_goectp.core.learning.device import fault

        if pause := fault('slow_epoch'):
            time.sleep(float(pause))
        self.seconds = epoch.seconds + float(pause or 0)
        line = asdict(epoch)
        add_line(self.log_file, line)
        done = self._tell(line)
        place = f'epoch {epoch.epoch}/{epoch.epochs}'
        if epoch.members > 1:
            place = f'member {epoch.member + 1}/{epoch.members}, {place}'
        figures = ', '.join(f'{name} {value.get("mae", float("nan")):.3f}' for name, value in epoch.validation.items())
        figures = f', validation MAE {figures}' if figures else ''
        self.progress.update(done, place, f'loss {epoch.loss:.4f}{figures}, {epoch.seconds:.0f} s')
        if (kill := fault('kill_after_epochs')) and done >= int(kill):
            signal.raise_signal(signal.SIGKILL)

    def _tell(self, line: Mapping[str, Any]) -> int:
        """Write the status after an epoch, and return how many are done."""
        from aiida_goectp.core.formats.training_log import TrainingLog, errors

        log = TrainingLog.read(self.log_file)
        done = line['member'] * line['epochs'] + line['epoch']
        total = line['members'] * line['epochs']
        best = log.best
        self.status.update(
            epochs_done=done,
            epochs_total=total,
            **{name: line[name] for name in ('member', 'members', 'epoch', 'epochs', 'loss', 'learning_rate')},
            best_epoch=best['epoch'] if best else None,
            best_validation=errors(best) if best else None,
            since_best=log.since_best,
            seconds_left=(total - done) * log.seconds_an_epoch,
        )
        return int(done)

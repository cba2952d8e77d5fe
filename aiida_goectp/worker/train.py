"""``goectp train``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.worker.status import WorkerError, classify, report_error

if TYPE_CHECKING:
    from aiida_goectp.dataset import Dataset

__all__ = ('train',)


@click.command()
@click.argument('dataset', type=click.Path(exists=True, dir_okay=False))
@click.option('--output', required=True, type=click.Path(dir_okay=False), help='Model file to write (.safetensors).')
@click.option('--preset', default='goectp', show_default=True, type=click.Choice(['goectp', 'published']))
@click.option('--width', type=click.IntRange(min=1), help='Channels of the network, instead of the preset’s.')
@click.option('--layers', type=click.IntRange(min=1), help='Attention layers, instead of the preset’s.')
@click.option('--epochs', default=60, show_default=True, type=click.IntRange(min=1))
@click.option('--batch-size', default=32, show_default=True, type=click.IntRange(min=2), help='Crystals in a step.')
@click.option('--learning-rate', default=2e-3, show_default=True)
@click.option('--seed', default=0, show_default=True)
@click.option('--device', default='auto', show_default=True, help='auto, cpu, cuda, cuda:1, …')
@click.option('--threads', type=click.IntRange(min=1), help='CPU threads.')
@click.option('--split-file', type=click.Path(exists=True, dir_okay=False), help='JSON: splits → name → part → ids.')
@click.option('--split', help='Name of the split in that file; without one, a tenth is held out twice, by the seed.')
@click.option('--name', help='Name of the model, for its card.')
@click.option('--functional', default='unknown', show_default=True, help='Functional of the labels, for the card.')
@click.option('--licence', default='', help='For the card.')
@click.option('--citation', default='', help='For the card.')
@click.option('--notes', default='', help='For the card.')
def train(dataset: str, output: str, **options: Any) -> None:
    """Train a model on labelled crystals.

    DATASET is a dataset.npz, or JSON lines with labels. A killed training goes on where it stopped when the same
    command is given again; one JSON line an epoch goes to OUTPUT.log.jsonl.
    """
    try:
        _train(Path(dataset), Path(output), options)
    except Exception as error:
        known = classify(error)
        if known.code == 'internal' and isinstance(error, ValueError):  # settings or a state file
            known = WorkerError('bad_input', str(error))
        if known.code == 'internal':
            raise
        report_error(known)


def _train(source: Path, output: Path, options: dict[str, Any]) -> None:
    import torch

    from aiida_goectp.dataset import Dataset
    from aiida_goectp.learning.device import choose_device
    from aiida_goectp.learning.settings import TrainSettings
    from aiida_goectp.learning.train import Epoch, evaluate, train_committee
    from aiida_goectp.network.checkpoint import save_model

    if options['threads']:
        torch.set_num_threads(options['threads'])
    device = choose_device(options['device'])
    data = Dataset.load(source)
    parts = _split(data, options)
    if len(parts['train']) < 2:
        raise WorkerError(
            'bad_input', f'{source}: {len(parts["train"])} labelled crystals to learn from; give two or more'
        )
    settings = TrainSettings(
        preset=options['preset'],
        options={key: options[key] for key in ('width', 'layers') if options[key]},
        **{key: options[key] for key in ('epochs', 'batch_size', 'learning_rate', 'seed')},
    )
    log = output.with_name(output.name + '.log.jsonl')
    state_file = output.with_name(output.name + '.state')
    print(f'{len(parts["train"])} crystals to learn from, {len(parts["validation"])} to validate, {device}', flush=True)

    def report(epoch: Epoch) -> None:
        with log.open('a') as stream:
            stream.write(json.dumps(epoch.__dict__) + '\n')
        figures = ', '.join(f'{name} {value.get("mae", float("nan")):.3f}' for name, value in epoch.validation.items())
        line = f'epoch {epoch.epoch}/{settings.epochs}: loss {epoch.loss:.4f}, validation MAE {figures}'
        print(f'{line}, {epoch.seconds:.0f} s', flush=True)

    networks = train_committee(
        parts['train'], parts['validation'], settings, device=device, state_file=state_file, report=report
    )
    network = networks[0]
    metrics = {'test': evaluate(network, parts['test'], settings.preset)} if len(parts['test']) else {}
    save_model(output, [network], _card(source, output, options, settings, parts, metrics))
    state_file.unlink(missing_ok=True)
    for name, figures in metrics.get('test', {}).items():
        print(f'test {name}: ' + ', '.join(f'{key} {value:.3g}' for key, value in figures.items()))
    print(f'wrote {output}', file=sys.stderr)


def _split(data: Dataset, options: dict[str, Any]) -> dict[str, Dataset]:
    """Return training, validation and test rows; rows without any label are left out."""
    import numpy as np

    if options['split'] or options['split_file']:
        if not (options['split'] and options['split_file']):
            raise WorkerError('bad_input', 'give --split-file and --split together')
        chosen = _read_split(Path(options['split_file']), options['split'])
        return {part: data.take(data.rows_of(chosen.get(part, []))) for part in ('train', 'validation', 'test')}
    known = np.isfinite([data.electronic, data.ionic]).all(axis=(2, 3))
    labelled = np.flatnonzero(known.any(axis=0))
    order = np.random.default_rng(options['seed']).permutation(labelled)
    tenth = len(order) // 10
    places = {'test': order[:tenth], 'validation': order[tenth : 2 * tenth], 'train': order[2 * tenth :]}
    return {part: data.take(np.sort(rows)) for part, rows in places.items()}


def _read_split(path: Path, name: str) -> dict[str, list[str]]:
    """Return the ids of each part of a split."""
    try:
        splits = json.loads(path.read_text())['splits']
        chosen = splits.get(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkerError('bad_input', f'{path}: no JSON of the form splits → name → part → ids ({error})') from error
    if not isinstance(chosen, dict) or not chosen.get('train'):
        raise WorkerError('bad_input', f'{path}: no split {name!r} with a part train; has {", ".join(splits)}')
    return chosen


def _card(
    source: Path,
    output: Path,
    options: dict[str, Any],
    settings: Any,
    parts: dict[str, Dataset],
    metrics: dict[str, Any],
) -> Any:
    import hashlib

    import numpy as np

    from aiida_goectp.modelcard import ModelCard
    from aiida_goectp.network.model import architecture_of

    crystals = parts['train'].crystals
    return ModelCard(
        name=options['name'] or output.stem,
        preset=settings.preset,
        architecture=architecture_of(settings.preset, settings.options),
        targets=['electronic', 'ionic'],
        elements=[int(z) for z in np.unique(crystals.atomic_numbers)],
        functional=options['functional'],
        training={
            'data': source.name,
            'split': options['split'] or f'random, seed {options["seed"]}',
            'rows': {part: len(rows) for part, rows in parts.items()},
            'hash': hashlib.sha256('\n'.join(sorted(crystals.hashes)).encode()).hexdigest(),
            'settings': settings.model_dump(),
        },
        metrics=metrics,
        licence=options['licence'],
        citation=options['citation'],
        notes=options['notes'],
    )

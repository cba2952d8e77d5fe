"""Accuracy of the preset ``goectp``, the published recipe and two baselines on the same rows.

``python benchmarks/accuracy.py run DATA SPLITS --recipe published --split random-0 --epochs 60`` trains one network and
writes metrics and weights to the folder of runs; the same command resumes an interrupted run. ``python
benchmarks/accuracy.py table DATA SPLITS`` trains the baselines and prints them with every finished run. Test rows are
read once, at the end of a run.
"""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy_table import print_tables

from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_splits
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, reduced_formulas
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.calibrate import trained_on, training_hash
from aiida_goectp.core.learning.settings import PUBLISHED_RECIPE, TrainSettings
from aiida_goectp.core.learning.train import Epoch, evaluate, train_committee
from aiida_goectp.core.network.checkpoint import save_model

RECIPES = {'published': PUBLISHED_RECIPE, 'goectp': TrainSettings()}
SPLITS = [f'{kind}-{n}' for kind in ('random', 'formula') for n in range(3)]


def parts_of(options: Namespace) -> dict[str, Dataset]:
    """Return the rows of each part of the split, and further training rows if ``--extra`` asks for them.

    Further rows are those in no part (one of their labels failed a gate) and those of other files, except rows whose
    formula occurs among the validation or test rows.
    """
    data = Dataset.load(options.data, options.functional)
    ids = read_splits(str(options.splits), options.splits.read_bytes())[options.split]
    parts = {part: data.take(data.rows_of(ids[part])) for part in SPLIT_PARTS}
    if not options.extra:
        return parts
    held = {formula for part in ('validation', 'test') for formula in reduced_formulas(parts[part].crystals)}
    split = {name for part in ids.values() for name in part}
    rest = data.take([row for row, name in enumerate(data.crystals.ids) if str(name) not in split])
    for source in [rest, *(Dataset.load(*item.split('=')) for item in options.extra if item != 'rest')]:
        formulas = reduced_formulas(source.crystals)
        good = [row for row in np.flatnonzero(source.trainable).tolist() if formulas[row] not in held]
        parts['train'] = concatenate([parts['train'], source.take(good)])
    return parts


def settings_of(options: Namespace) -> TrainSettings:
    """Return the settings of the recipe with the changes of the command line."""
    changes: dict[str, Any] = {'epochs': options.epochs, 'compile': options.compile}
    changes.update(json.loads(options.settings or '{}'))
    return TrainSettings.model_validate({**RECIPES[options.recipe].model_dump(), **changes})


def run(options: Namespace) -> None:
    """Train one network, or resume its training, and write weights and metrics."""
    torch.set_num_threads(options.threads)
    settings, parts = settings_of(options), parts_of(options)
    options.runs.mkdir(parents=True, exist_ok=True)
    name = f'{options.name or options.recipe}.{options.split}'
    log = options.runs / f'{name}.log.jsonl'
    start = time.process_time()

    def report(epoch: Epoch) -> None:
        with log.open('a') as stream:
            stream.write(json.dumps({**epoch.__dict__, 'cpu_seconds': time.process_time() - start}) + '\n')
        errors = {target: round(metrics['mae'], 4) for target, metrics in epoch.validation.items()}
        print(name, epoch.epoch, round(epoch.loss, 4), errors, f'{epoch.seconds:.0f} s', flush=True)

    state_file = options.runs / f'{name}.state'
    networks = train_committee(
        parts['train'], parts['validation'], settings, device=options.device, state_file=state_file, report=report
    )
    metrics = {
        part: evaluate(networks[0], parts[part], settings, options.device)
        for part in (['validation'] if options.no_test else ['validation', 'test'])
    }
    card = ModelCard(
        name=name,
        preset=settings.preset,
        architecture=networks[0].architecture,
        targets=['electronic', 'ionic'],
        members=len(networks),
        elements=[int(z) for z in sorted(set(parts['train'].crystals.atomic_numbers))],
        functional=', '.join(sorted(set(parts['train'].functional.tolist()))),
        training={
            'data': f'{options.data.name}, split {options.split}',
            'rows': {part: len(rows) for part, rows in parts.items()},
            'hash': training_hash(parts['train']),
            'settings': settings.model_dump(),
        },
        metrics=metrics,
    )
    save_model(options.runs / f'{name}.safetensors', networks, card, trained_on([], parts['train']))
    result = {'recipe': options.name or options.recipe, 'split': options.split, 'epochs': settings.epochs}
    result |= {'rows': len(parts['train']), **metrics}
    (options.runs / f'{name}.json').write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=['run', 'table'])
    parser.add_argument('data', type=Path, help='labelled JSON lines or dataset.npz')
    parser.add_argument('splits', type=Path, help='JSON: splits → name → part → ids')
    parser.add_argument('--recipe', choices=sorted(RECIPES), default='goectp')
    parser.add_argument('--split', choices=SPLITS, default='random-0')
    parser.add_argument('--epochs', type=int, default=60)
    parser.add_argument('--settings', help='JSON with changes of the settings of the recipe')
    parser.add_argument('--functional', default='PBEsol', help='functional of the labels')
    parser.add_argument(
        '--extra', nargs='*', metavar='FILE=FUNCTIONAL', help='further training rows; rest: rows in no part'
    )
    parser.add_argument('--name', help='name of the run; default: the recipe')
    parser.add_argument('--no-test', action='store_true', help='do not evaluate the test rows (ablations)')
    parser.add_argument('--model', nargs='*', default=[], metavar='SPLIT=FILE', help='table: models of goectp train')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--runs', type=Path, default=Path('runs/accuracy'))
    options = parser.parse_args()
    if options.what == 'run':
        run(options)
    else:
        print_tables(options.data, options.splits, options.runs, options.model)


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main()

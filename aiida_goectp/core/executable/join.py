"""``goectp join``: read, calibrate, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.executable.model_output import echo_metrics
from aiida_goectp.core.executable.options import FILE, complete_model, model_options
from aiida_goectp.core.executable.output_lock import locked_output
from aiida_goectp.core.executable.status import ExecutableError, Status, record_errors
from aiida_goectp.core.executable.traininputs import split_dataset, with_functional
from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.formats.model_card import ModelCard, member_hashes, read_card, resolve_model
from aiida_goectp.core.formats.terminal import echo

__all__ = ('join',)

_MAX_MEMBERS = 32
"""as in a training"""


@click.command()
@click.argument('models', nargs=-1, required=True, metavar='MODEL…', shell_complete=complete_model)
@click.option('--dataset', required=True, type=FILE, help='Training data of the models: dataset.npz or JSON lines.')
@click.option(
    '--split', required=True, help='Name of the split, of the dataset or of the split file, used in training.'
)
@model_options('committee')
def join(models: tuple[str, ...], dataset: Path, output: Path, **options: Any) -> None:
    """Join separately trained models to one committee of all their members, in the given order.

    Each MODEL is a file or the name of a shipped model; the architectures may differ. The uncertainty of the committee
    is calibrated on the validation rows of the split, and its metrics are those of the test rows; no member may have
    been trained on either.

    Exit status: 0 finished, 2 bad input or model, 73 output cannot be written.
    """
    with locked_output(output, [*models, dataset, options['split_file']]), record_errors(Status(None)):
        files, cards = _read_models(models)
        data, functional = with_functional(Dataset.load(dataset), options['functional'])
        split, parts = split_dataset(data, options['split'], options['split_file'], 0, label=str(dataset))
        _check_models(cards, functional)
        _warn(cards, parts)
        card = _join(files, parts, output, options, f'{dataset.name}, split {split}', functional)
    if not options['quiet']:
        echo_metrics(card, output)


def _read_models(models: Sequence[str]) -> tuple[list[Path], list[ModelCard]]:
    """Return files and cards of models that can be joined.

    :raises ExecutableError: not a model, or models that cannot be members of one committee
    """
    from aiida_goectp.core.learning.committee_settings import check_same_kind

    try:
        files = [resolve_model(model) for model in models]
        cards = [read_card(file) for file in files]
        check_same_kind(cards)
        hashes = [item for file, card in zip(files, cards, strict=True) for item in member_hashes(file, card.members)]
    except ValueError as error:  # FormatError included
        raise ExecutableError('bad_model', str(error)) from error
    if len(set(hashes)) < len(hashes):
        raise ExecutableError('bad_model', 'duplicate network: each network can be a member only once')
    if len(hashes) > _MAX_MEMBERS:
        raise ExecutableError('bad_model', f'{len(hashes)} members; a committee has {_MAX_MEMBERS} at most')
    return files, cards


def _check_models(cards: Sequence[ModelCard], functional: str) -> None:
    """Check that the targets and functionals of the models are those of the dataset.

    :raises ExecutableError: they differ
    """
    first = cards[0]
    found = functional.split(', ')
    if first.targets != ['electronic', 'ionic']:
        raise ExecutableError('bad_model', f'{first.name}: targets {", ".join(first.targets)}; needs electronic, ionic')
    if not set(found) <= set(first.functional.split(', ')):
        raise ExecutableError(
            'bad_model',
            f'{first.name}: trained on functional {first.functional}; the labels of the dataset have {functional}; '
            'give the dataset on which the models were trained',
        )
    predicted, names = first.predicted_functional, first.architecture.get('functionals', [])
    if predicted is not None and predicted not in trained_as(found, names).values():
        raise ExecutableError(
            'bad_model',
            f'{first.name}: predicts functional {first.predicted_functional}; the dataset has no such labels; give the '
            'dataset on which the models were trained',
        )


def _warn(cards: Sequence[ModelCard], parts: Mapping[str, Dataset]) -> None:
    """Print warnings where metrics or uncertainty of the committee may be wrong."""
    from aiida_goectp.core.learning.calibrate import MIN_CALIBRATION_ROWS, training_hash

    expected = training_hash(parts['train'])
    for name, record in (item for card in cards for item in _trainings(card.name, card.training)):
        if 'parent' in record or record.get('hash') != expected:
            what = 'was fine-tuned from a model that may have been' if 'parent' in record else 'was'
            echo(
                f'warning: {name} {what} trained on rows other than the part train of the split; if validation or test '
                'rows were among them, errors and intervals of the committee are too small',
                err=True,
            )
    if (rows := len(parts['validation'])) < MIN_CALIBRATION_ROWS:
        echo(f'warning: {rows} validation rows; a calibrated uncertainty needs {MIN_CALIBRATION_ROWS}', err=True)


def _trainings(name: str, record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and record of each training of a model; those of the members of a joined one."""
    for member in record.get('joined', []):
        yield from _trainings(member.get('name', name), member)
    if 'joined' not in record:
        yield name, record


def _join(
    files: Sequence[Path],
    parts: dict[str, Dataset],
    output: Path,
    options: Mapping[str, Any],
    data: str,
    functional: str,
) -> ModelCard:
    """Write the committee and return its card."""
    import torch

    from aiida_goectp.core.learning.committee import join_members

    if options['threads']:
        torch.set_num_threads(options['threads'])
    return join_members(
        [file.read_bytes() for file in files],
        parts,
        None,
        output,
        name=options['name'] or output.stem,
        data=data,
        functional=functional,
        **{name: options[name] for name in ('licence', 'citation', 'notes')},
    )

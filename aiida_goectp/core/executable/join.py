"""``goectp join``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.core.executable.model_output import echo_metrics
from aiida_goectp.core.executable.options import card_options
from aiida_goectp.core.executable.status import ExecutableError, Status, record_errors, report_error

if TYPE_CHECKING:
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.formats.model_card import ModelCard

__all__ = ('join',)

_PATH = click.Path(exists=True, dir_okay=False)
_MOST = 32
"""members; as a training has at most"""


@click.command()
@click.argument('models', nargs=-1, required=True, metavar='MODEL…')
@click.option('--dataset', required=True, type=_PATH, help='What they were trained on: dataset.npz or JSON lines.')
@click.option('--output', required=True, type=click.Path(dir_okay=False), help='Model file to write (.safetensors).')
@click.option('--split', required=True, help='Name of the split of the dataset, or of the file, they were trained on.')
@click.option('--split-file', type=_PATH, help='JSON: splits → name → part → ids.')
@click.option('--threads', type=click.IntRange(min=1), help='CPU threads.')
@click.option('--quiet', is_flag=True, help='No figures.')
@card_options('committee')
def join(models: tuple[str, ...], dataset: str, output: str, **options: Any) -> None:
    """Join models that were trained apart to one committee, of all their members in order.

    Each MODEL is a file or the name of a shipped model; their networks may differ. The uncertainty of the committee is
    calibrated on the validation rows of the split, and its figures are those of the test rows: no member may have
    learnt from either.

    Exit status: 0 finished, 2 bad input or model.
    """
    if not Path(output).parent.is_dir():
        report_error(ExecutableError('bad_input', f'{output}: there is no folder {Path(output).parent}; make it first'))
    with record_errors(Status(None)):
        card = _join(models, Path(dataset), Path(output), options)
    if not options['quiet']:
        echo_metrics(card, Path(output))


def _join(models: tuple[str, ...], source: Path, output: Path, options: dict[str, Any]) -> ModelCard:
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.executable.traininputs import name_functional, split_dataset
    from aiida_goectp.core.formats.model_card import member_hashes, read_card, resolve_model
    from aiida_goectp.core.learning.committee_settings import check_same_kind

    try:
        files = [resolve_model(model) for model in models]
        cards = [read_card(file) for file in files]
        check_same_kind(cards)
    except ValueError as error:  # FormatError among them
        raise ExecutableError('bad_model', str(error)) from error
    weights = [found for file, card in zip(files, cards, strict=True) for found in member_hashes(file, card.members)]
    if len(set(weights)) < len(weights):
        raise ExecutableError('bad_model', 'one of the networks is given twice; its weights would count twice')
    data, functional = name_functional(Dataset.load(source), options['functional'])
    split, parts = split_dataset(data, options['split'], options['split_file'], 0, label=str(source))
    _check(cards, parts, functional)
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
        data=f'{source.name}, split {split}',
        functional=functional,
        **{name: options[name] for name in ('licence', 'citation', 'notes')},
    )


def _check(cards: list[ModelCard], parts: dict[str, Dataset], functional: str) -> None:
    """Refuse models that mean other tensors than the rows, and warn of those that may know the answers."""
    from aiida_goectp.core.learning.calibrate import FEWEST, training_hash

    first = cards[0]
    if first.targets != ['electronic', 'ionic']:
        raise ExecutableError(
            'bad_model', f'{first.name}: predicts {", ".join(first.targets)}; needs electronic and ionic'
        )
    if sum(card.members for card in cards) > _MOST:
        raise ExecutableError('bad_model', f'a committee has {_MOST} members at most')
    if not set(functional.split(', ')) <= set(first.functional.split(', ')):
        raise ExecutableError(
            'bad_model',
            f'{first.name}: learnt from labels of {first.functional}, and those of the dataset are of {functional}; '
            'join models with the rows that taught them',
        )
    told = first.architecture.get('functionals', [])
    if told and told[0] not in functional.split(', '):
        raise ExecutableError(
            'bad_model',
            f'{first.name}: predicts {told[0]}, and the dataset has no label of it to calibrate and judge by; give the '
            'rows that taught it',
        )
    for name, record in (found for card in cards for found in _trainings(card.name, card.training)):
        if 'parent' in record or record.get('hash') != training_hash(parts['train']):
            what = 'goes on from a model that' if 'parent' in record else 'has'
            click.echo(
                f'warning: {name} {what} learnt from other rows than part train of the split; if validation or '
                'test rows were among them, its errors look too small and its intervals are too narrow',
                err=True,
            )
    if len(parts['validation']) < FEWEST:
        click.echo(
            f'warning: {len(parts["validation"])} validation rows; with fewer than {FEWEST} the committee states no '
            'calibrated uncertainty',
            err=True,
        )


def _trainings(name: str, record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and record of each training of a model; what was joined was not trained itself."""
    for member in record.get('joined', []):
        yield from _trainings(member.get('name', name), member)
    if 'joined' not in record:
        yield name, record

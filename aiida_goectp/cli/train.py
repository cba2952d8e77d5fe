"""``aiida-goectp train``."""

from __future__ import annotations

import json
from typing import Any

import click
from aiida.cmdline.params.types import DataParamType
from aiida.cmdline.utils import decorators, echo

from aiida_goectp.cli.jobs import checked, default_code, job_options, scheduler_options, submit
from aiida_goectp.cli.params import ModelParam, latest

__all__ = ('train',)

_SETTINGS = ('preset', 'members', 'epochs', 'batch_size', 'learning_rate', 'patience', 'keep', 'precision', 'seed')
_ONE = click.IntRange(min=1)


@click.command()
@click.argument('dataset', required=False, type=DataParamType(sub_classes=('aiida.data:goectp.dataset',)))
@click.option('--split', help='Split of the dataset; without, a tenth is held out twice, by the seed.')
@click.option('--model', type=ModelParam(), help='Go on from a model (fine-tuning): node, shipped name or file.')
@click.option('--name', help='Name of the new model.')
@click.option('--preset', type=click.Choice(['goectp', 'published', 'descriptors']), help='Of network and graph.')
@click.option('--members', type=_ONE, help='Networks of the committee.')
@click.option('--parallel', type=_ONE, help='Train the members in jobs of their own, so many at the same time.')
@click.option('--epochs', type=_ONE)
@click.option('--batch-size', type=click.IntRange(min=2), help='Crystals in a step.')
@click.option('--learning-rate', type=float, help='Peak of the learning rate.')
@click.option('--patience', type=_ONE, help='Stop after so many epochs without a better validation.')
@click.option('--keep', type=click.Choice(['last', 'best']), help='Weights of the last epoch, or of the best one.')
@click.option('--precision', type=click.Choice(['float32', 'bfloat16']), help='bfloat16: mixed precision.')
@click.option('--seed', type=click.IntRange(min=0), help='Of weights, order and the random split.')
@click.option('--set', 'more', type=(str, str), multiple=True, metavar='SETTING JSON', help='Any other setting.')
@click.option('--licence', help='For the model card.')
@click.option('--citation', help='For the model card.')
@click.option('--notes', help='For the model card.')
@job_options
@decorators.with_dbenv()
def train(dataset: Any, run: bool, label: str, **values: Any) -> None:
    """Train a model on DATASET, a node made by `aiida-goectp dataset`; the newest one if not given.

    Jobs that end too early go on where they stopped. The model is a node whose history leads back to every label.
    """
    from aiida_goectp.cli.views.progress import run_and_report

    dataset = dataset if dataset is not None else latest('goectp.dataset')
    if dataset is None:
        raise click.UsageError('there is no dataset yet; make one with `aiida-goectp dataset`')
    builder = _builder(dataset, values)
    builder.metadata.label = label
    if not run:
        submit(builder)
        return
    echo.echo_report(f'training on the {len(dataset)} crystals of node {dataset.pk}')
    try:
        node = run_and_report(builder)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from aiida_goectp.cli.views.nodes import show_node

    show_node(node, 20)
    if not node.is_finished_ok:
        echo.echo_critical(f'the work chain failed; `verdi process report {node.pk}` tells more')


def _builder(dataset: Any, values: dict[str, Any]) -> Any:
    """Return the builder that the options ask for.

    :raises click.UsageError: with what is wrong
    """
    from aiida import orm

    from aiida_goectp.workflows.committee import TrainCommitteeWorkChain
    from aiida_goectp.workflows.train import TrainWorkChain

    settings = {name: values[name] for name in _SETTINGS if values[name] is not None} | _more(values['more'])
    overrides: dict[str, Any] = {'goectp': {'settings': settings}}
    if values['device'] is not None:
        overrides['goectp']['device'] = values['device']
    card = {name: values[name] for name in ('licence', 'citation', 'notes') if values[name] is not None}
    nodes = {
        'split': orm.Str(values['split']) if values['split'] else None,
        'name': orm.Str(values['name']) if values['name'] else None,
        'model': values['model'],
        'card': orm.Dict(card) if card else None,
    }
    job = (
        values['code'] or default_code(),
        dataset,
        values['protocol'],
        overrides,
        scheduler_options(values),
        values['gpus'],
    )
    try:
        if values['parallel'] is None:
            return checked(TrainWorkChain.get_builder_from_protocol(*job, **nodes))
        return checked(
            TrainCommitteeWorkChain.get_builder_from_protocol(*job, max_concurrent=values['parallel'], **nodes)
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _more(pairs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return the settings that were given as JSON."""
    settings = {}
    for name, text in pairs:
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError as error:
            raise click.UsageError(f'--set {name}: not JSON ({error}); text needs quotes: \'"text"\'') from error
    return settings

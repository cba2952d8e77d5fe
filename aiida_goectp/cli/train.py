"""``aiida-goectp train``."""

from __future__ import annotations

from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import job_options, parse_json_settings, scheduler_options
from aiida_goectp.cli.params import DATASET, ModelParam
from aiida_goectp.core.learning.settings import PRESET_NAMES

__all__ = ('train',)

_SETTINGS = ('preset', 'members', 'epochs', 'batch_size', 'learning_rate', 'patience', 'keep', 'precision', 'seed')
_ONE = click.IntRange(min=1)


@click.command()
@click.argument('dataset', required=False, type=DATASET)
@click.option(
    '--split', help='Split of the dataset.  [default: random by the seed, one tenth each for validation and test]'
)
@click.option('--model', type=ModelParam(), help='Fine-tune this model: a node, shipped model or model file.')
@click.option('--name', help='Name of the new model.')
@click.option('--preset', type=click.Choice(PRESET_NAMES), help='Preset of network and graph; default: goectp.')
@click.option('--members', type=_ONE, help='Number of networks in the committee.')
@click.option('--parallel', type=_ONE, help='Train each member in its own job, with at most this many concurrent jobs.')
@click.option('--epochs', type=_ONE, help='Number of epochs.')
@click.option('--batch-size', type=click.IntRange(min=2), help='Number of crystals per optimisation step.')
@click.option('--learning-rate', type=float, help='Peak learning rate.')
@click.option('--patience', type=_ONE, help='Stop after this many epochs without a lower validation error.')
@click.option('--keep', type=click.Choice(['last', 'best']), help='Keep the weights of the last or of the best epoch.')
@click.option(
    '--precision', type=click.Choice(['float32', 'bfloat16']), help='Numerical precision; bfloat16 is mixed precision.'
)
@click.option('--seed', type=click.IntRange(min=0), help='Seed of the weights, the batches and the random split.')
@click.option(
    '--set',
    'more',
    type=(str, str),
    multiple=True,
    metavar='SETTING JSON',
    help='Any other training setting; may be given several times.',
)
@click.option('--licence', help='Licence in the model card.')
@click.option('--citation', help='Citation in the model card.')
@click.option('--notes', help='Notes in the model card.')
@job_options
@decorators.with_dbenv()
def train(dataset: Any, run: bool, label: str, **values: Any) -> None:
    """Train a model on DATASET.

    DATASET is a node created by `aiida-goectp dataset`; the default is the latest one. Interrupted jobs are resumed.
    The result is a model node whose provenance contains every label.
    """
    from aiida_goectp.cli.jobs import launch
    from aiida_goectp.cli.queries import latest_node

    dataset = dataset if dataset is not None else latest_node('goectp.dataset')
    if dataset is None:
        raise click.UsageError('no dataset is stored; create one with `aiida-goectp dataset`')
    builder = _builder(dataset, values)
    builder.metadata.label = label
    launch(builder, run, f'training on the {len(dataset)} crystals of node {dataset.pk}')


def _builder(dataset: Any, values: dict[str, Any]) -> Any:
    """Return the builder of the training.

    :raises click.UsageError: invalid option values
    """
    from aiida import orm

    from aiida_goectp.cli.jobs import default_code, validated
    from aiida_goectp.workflows.committee import TrainCommitteeWorkChain
    from aiida_goectp.workflows.train import TrainWorkChain

    settings = {name: values[name] for name in _SETTINGS if values[name] is not None}
    settings |= parse_json_settings(values['more'])
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
    arguments = (
        values['code'] or default_code(),
        dataset,
        values['protocol'],
        overrides,
        scheduler_options(values),
        values['gpus'],
    )
    try:
        if values['parallel'] is None:
            return validated(TrainWorkChain.get_builder_from_protocol(*arguments, **nodes))
        return validated(
            TrainCommitteeWorkChain.get_builder_from_protocol(*arguments, max_concurrent=values['parallel'], **nodes)
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error

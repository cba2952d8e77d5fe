"""``aiida-goectp backtest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.params.types import DataParamType
from aiida.cmdline.utils import echo

if TYPE_CHECKING:
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.learning.settings import TrainSettings
    from aiida_goectp.core.selection.backtest import BacktestSettings

__all__ = ('backtest',)

_ONE = click.IntRange(min=1)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _DatasetParam(DataParamType):
    """A dataset.npz or labelled JSON lines, else the PK, UUID or label of a node."""

    name = 'DATASET'

    def __init__(self) -> None:
        super().__init__(sub_classes=('aiida.data:goectp.dataset',))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a file, or the node."""
        if isinstance(value, Path) or Path(str(value)).is_file():
            return Path(value)
        from aiida.cmdline.utils.decorators import load_backend_if_not_loaded

        load_backend_if_not_loaded()
        return super().convert(value, param, ctx)


@click.command()
@click.argument('dataset', type=_DatasetParam())
@click.option(
    '--output', required=True, type=click.Path(file_okay=False, path_type=Path), help='Folder of the results.'
)
@click.option('--figure-of-merit', default='total', show_default=True, help='What is looked for, more is better.')
@click.option('--top-k', type=_ONE, default=100, show_default=True, help='So many of the best are to be found.')
@click.option('--start', type=_ONE, default=200, show_default=True, help='Labels that a campaign begins with.')
@click.option('--batch', type=_ONE, default=40, show_default=True, help='Labels that a round buys.')
@click.option('--budget', type=_ONE, default=600, show_default=True, help='Labels that a campaign buys.')
@click.option(
    '--acquisition',
    'acquisitions',
    multiple=True,
    metavar='NAME[:SETTING=NUMBER,…]',
    help='Several times for several, e.g. upper_confidence_bound:kappa=0.5.  [default: greedy, upper_confidence_bound]',
)
@click.option('--seeds', type=_ONE, default=5, show_default=True, help='Campaigns of each acquisition.')
@click.option(
    '--unseen-elements/--no-unseen-elements',
    default=True,
    show_default=True,
    help='Whether crystals with elements that no label has shown yet may be picked.',
)
@click.option('--settings', type=_FILE, help='JSON object: settings of the training.')
@click.option('--policy', type=_FILE, help='JSON object: when and how to retrain.')
@click.option(
    '--model', metavar='MODEL', help='Begin with a model: a file or a shipped one. It must not know the labels.'
)
@click.option('--functional', default='unknown', help='Of rows of JSON lines that do not say.')
@click.option('--device', default='auto', show_default=True, help='auto, cpu, cuda, cuda:1, …')
@click.option('--processes', type=_ONE, default=1, show_default=True, help='Seeds at the same time.')
@click.option('--quiet', is_flag=True, help='No progress.')
def backtest(dataset: Any, output: Path, model: str | None, processes: int, quiet: bool, **values: Any) -> None:
    """Hide the labels of DATASET, and count how many of its best crystals a campaign finds with how many labels.

    The functions that decide in a campaign ask for the labels, and networks are trained as a campaign retrains them, in
    this process and without a job. DATASET is a dataset.npz, labelled JSON lines (.jsonl, .jsonl.gz), or a node.

    Each round is kept: a backtest that was killed goes on where it stopped when the same command is given again.
    OUTPUT gets results.json and discovery.png.
    """
    from aiida_goectp.cli.views.backtests import discovery_table, shown_progress
    from aiida_goectp.cli.views.tables import show_table
    from aiida_goectp.core.figures import discovery_figure, save_figure
    from aiida_goectp.core.selection.backtest import BacktestStore, make_hidden_pool, run_backtest

    try:
        settings = _settings(values, model)
        content = _model(model)
        data = _load(dataset, values['functional'])
        training = _training(values['settings'], model, set(data.functional.tolist()))
        problem = make_hidden_pool(data, settings)
        identity = {
            'dataset': data.hash,
            'backtest': settings.model_dump(mode='json', exclude={'seeds', 'acquisitions'}),
            'training': training.model_dump(mode='json', exclude_unset=True),
            'model': _hash(model),
        }
        folder = BacktestStore(output)
        resumed = folder.claim(identity)
        surrogate = _surrogate(training, values['device'], processes)
        pool = len(problem.dataset) - settings.start
        if not quiet:
            _announce(problem.left_out, pool, settings, resumed, model)
        with shown_progress(settings, quiet) as report:
            options: Any = {'model': content, 'processes': processes, 'report': report}
            summaries = run_backtest(problem, surrogate, settings, folder, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    show_table(discovery_table(summaries, pool, settings.budget))
    title = f'{settings.figure_of_merit}, {settings.start} labels to begin with'
    figure = save_figure(discovery_figure(summaries, pool, title), output / 'discovery.png')
    echo.echo_success(f'wrote {folder.results} and {figure}')


def _settings(values: dict[str, Any], model: str | None) -> BacktestSettings:
    """Return what the options ask for.

    :raises FormatError: an option that is wrong
    """
    from aiida_goectp.core.selection import FROM_LABELS, RetrainingPolicy, read_settings
    from aiida_goectp.core.selection.backtest import BacktestSettings

    fields = {name: values[name] for name in ('figure_of_merit', 'top_k', 'start', 'budget', 'seeds')}
    fields['batch_size'] = values['batch']
    fields['filters'] = {'unseen_elements': values['unseen_elements']}
    if values['acquisitions']:
        fields['acquisitions'] = values['acquisitions']
    # a model that was given is gone on from; one that the labels alone have made is made anew
    policy = FROM_LABELS if model is None else RetrainingPolicy()
    if values['policy'] is not None:
        given = read_settings(RetrainingPolicy, values['policy'].read_bytes(), str(values['policy']))
        policy = policy.model_copy(update=given.model_dump(exclude_unset=True))
    fields['policy'] = policy
    return read_settings(BacktestSettings, fields, 'backtest')


def _training(file: Path | None, model: str | None, found: set[str]) -> TrainSettings:
    """Return the settings of the training; a model gives the network, if the file says nothing of it.

    :param found: functionals of the labels
    :raises FormatError: settings that are wrong
    """
    from aiida_goectp.core.formats.model_card import read_card, resolve_model
    from aiida_goectp.core.learning.settings import FEW_LABELS, TrainSettings, settings_like
    from aiida_goectp.core.selection import read_settings

    given = FEW_LABELS if file is None else read_settings(TrainSettings, file.read_bytes(), str(file))
    values = given.model_dump(exclude_unset=True)
    if model is not None:
        if file is None:
            values.pop('preset')
        card = read_card(resolve_model(model))
        values = settings_like(values, card, found)
    return read_settings(TrainSettings, values, 'settings')


def _model(model: str | None) -> bytes | None:
    from aiida_goectp.core.formats.model_card import resolve_model

    return None if model is None else resolve_model(model).read_bytes()


def _hash(model: str | None) -> str | None:
    from aiida_goectp.core.formats.model_card import model_hash, resolve_model

    return None if model is None else model_hash(resolve_model(model))


def _load(dataset: Any, functional: str) -> Dataset:
    from aiida_goectp.core.datasets.dataset import Dataset

    return Dataset.load(dataset, functional) if isinstance(dataset, Path) else dataset.dataset


def _surrogate(training: TrainSettings, device: str, processes: int) -> Any:
    # torch takes seconds to import, and what was given wrongly is known before
    from aiida_goectp.core.learning.device import choose_device
    from aiida_goectp.core.learning.surrogate import NetworkSurrogate

    # processes share the cores; threads of several would wait for one another
    return NetworkSurrogate(training, choose_device(device), 1 if processes > 1 else None)


def _announce(
    left_out: dict[str, int], pool: int, settings: BacktestSettings, resumed: bool, model: str | None
) -> None:
    counts = ''.join(f'; {count} rows left out: {reason}' for reason, count in left_out.items())
    echo.echo_report(f'{settings.start} labels to begin with, {pool:,} crystals to choose from{counts}')
    if resumed:
        echo.echo_report('going on where the backtest stopped')
    if model is not None:
        echo.echo_warning(f'the counts mean something only if {model} was trained without the labels of this dataset')

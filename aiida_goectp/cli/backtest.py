"""``aiida-goectp backtest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import JSON, RAW
from aiida_goectp.cli.params import FILE, DatasetOrFileParam, FunctionalParam, complete_merit

if TYPE_CHECKING:
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.learning.settings import TrainSettings
    from aiida_goectp.core.selection.backtest import BacktestSettings

__all__ = ('backtest',)

_ONE = click.IntRange(min=1)


@click.command()
@click.argument('dataset', type=DatasetOrFileParam())
@click.option(
    '--output', required=True, type=click.Path(file_okay=False, path_type=Path), help='Folder for the results.'
)
@click.option(
    '--figure-of-merit',
    default='total',
    show_default=True,
    shell_complete=complete_merit,
    help='Figure of merit to maximise.',
)
@click.option('--top-k', type=_ONE, default=100, show_default=True, help='Number of top candidates to recover.')
@click.option('--start', type=_ONE, default=200, show_default=True, help='Number of labels at the start.')
@click.option('--batch', type=_ONE, default=40, show_default=True, help='Number of labels acquired per round.')
@click.option('--budget', type=_ONE, default=600, show_default=True, help='Number of labels acquired in all rounds.')
@click.option(
    '--acquisition',
    'acquisitions',
    multiple=True,
    metavar='NAME[:SETTING=NUMBER,…]',
    help='Acquisition function, e.g. upper_confidence_bound:kappa=0.5; may be given several times.  '
    '[default: greedy, upper_confidence_bound]',
)
@click.option('--seeds', type=_ONE, default=5, show_default=True, help='Number of campaigns per acquisition function.')
@click.option(
    '--unseen-elements/--no-unseen-elements',
    default=True,
    show_default=True,
    help='Pick crystals with elements that occur in no label so far, or not.',
)
@click.option(
    '--pruning',
    metavar='SETTING=NUMBER,…',
    help='Let most models predict only the crystals that could be picked, e.g. margin=3,every=4.  [default: all]',
)
@click.option('--settings', type=FILE, help='JSON file of training settings.')
@click.option('--policy', type=FILE, help='JSON file of the retraining policy.')
@click.option(
    '--model',
    metavar='MODEL',
    help='Initial model: a file or a shipped model. Its training set must not contain the labels of DATASET.',
)
@click.option('--functional', type=FunctionalParam(), default='unknown', help='Functional of JSON lines without one.')
@click.option('--device', default='auto', show_default=True, help='Device: auto, cpu, cuda or cuda:N.')
@click.option('--processes', type=_ONE, default=1, show_default=True, help='Number of seeds to run in parallel.')
@click.option('--quiet', is_flag=True, help='Print no progress.')
@JSON
@RAW
def backtest(dataset: Any, output: Path, model: str | None, processes: int, quiet: bool, **values: Any) -> None:
    """Run campaigns on DATASET, whose labels are hidden.

    Counts the labels that a campaign needs to find the best crystals. Picking and retraining are those of a campaign;
    the networks are trained in this process. DATASET is a dataset.npz, labelled JSON lines (.jsonl, .jsonl.gz), or a
    node.

    An interrupted backtest is resumed after its last complete round by the same command. The results are results.json
    and discovery.png in the output folder.
    """
    from aiida_goectp.cli.views.backtests import discovery_table, report_progress
    from aiida_goectp.core.crystals.compiled.software import software
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.figures import discovery_figure, save_figure
    from aiida_goectp.core.formats.json_input import parse_json
    from aiida_goectp.core.formats.model_card import model_hash, resolve_model
    from aiida_goectp.core.formats.text_tables import show_table
    from aiida_goectp.core.selection.backtest import BacktestStore, make_hidden_pool, run_backtest

    try:
        settings = _settings(values, model)
        path = None if model is None else resolve_model(model)
        data = Dataset.load(dataset, values['functional']) if isinstance(dataset, Path) else dataset.dataset
        pool = make_hidden_pool(data, settings)
        training = _training(values['settings'], path, pool.dataset, settings.start)
        unused = ['pruning'] if settings.pruning is None else []  # as in folders of earlier versions
        identity = {
            'dataset': data.content_hash,
            'backtest': settings.model_dump(mode='json', exclude={'seeds', 'acquisitions', *unused}),
            'training': training.model_dump(mode='json', exclude_unset=True),
            'model': None if path is None else model_hash(path),
            'software': software('crystals', 'datasets', 'dielectric', 'learning', 'network', 'selection'),
        }
        store = BacktestStore(output)
        resumed = store.claim(identity)
        surrogate = _surrogate(training, values['device'], processes)
        candidates = len(pool.dataset) - settings.start
        if not quiet:
            _announce(pool.left_out, candidates, settings, resumed, model)
        content = None if path is None else path.read_bytes()
        with report_progress(settings, quiet) as report:
            options: Any = {'model': content, 'processes': processes, 'report': report}
            summaries = run_backtest(pool, surrogate, settings, store, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if echo.output_format() == 'json':
        echo.echo_json(parse_json(store.results.read_bytes()))
    else:
        show_table(discovery_table(summaries, candidates, settings.budget))
        for item in summaries:
            if item.predicted is not None:
                echo.echo(f'{item.name}: {item.predicted:.0%} as many predictions as without pruning')
    title = f'{settings.figure_of_merit}, {settings.start} labels at the start'
    figure = save_figure(discovery_figure(summaries, candidates, title), output / 'discovery.png')
    echo.echo_success(f'wrote {store.results} and {figure}')


def _settings(values: dict[str, Any], model: str | None) -> BacktestSettings:
    """Return the settings of the backtest.

    :raises FormatError: invalid option values
    """
    from aiida_goectp.core.formats.settings import read_settings
    from aiida_goectp.core.selection import FROM_LABELS, RetrainingPolicy
    from aiida_goectp.core.selection.backtest import BacktestSettings, read_pruning

    fields = {name: values[name] for name in ('figure_of_merit', 'top_k', 'start', 'budget', 'seeds')}
    fields['batch_size'] = values['batch']
    fields['filters'] = {'unseen_elements': values['unseen_elements']}
    if values['acquisitions']:
        fields['acquisitions'] = values['acquisitions']
    if values['pruning'] is not None:
        fields['pruning'] = read_pruning(values['pruning'])
    # an initial model is fine-tuned; without one, each model is trained from scratch
    policy = FROM_LABELS if model is None else RetrainingPolicy()
    if values['policy'] is not None:
        given = read_settings(RetrainingPolicy, values['policy'].read_bytes(), str(values['policy']))
        policy = policy.model_copy(update=given.model_dump(exclude_unset=True))
    fields['policy'] = policy
    return read_settings(BacktestSettings, fields, 'backtest')


def _training(file: Path | None, model: Path | None, labels: Dataset, start: int) -> TrainSettings:
    """Return the training settings; the architecture is that of the initial model unless the file contains one.

    :param labels: all labels
    :param start: number of labels at the start
    :raises FormatError: invalid settings
    """
    from aiida_goectp.core.formats.model_card import read_card
    from aiida_goectp.core.formats.settings import read_settings
    from aiida_goectp.core.learning.settings import FEW_LABELS, TrainSettings, settings_from_labels, settings_like

    share = float(labels.has_force_constants.mean())
    default = settings_from_labels(start, int(share * start)) or FEW_LABELS
    given = default if file is None else read_settings(TrainSettings, file.read_bytes(), str(file))
    values = given.model_dump(exclude_unset=True)
    if model is not None:
        if file is None:
            values.pop('preset')
        values = settings_like(values, read_card(model), set(labels.functional.tolist()))
    return read_settings(TrainSettings, values, 'settings')


def _surrogate(training: TrainSettings, device: str, processes: int) -> Any:
    # torch takes seconds to import: after all checks of the input
    from aiida_goectp.core.learning.device import choose_device
    from aiida_goectp.core.learning.surrogate import NetworkSurrogate

    # one thread per process: several processes share the cores
    return NetworkSurrogate(training, choose_device(device), 1 if processes > 1 else None)


def _announce(
    left_out: dict[str, int], candidates: int, settings: BacktestSettings, resumed: bool, model: str | None
) -> None:
    counts = ''.join(f'; {count} rows left out: {reason}' for reason, count in left_out.items())
    echo.echo_report(f'{settings.start} labels at the start, {candidates:,} candidates{counts}')
    if resumed:
        echo.echo_report('resuming the interrupted backtest')
    if model is not None:
        echo.echo_warning(f'the counts are valid only if {model} was trained without the labels of this dataset')

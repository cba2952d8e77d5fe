"""What a campaign writes down: its dataset, its rounds, why it ends, and the last ranking; as provenance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData

if TYPE_CHECKING:
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.selection import History

__all__ = (
    'begin_dataset',
    'begin_history',
    'collect_labels',
    'conclude_campaign',
    'grow_dataset',
    'rank_verified',
    'read_history',
    'record_round',
    'write_history',
)

_NOT_RUN = 'not run'


def read_history(node: orm.Dict) -> History:
    """Return the history that a node holds.

    :raises FormatError: it holds none
    """
    from aiida_goectp.core.selection import History, read_settings

    return read_settings(History, node.get_dict(), 'history')


def write_history(history: History) -> orm.Dict:
    """Return an unstored node of a history; it is plain data, and anybody can read and query it."""
    return orm.Dict(history.model_dump(mode='json'))


@calcfunction
def begin_dataset(dataset: DatasetData, seed: orm.Int, split: orm.Str | None = None) -> DatasetData:
    """Prepare a starting dataset, see :func:`aiida_goectp.core.selection.folds.with_base_split`.

    :param split: its base split; made if not given
    :raises ValueError: too few rows, or a part of the split without any
    """
    from aiida_goectp.core.selection import with_base_split

    return DatasetData(with_base_split(dataset.dataset, None if split is None else split.value, seed.value)[0])


@calcfunction
def begin_history(picking: orm.Dict) -> orm.Dict:
    """Return the history of a campaign that has done nothing yet."""
    from aiida_goectp.core.selection import History, PickSettings, read_settings

    settings = read_settings(PickSettings, picking.get_dict(), 'picking')
    return write_history(History(figure_of_merit=settings.figure_of_merit))


@calcfunction
def collect_labels(pool: CrystalsData, selection: orm.List, **nodes: DielectricData | orm.Dict) -> DatasetData:
    """Make a dataset of what was computed in a round, with the verdicts of the gates; refused rows included.

    Ids and property columns are those of the pool: a label is judged by the gap by which its crystal was ranked, not by
    the one that DFT gave, which stays in the response. The origin of a row is the content hash of the response, so that
    a response that was taken over makes the same dataset, and caching knows it.

    :param selection: as :func:`aiida_goectp.calculations.picks.pick_batch` gives it
    :param nodes: for each response ``dielectric_NAME`` and ``quality_NAME``, by the name of the structure
    :raises ValueError: no response, or one that belongs to no structure of the selection
    """
    from aiida_goectp.core.datasets.responses import JudgedResponse, dataset_from_responses

    items = {item['structure']: item for item in selection.get_list()}
    names = [name for name in items if f'dielectric_{name}' in nodes]
    wanted = {f'{kind}_{name}' for name in names for kind in ('dielectric', 'quality')}
    if not names or set(nodes) != wanted:
        odd = ', '.join(sorted(set(nodes) ^ wanted)) or 'nothing was given'
        raise ValueError(f'each response needs dielectric_NAME and quality_NAME; missing or unknown: {odd}')
    judged = []
    for name in names:
        response: Any = nodes[f'dielectric_{name}']
        origin = f'dielectric {response.content_hash}'
        judged.append(JudgedResponse(response.dielectric, nodes[f'quality_{name}'].get_dict(), origin))
    return DatasetData(_as_in_pool(dataset_from_responses(judged), pool, [items[name]['row'] for name in names]))


def _as_in_pool(labels: Dataset, pool: CrystalsData, rows: list[int]) -> Dataset:
    table = pool.crystals
    properties = {**labels.crystals.properties, **{name: table.properties[name][rows] for name in table.properties}}
    return replace(labels, crystals=replace(labels.crystals, ids=table.ids[rows], properties=properties))


@calcfunction
def grow_dataset(dataset: DatasetData, labels: DatasetData, split: orm.Str) -> dict[str, Any]:
    """Join labels to the dataset of a campaign, see :func:`aiida_goectp.core.selection.folds.add_labels`.

    :return: ``dataset``, and ``report``: duplicates, labels that were filled in, labels that disagree
    :raises ValueError: the dataset has no such split
    """
    from aiida_goectp.core.selection import add_labels

    grown, report = add_labels(dataset.dataset, labels.dataset, split.value)
    return {'dataset': DatasetData(grown), 'report': orm.Dict(report)}


@calcfunction
def record_round(
    history: orm.Dict,
    picks: PicksData,
    selection: orm.List,
    summary: orm.Dict,
    pool: CrystalsData,
    dataset: DatasetData,
    stop_rules: orm.Dict,
    record: orm.Dict,
    labels: DatasetData | None = None,
) -> orm.Dict:
    """Write a round into the history: what was picked, and what came of each pick.

    :param selection: of the picks
    :param summary: of ``goectp.verify``
    :param dataset: after the round
    :param record: what the work chain noted: ``core_hours`` of the predictions
    :param labels: of the round, see :func:`collect_labels`; none if nothing was computed
    """
    from aiida_goectp.core.selection import StopRules, read_settings, verified_round

    rules = read_settings(StopRules, stop_rules.get_dict(), 'stop_rules')
    outcomes = _outcomes(selection.get_list(), summary.get_dict(), None if labels is None else labels.dataset)
    done = verified_round(
        read_history(history), picks.picks, pool.crystals, outcomes, dataset.dataset, rules, record['core_hours']
    )
    return write_history(done)


def _outcomes(selection: list[dict[str, Any]], summary: dict[str, Any], labels: Dataset | None) -> dict[str, Any]:
    from aiida_goectp.core.selection import Outcome

    rows = {} if labels is None else {str(name): row for row, name in enumerate(labels.crystals.ids)}
    lines = {line['structure']: line for line in summary['rows']}
    found = {}
    for item in selection:
        line = lines[item['structure']]
        label = 'unfinished' if line['label'] == _NOT_RUN else line['label']
        row = rows.get(item['id'])
        tensors = {}
        if labels is not None and row is not None and label in ('accepted', 'electronic-only'):
            tensors = {'electronic': labels.electronic[row], 'ionic': labels.ionic[row]}
        failure = '' if tensors else str(line.get('reason') or '')
        found[item['hash']] = Outcome(label, failure, float(line.get('core_hours') or 0.0), **tensors)
    return found


@calcfunction
def conclude_campaign(
    history: orm.Dict, stop_rules: orm.Dict, record: orm.Dict, picks: PicksData | None = None
) -> dict[str, Any]:
    """Say why a campaign ends, and what it cost.

    :param record: what the work chain noted: ``core_hours`` of predictions after the last round; ``rule`` and
        ``reason`` if it was asked to stop
    :param picks: of a round that was not begun, since its candidates were not worth it
    :return: ``stop``: rule and reason; ``core_hours``
    :raises ValueError: no rule fires, and nobody has noted another reason
    """
    from aiida_goectp.core.selection import StopRules, read_settings, should_stop, summarise_candidates

    done = read_history(history)
    rules = read_settings(StopRules, stop_rules.get_dict(), 'stop_rules')
    if 'rule' in record.get_dict():
        stop = {key: record[key] for key in ('rule', 'reason')}
    else:
        fired = should_stop(done, rules, None if picks is None else summarise_candidates(picks.picks, rules))
        if fired is None:
            raise ValueError('no rule fires: the campaign goes on')
        stop = {'rule': fired.rule, 'reason': fired.reason}
    return {'stop': orm.Dict(stop), 'core_hours': orm.Float(done.core_hours + record['core_hours'])}


@calcfunction
def rank_verified(
    pool: CrystalsData, predictions: PredictionsData, dataset: DatasetData, history: orm.Dict, picking: orm.Dict
) -> RankingData:
    """Rank the pool by its labels where there are any, else by predictions.

    See :func:`aiida_goectp.core.selection.final_ranking.rank_verified`.
    """
    from aiida_goectp.core.selection import PickSettings, read_settings
    from aiida_goectp.core.selection.final_ranking import rank_verified as ranked

    filters = read_settings(PickSettings, picking.get_dict(), 'picking').filters
    done = read_history(history)
    return RankingData(ranked(pool.crystals, predictions.predictions, dataset.dataset, done, filters))

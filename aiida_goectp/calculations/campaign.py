"""Calcfunctions of a campaign: its dataset, its history, its end, and the final ranking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.calculations.datasets import responses_by_name
from aiida_goectp.calculations.verification import DUPLICATE, FAILED, INTERRUPTED, NOT_RUN, REUSED
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.responses import JudgedResponse, dataset_from_responses
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import final_ranking, folds
from aiida_goectp.core.selection.history import LABELLED, UNFINISHED, History
from aiida_goectp.core.selection.picking import PickSettings
from aiida_goectp.core.selection.rounds import Outcome, summarise_candidates, verified_round
from aiida_goectp.core.selection.stopping import StopRules, should_stop
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData

__all__ = (
    'add_core_hours',
    'begin_dataset',
    'begin_history',
    'collect_labels',
    'conclude_campaign',
    'functionals_of',
    'grow_dataset',
    'rank_verified',
    'read_history',
    'record_round',
    'reopen_failed',
    'write_history',
)


def read_history(node: orm.Dict) -> History:
    """Return the history that a node contains; that of a stored node is parsed once.

    :raises FormatError: the node contains no valid history
    """
    return _read_stored(node.uuid) if node.is_stored else read_settings(History, node.get_dict(), 'history')


@lru_cache(maxsize=8)
def _read_stored(uuid: str) -> History:
    return read_settings(History, orm.load_node(uuid).get_dict(), 'history')


def write_history(history: History) -> orm.Dict:
    """Return an unstored node of a history."""
    return orm.Dict(history.model_dump(mode='json'))


@calcfunction
def begin_dataset(dataset: DatasetData, seed: orm.Int, split: orm.Str | None = None) -> DatasetData:
    """Return a starting dataset with a base split, see :func:`aiida_goectp.core.selection.folds.with_base_split`.

    :param seed: of the base split
    :param split: base split of the dataset; made if not given
    :raises ValueError: too few rows, or a part of the split without rows
    """
    name = None if split is None else split.value
    return DatasetData(folds.with_base_split(dataset.dataset, name, seed.value)[0])


@calcfunction
def begin_history(picking: orm.Dict) -> orm.Dict:
    """Return the history of a campaign without rounds.

    :param picking: fields of :class:`aiida_goectp.core.selection.picking.PickSettings`
    """
    settings = read_settings(PickSettings, picking.get_dict(), 'picking')
    return write_history(History(figure_of_merit=settings.figure_of_merit))


@calcfunction
def add_core_hours(history: orm.Dict, core_hours: orm.Float) -> orm.Dict:
    """Add core-hours that belong to no round to the history, so that the budget of an extension contains them."""
    done = read_history(history)
    total = done.further_core_hours + core_hours.value
    return write_history(done.model_copy(update={'further_core_hours': total}))


@calcfunction
def reopen_failed(history: orm.Dict, ids: orm.List) -> orm.Dict:
    """Make failed picks candidates again, for an extension of the campaign.

    :param ids: of the picks; all failed ones if empty
    :raises ValueError: a pick of this id did not fail, or none failed
    """
    return write_history(read_history(history).reopened(ids.get_list()))


@calcfunction
def collect_labels(
    pool: CrystalsData, selection: orm.List, **nodes: Mapping[str, DielectricData | orm.Dict]
) -> DatasetData:
    """Make a dataset of the responses of a round and their gate results, refused responses included.

    Ids and property columns are those of the pool, so that the figure of merit of a label is computed with the band gap
    by which its crystal was ranked; the gap of the DFPT calculation is in the response. The origin of a row contains
    the content hash of the response, so that equal responses give equal datasets, which caching requires.

    :param selection: see :func:`aiida_goectp.calculations.picks.pick_batch`
    :param nodes: two namespaces by the names of the structures, ``responses`` and ``qualities``
    :raises ValueError: no response, a name in one namespace only, or one that is not in the selection
    """
    found = responses_by_name(nodes)
    items = [item for item in selection.get_list() if item['structure'] in found]
    if unknown := sorted(set(found) - {item['structure'] for item in items}):
        raise ValueError(f'responses: {", ".join(unknown)} is not in the selection')
    labels = []
    for item in items:
        response, quality = found[item['structure']]
        origin = f'dielectric {response.content_hash}'
        labels.append(JudgedResponse(response.dielectric, quality.get_dict(), origin))
    return DatasetData(_as_in_pool(dataset_from_responses(labels), pool, [item['row'] for item in items]))


def _as_in_pool(labels: Dataset, pool: CrystalsData, rows: list[int]) -> Dataset:
    """Return labels with ids and property columns of the pool."""
    table = pool.crystals
    properties = {**labels.crystals.properties, **{name: table.properties[name][rows] for name in table.properties}}
    return replace(labels, crystals=replace(labels.crystals, ids=table.ids[rows], properties=properties))


@calcfunction
def grow_dataset(dataset: DatasetData, labels: DatasetData, split: orm.Str) -> dict[str, Any]:
    """Add labels to the dataset of a campaign, see :func:`aiida_goectp.core.selection.folds.add_labels`.

    :param split: the base split
    :return: ``dataset``, and ``report``: duplicates, labels that were filled in, labels that differ
    :raises ValueError: an unknown split
    """
    grown, report = folds.add_labels(dataset.dataset, labels.dataset, split.value)
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
    model: ModelData | None = None,
) -> orm.Dict:
    """Add a round to the history: picks and their outcomes.

    :param selection: of the picks
    :param summary: output of ``goectp.verify``
    :param dataset: with the labels of the round
    :param record: noted by the work chain: ``core_hours`` of the predictions
    :param labels: of the round, see :func:`collect_labels`; not given if nothing was computed
    :param model: in use; of labels of several functionals, that of its first one is taken
    """
    rules = read_settings(StopRules, stop_rules.get_dict(), 'stop_rules')
    outcomes = _outcomes(selection.get_list(), summary.get_dict(), None if labels is None else labels.dataset)
    done = read_history(history)
    hours, functionals = record['core_hours'], functionals_of(model)
    return write_history(
        verified_round(done, picks.picks, pool.crystals, outcomes, dataset.dataset, rules, hours, functionals)
    )


def functionals_of(model: ModelData | None) -> list[str]:
    """Return the functionals that a model distinguishes, the predicted one first; none if there is only one."""
    return [] if model is None else list(model.card.architecture.get('functionals', []))


def _outcomes(selection: list[dict[str, Any]], summary: dict[str, Any], labels: Dataset | None) -> dict[str, Outcome]:
    """Return content hash in the pool → outcome of the pick.

    A failure is inconclusive if the calculation was interrupted, or if all calculations of the round failed and there
    were several: then the engine is at fault, not the crystals. A crystal that the engine refused has no calculation.
    """
    rows = {} if labels is None else {str(name): row for row, name in enumerate(labels.crystals.ids)}
    summaries = {row['structure']: row for row in summary['rows']}
    submitted = [row['label'] for row in summaries.values() if row.get('pk') is not None]
    nothing = len(submitted) > 1 and set(submitted) <= {FAILED, INTERRUPTED}
    found = {}
    for item in selection:
        noted = summaries[item['structure']]
        outcome = {NOT_RUN: UNFINISHED, INTERRUPTED: FAILED}.get(noted['label'], noted['label'])
        inconclusive = noted['label'] == INTERRUPTED or (nothing and outcome == FAILED and noted.get('pk') is not None)
        row = rows.get(item['id'])
        tensors = {}
        if labels is not None and row is not None and outcome in LABELLED:
            tensors = {'electronic': labels.electronic[row], 'ionic': labels.ionic[row]}
        failure = '' if tensors else str(noted.get('reason') or '')
        hours = float(noted.get('core_hours') or 0.0)
        started = noted.get('pk') is not None and noted['state'] not in (REUSED, DUPLICATE)
        found[item['hash']] = Outcome(outcome, failure, hours, **tensors, inconclusive=inconclusive, submitted=started)
    return found


@calcfunction
def conclude_campaign(
    history: orm.Dict, stop_rules: orm.Dict, record: orm.Dict, picks: PicksData | None = None
) -> dict[str, Any]:
    """Return the rule that ends a campaign, and its core-hours.

    :param record: noted by the work chain: ``core_hours`` of predictions after the last round; ``spent``, those of
        them before the campaign was stopped; ``rule`` and ``reason`` if it was stopped by something else than a rule or
        its candidates
    :param picks: of a round that was not started because of its candidates
    :return: ``stop``: rule and reason; ``core_hours``
    :raises ValueError: no rule is met, and no other is noted
    """
    done = read_history(history)
    rules = read_settings(StopRules, stop_rules.get_dict(), 'stop_rules')
    if 'rule' in record.get_dict():
        stop = {key: record[key] for key in ('rule', 'reason')}
    else:
        candidates = None if picks is None else summarise_candidates(picks.picks, rules)
        met = should_stop(done, rules, candidates, spent=record.get_dict().get('spent', 0.0))
        if met is None:
            raise ValueError('no stop rule is met: the campaign continues')
        stop = met._asdict()
    return {'stop': orm.Dict(stop), 'core_hours': orm.Float(done.core_hours + record['core_hours'])}


@calcfunction
def rank_verified(
    pool: CrystalsData,
    predictions: PredictionsData,
    dataset: DatasetData,
    history: orm.Dict,
    picking: orm.Dict,
    model: ModelData | None = None,
) -> RankingData:
    """Rank the pool by labels where there are any, otherwise by predictions.

    See :func:`aiida_goectp.core.selection.final_ranking.rank_verified`.

    :param model: that made the predictions; of labels of several functionals, that of its first one is taken
    """
    settings = read_settings(PickSettings, picking.get_dict(), 'picking')
    ranking = final_ranking.rank_verified(
        pool.crystals,
        predictions.predictions,
        dataset.dataset,
        read_history(history),
        settings.filters,
        keep_duplicates=not settings.diversity.copies,
        functionals=functionals_of(model),
    )
    return RankingData(ranking)

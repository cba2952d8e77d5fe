"""What a report shows: the result of a screen, a verification or a campaign, collected from its nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.figures.gap import GapPoints
from aiida_goectp.core.formats.names import GAP_COLUMN
from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.history import History
from aiida_goectp.core.selection.merit import figure_of_merit
from aiida_goectp.core.selection.ranking import Ranking, rank
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.report.campaigns import campaign_report
from aiida_goectp.report.candidates import (
    Candidates,
    Computed,
    Key,
    candidates_of_ranking,
    find_predictions,
    keys_of,
    rows_with,
)
from aiida_goectp.report.words import OUTCOME_REASONS
from aiida_goectp.workflows.campaign.state import last_history

__all__ = ('KINDS', 'GapRows', 'Result', 'load_gaps', 'load_result', 'selected_in')

KINDS = {'ScreenWorkChain': 'screen', 'VerifyWorkChain': 'verification', 'ActiveLearningWorkChain': 'campaign'}
"""process label → kind of result"""


@dataclass(frozen=True)
class Result:
    """Result of a process."""

    kind: str
    """screen, verification or campaign"""
    process: Any
    """node of the process"""
    candidates: Candidates
    models: tuple[Any, ...]
    """model nodes: of the predictions; in a campaign also those trained"""
    verifications: tuple[Any, ...] = ()
    """processes that computed candidates by DFPT"""
    ranking: RankingData | None = None
    """all crystals of a screen or campaign, of which the candidates may be a part"""
    selected: int = 0
    """number of selected crystals of a screen"""
    campaign: Mapping[str, Any] | None = None
    """see :func:`aiida_goectp.report.campaigns.campaign_report`"""

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """Summaries of the verifications that have ended."""
        return [item.outputs.summary.get_dict() for item in self.verifications if 'summary' in item.outputs]


def load_result(node: orm.Node, limit: int | None = None, further: Collection[str] = ()) -> Result:
    """Return the result of a process, or of the process that returned a data node.

    :param node: a screen, verification or campaign, or one of its outputs
    :param limit: candidates of a screen or campaign to load, the best first, besides those with a DFPT result; all if
        not given
    :param further: ids of candidates to load besides
    :raises ValueError: another node, or a process without a result to show
    """
    process = _process(node)
    kind = KINDS[process.process_label]
    if kind == 'screen':
        return _screen(process, limit, further)
    return _verification(process) if kind == 'verification' else _campaign(process, limit, further)


class GapRows(NamedTuple):
    """Band gaps and permittivities of all crystals of a result."""

    process: Any
    figure_of_merit: str
    points: GapPoints


def load_gaps(node: orm.Node) -> GapRows:
    """Return band gaps and permittivities, for which no crystal and no tensor is read.

    :param node: a screen, verification or campaign, or one of its outputs
    :raises ValueError: as :func:`load_result`
    """
    process = _process(node)
    kind = KINDS[process.process_label]
    if kind == 'verification':
        rows = _verification(process).candidates
        tensor = figure_of_merit(rows.figure_of_merit).tensor
        points = GapPoints(
            rows.gap, rows.averages[tensor], rows.deviations[tensor], rows.rank > 0, rows.selected, rows.ids
        )
        return GapRows(process, rows.figure_of_merit, points)
    if kind == 'screen':
        ranking, crystals, selected = _ranking_in(process), process.inputs.crystals, selected_in(process)
    else:
        history = _history_in(process)
        ranking, predictions = _campaign_ranking(process, history)
        crystals, selected = process.inputs.pool, set(_campaign_results(process, history)[0])
    with crystals.open_rows() as rows:
        column = rows.property_column(GAP_COLUMN)
    gap, marked = np.full(len(ranking), np.nan), np.zeros(len(ranking), dtype=bool)
    if column is not None and column.dtype.kind in 'fiu':
        gap[: len(column)] = column
    with ranking.open_rows() as file:
        merit = str(file.values['figure_of_merit'])
        tensor = figure_of_merit(merit).tensor
        marked[rows_with(keys_of(file), selected)] = True
        labels = np.full(len(ranking), '', dtype=object)
        labels[marked] = file.take(np.flatnonzero(marked), ['ids'])['ids']
        ranked, values, deviations = file.whole('rank') > 0, file.whole(tensor), file.whole(f'{tensor}_std')
        if kind == 'campaign':  # its ranking contains DFPT results where there are some
            values, deviations = _averages_of(file, predictions, tensor)
    return GapRows(process, merit, GapPoints(gap, values, deviations, ranked, marked, labels))


def _averages_of(ranking: TableFile[Ranking], predictions: Any, tensor: str) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted averages and their standard deviations (n,) of the rows of a ranking, NaN if unknown."""
    places = {key: row for row, key in enumerate(keys_of(ranking)) if key[1]}
    values, deviations = np.full((2, len(ranking)), np.nan)
    with predictions.open_rows() as file:
        for block in file.blocks():
            names = zip(block.ids.tolist(), block.hashes.tolist(), strict=True)
            rows = np.array([places.get(name, -1) for name in names], dtype=np.int64)
            known = (rows >= 0) & ~block.failed
            values[rows[known]] = polycrystalline_average(getattr(block, tensor)[known])
            deviations[rows[known]] = block.average_std[known, PARTS.index(tensor)]
    return values, deviations


def _process(node: Any) -> Any:
    """Return the node itself, or the first process of a known kind that returned it.

    :raises ValueError: neither
    """
    if isinstance(node, orm.ProcessNode):
        if node.process_label in KINDS:
            return node
    else:
        links = node.base.links.get_incoming(link_type=LinkType.RETURN).all_nodes()
        found = [item for item in links if getattr(item, 'process_label', None) in KINDS]
        if found:
            return min(found, key=lambda item: item.ctime)
    what = node.process_label if isinstance(node, orm.ProcessNode) else type(node).__name__
    raise ValueError(
        f'node {node.pk} has the type {what}; expected a screen, a verification, a campaign, or an output of one'
    )


def _ranking_in(screen: Any) -> RankingData:
    if 'ranking' not in screen.outputs:
        raise ValueError(f'screen {screen.pk} has no ranking ({_state(screen)}); report on one that has finished')
    ranking: RankingData = screen.outputs.ranking
    return ranking


def selected_in(screen: Any) -> set[Key]:
    """Return the keys of the crystals that a screen selected."""
    return set(map(_key, screen.outputs.selection.get_list())) if 'selection' in screen.outputs else set()


def _key(item: Mapping[str, Any]) -> Key:
    return item['id'], item['hash']


def _screen(process: Any, limit: int | None, further: Collection[str]) -> Result:
    ranking, selected, outputs = _ranking_in(process), selected_in(process), process.outputs
    verifications = tuple(_verifications_of(outputs.selection)) if 'selection' in outputs else ()
    computed: dict[Key, Computed] = {}
    for verification in verifications:
        computed |= _computed_in(verification)
    with ranking.open_rows() as file:
        candidates = candidates_of_ranking(
            file,
            process.inputs.crystals,
            _predictions_of(ranking),
            selected,
            computed,
            limit,
            further,
        )
    return Result('screen', process, candidates, (process.inputs.model,), verifications, ranking, len(selected))


def _state(process: Any) -> str:
    if process.is_finished:
        return f'exit status {process.exit_status}: {process.exit_message}'
    return process.process_state.value if process.process_state else 'unknown state'


def _predictions_of(ranking: RankingData) -> Any:
    """Return the predictions from which a ranking was computed."""
    creator: Any = ranking.creator
    return creator.inputs.predictions


def _verifications_of(selection: orm.List) -> list[Any]:
    """Return the verifications of a selection, or of some of its items, oldest first."""
    outgoing = selection.base.links.get_outgoing
    lists = [selection]
    for call in outgoing(node_class=orm.CalcFunctionNode).all_nodes():
        if call.process_label in ('take_first', 'take_named') and 'result' in call.outputs:
            lists.append(call.outputs.result)
    found: dict[int, Any] = {}
    for item in lists:
        for process in item.base.links.get_outgoing(link_type=LinkType.INPUT_WORK).all_nodes():
            if KINDS.get(process.process_label) == 'verification':
                found[int(process.pk or 0)] = process
    return [found[pk] for pk in sorted(found)]


def _selection_of(verification: Any) -> orm.List | None:
    """Return the selection that a verification computes."""
    for ports in (verification.inputs, verification.outputs):
        if 'selection' in ports:
            selection: orm.List = ports.selection
            return selection
    return None


def _computed_in(verification: Any, round_number: int | None = None) -> dict[Key, Computed]:
    """Return key → DFPT result, of a verification that has ended; empty while it runs."""
    selection = _selection_of(verification)
    if selection is None or 'summary' not in verification.outputs:
        return {}
    compared = {row['structure']: row for row in verification.outputs.comparison.get_dict()['rows']}
    rows = {row['structure']: row for row in verification.outputs.summary.get_dict()['rows']}
    found = {}
    for item in selection.get_list():
        row, comparison = rows[item['structure']], compared.get(item['structure'], {})
        parts = {part: comparison[part] for part in PARTS if part in comparison}
        found[_key(item)] = Computed(
            verdict=str(row['label']),
            reason=str(row.get('reason') or comparison.get('problem') or OUTCOME_REASONS.get(row['label'], '')),
            tensors={part: np.array(one['dfpt']) for part, one in parts.items() if one['dfpt'] is not None},
            averages={p: one['dfpt_average'] for p, one in parts.items() if one['dfpt_average'] is not None},
            process=row.get('pk'),
            source=', '.join(filter(None, (comparison.get('functional'), comparison.get('engine')))),
            core_hours=float(row.get('core_hours') or 0.0),
            round=round_number,
        )
    return found


def _verification(process: Any) -> Result:
    selection = _selection_of(process)
    if selection is None or not len(selection):
        raise ValueError(f'verification {process.pk} has no selection ({_state(process)}); nothing to report')
    items = selection.get_list()
    crystals = CrystalSet.from_crystals(
        crystal_from_structure(item['id'], structure)
        for item, structure in zip(items, _structures(process, items), strict=True)
    )
    numbers = {name: np.array([_number(item.get(name)) for item in items]) for name in _ITEM_NUMBERS}
    tensors, models = _tensors_of(process, items)
    computed = _computed_in(process)
    places = {_key(item): row for row, item in enumerate(items)}
    candidates = Candidates(
        ids=np.array([item['id'] for item in items], dtype=np.str_),
        rank=np.array([item.get('rank') or 0 for item in items]),
        score=numbers['score'],
        score_std=np.full(len(items), np.nan),
        gap=_gaps(process, items),
        tensors=tensors,
        averages={part: numbers[part] for part in PARTS},
        deviations={part: numbers[f'{part}_std'] for part in PARTS},
        stability=numbers['stability'],
        flags=np.array([sum(1 << FLAG_NAMES.index(flag) for flag in item.get('flags', [])) for item in items]),
        reason=np.array([''] * len(items), dtype=np.str_),
        selected=np.ones(len(items), dtype=bool),
        crystals=dict(enumerate(crystals)),
        figure_of_merit=_merit_of(selection),
        computed={places[key]: one for key, one in computed.items()},
    )
    return Result('verification', process, candidates, models, (process,))


_ITEM_NUMBERS = ('score', 'stability', *PARTS, *(f'{part}_std' for part in PARTS))


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _structures(process: Any, items: Iterable[Mapping[str, Any]]) -> list[orm.StructureData]:
    """Return the structures of a verification in the order of its selection."""
    if 'structures' in process.inputs:
        return [process.inputs.structures[item['structure']] for item in items]
    creator: Any = _selection_of(process).creator  # type: ignore[union-attr]
    return [creator.outputs.structures[item['structure']] for item in items]


def _tensors_of(process: Any, items: list[dict[str, Any]]) -> tuple[dict[str, np.ndarray], tuple[Any, ...]]:
    """Return part → predicted tensors (n, 3, 3), NaN if unknown, and the model that predicted them."""
    found = {part: np.full((len(items), 3, 3), np.nan) for part in PARTS}
    if 'predictions' not in process.inputs:
        return found, ()
    node = process.inputs.predictions
    rows, table = find_predictions(node, [_key(item) for item in items])
    for part in PARTS:
        found[part][rows >= 0] = getattr(table, part)[rows[rows >= 0]]
    model = _model_of(node)
    return found, () if model is None else (model,)


def _model_of(predictions: Any) -> Any:
    """Return the model that made predictions, followed through their merging; None if it is not among the nodes."""
    creator = predictions.creator
    while creator is not None:
        if 'model' in creator.inputs:
            return creator.inputs.model
        parts = creator.base.links.get_incoming(node_class=type(predictions)).all_nodes()
        creator = parts[0].creator if parts else None
    return None


def _ranking_of(selection: orm.List) -> Any:
    """Return the node of the ranking or picks from which a selection was made, or None."""
    creator: Any = selection.creator
    while creator is not None and 'selection' in creator.inputs:
        creator = creator.inputs.selection.creator
    for name in ('ranking', 'predictions'):
        if creator is not None and name in creator.inputs:
            return creator.inputs[name]
    return None


def _merit_of(selection: orm.List) -> str:
    ranking = _ranking_of(selection)
    return ranking.ranking.figure_of_merit if isinstance(ranking, RankingData) else 'total'


def _gaps(process: Any, items: list[dict[str, Any]]) -> np.ndarray:
    """Return the band gaps (n,) of the crystals from which the selection was made, NaN if unknown."""
    gaps = np.full(len(items), np.nan)
    creator: Any = _selection_of(process).creator  # type: ignore[union-attr]
    while creator is not None and 'selection' in creator.inputs:
        creator = creator.inputs.selection.creator
    if creator is None or 'crystals' not in creator.inputs:
        return gaps
    with creator.inputs.crystals.open_rows() as file:
        places = [place for place, item in enumerate(items) if 0 <= item.get('row', -1) < len(file)]
        taken = file.take([items[place]['row'] for place in places])
    column = taken.properties.get(GAP_COLUMN)
    if column is not None and column.dtype.kind in 'fiu':
        for place, key, value in zip(places, taken.hashes, column, strict=True):
            gaps[place] = value if key == items[place]['hash'] else np.nan
    return gaps


def _history_in(campaign: Any) -> History:
    merit = campaign.inputs.picking.get_dict().get('figure_of_merit', 'total')
    return last_history(campaign) or History(figure_of_merit=merit)


def _campaign_ranking(process: Any, history: History) -> tuple[RankingData, Any]:
    """Return the final ranking, or an unstored one of the last predictions of a campaign that runs, and predictions.

    :raises ValueError: no predictions yet
    """
    predictions = _last_predictions(process)
    if predictions is None:
        raise ValueError(f'campaign {process.pk} has no predictions yet ({_state(process)}); nothing to report')
    if 'ranking' in process.outputs:
        return process.outputs.ranking, predictions
    filters = Filters(**process.inputs.picking.get_dict().get('filters', {}))
    ranking = rank(process.inputs.pool.crystals, predictions.predictions, history.figure_of_merit, filters)
    return RankingData(ranking), predictions


def _campaign(process: Any, limit: int | None, further: Collection[str]) -> Result:
    history = _history_in(process)
    ranking, predictions = _campaign_ranking(process, history)
    computed, verifications = _campaign_results(process, history)
    with ranking.open_rows() as file:
        candidates = candidates_of_ranking(
            file, process.inputs.pool, predictions, set(computed), computed, limit, further
        )
    models = {node.uuid: node for node in [_model_of(predictions), *_outputs(process, 'model')] if node is not None}
    return Result(
        'campaign',
        process,
        candidates,
        tuple(models.values()),
        tuple(verifications),
        ranking,
        campaign=campaign_report(process),
    )


def _outputs(process: Any, name: str) -> list[Any]:
    return [process.outputs[name]] if name in process.outputs else []


def _last_predictions(process: Any) -> Any:
    """Return the predictions of the final ranking, or the last ones of a campaign that runs; None without any."""
    if 'ranking' in process.outputs:
        return _predictions_of(process.outputs.ranking)
    chains = [call for call in process.called if call.process_label == 'PredictWorkChain']
    done = [call.outputs.predictions for call in chains if 'predictions' in call.outputs]
    if done:
        return max(done, key=lambda node: node.ctime)
    return process.inputs.predictions if 'predictions' in process.inputs else None


def _campaign_results(process: Any, history: History) -> tuple[dict[Key, Computed], list[Any]]:
    """Return key → DFPT result of all picks, and the verifications of this process.

    Tensors are those of the verifications; picks of an extended campaign have averages only.
    """
    verifications: list[Any] = []
    tensors: dict[Key, Computed] = {}
    for link in process.base.links.get_outgoing(link_type=LinkType.CALL_WORK).all():
        if link.node.process_label == 'VerifyWorkChain':
            verifications.append(link.node)
            tensors |= _computed_in(link.node)
    computed = dict(tensors)
    for item in history.rounds:
        for pick in item.picks:
            key = pick.id, pick.hash
            found = tensors.get(key, Computed(pick.outcome))
            averages = {'electronic': pick.electronic, 'ionic': pick.ionic}
            known = {part: value for part, value in averages.items() if value is not None}
            if len(known) == len(averages):
                known['total'] = sum(known.values())
            computed[key] = found._replace(
                verdict=pick.outcome,
                reason=pick.failure or OUTCOME_REASONS.get(pick.outcome, ''),
                averages=found.averages or known,
                core_hours=pick.core_hours,
                round=item.number,
            )
    return computed, sorted(verifications, key=lambda node: node.ctime)

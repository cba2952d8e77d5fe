"""Report of a campaign as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.selection.history import History, PickRecord
from aiida_goectp.core.selection.history_summary import best_verified, not_accepted, summarise_rounds
from aiida_goectp.workflows.campaign.state import campaign_state, last_history
from aiida_goectp.workflows.campaign.validation import hold_out_warning

__all__ = ('campaign_picks', 'campaign_report', 'pick_entry')

_OUTPUTS = ('ranking', 'stop', 'core_hours')


def campaign_report(node: Any) -> dict[str, Any]:
    """Return rounds, best values, stop rule, cost and outputs of a campaign, which may be running.

    Among the outputs are the model, dataset and history in use, also where the campaign kept an input.

    :param node: of the campaign
    """
    history = last_history(node) or History(
        figure_of_merit=node.inputs.picking.get_dict().get('figure_of_merit', 'total')
    )
    pool = node.inputs.pool.crystals
    rows = {str(name): row for row, name in enumerate(pool.hashes)}

    def entry(round_number: int, pick: PickRecord) -> dict[str, Any]:
        row = rows.get(pick.hash)
        return pick_entry(round_number, pick, None if row is None else formula(pool[row].atomic_numbers))

    rounds = list(summarise_rounds(history))
    outputs = {**campaign_state(node), **{name: node.outputs[name] for name in _OUTPUTS if name in node.outputs}}
    return {
        'campaign': {
            'pk': node.pk,
            'uuid': node.uuid,
            'label': node.label,
            'state': node.process_state.value if node.process_state else 'unknown',
            'exit_status': node.exit_status,
            'exit_message': node.exit_message,
        },
        'figure_of_merit': history.figure_of_merit,
        'pool': len(pool),
        'warning': hold_out_warning(node.inputs),
        'rounds': rounds,
        'best': [entry(*item) for item in best_verified(history)],
        'without_value': [entry(*item) for item in not_accepted(history)],
        'stop': node.outputs.stop.get_dict() if 'stop' in node.outputs else None,
        'cost': {
            'calculations': history.calculations,
            'labels': history.labels,
            'trainings': sum(item['retrained'] for item in rounds),
            'core_hours': node.outputs.core_hours.value if 'core_hours' in node.outputs else history.core_hours,
        },
        'outputs': {name: output.pk for name, output in outputs.items()},
    }


def pick_entry(round_number: int, pick: PickRecord, name: str | None) -> dict[str, Any]:
    """Return a pick as plain data, with the expected value of its label and the relative error of that.

    :param name: formula
    """
    more = {'expected': pick.expected, 'error': pick.relative_error}
    return {'round': round_number, 'formula': name, **pick.model_dump(mode='json'), **more}


def campaign_picks(report: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return round, expected and verified figure of merit of all picks, each (n,); NaN without a verified value.

    :param report: see :func:`campaign_report`
    """
    picks = [*report['best'], *report['without_value']]
    verified = [np.nan if item['value'] is None else item['value'] for item in picks]
    return (
        np.array([item['round'] for item in picks], dtype=np.int64),
        np.array([item['expected'] for item in picks], dtype=np.float64),
        np.array(verified, dtype=np.float64),
    )

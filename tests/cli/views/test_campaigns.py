"""Tables of a campaign: columns of stability where the model gives a probability."""

from aiida_goectp.cli.views.campaigns import show_campaign
from aiida_goectp.core.selection import History, PickRecord, Round
from aiida_goectp.core.selection.history_summary import best_verified, not_accepted, summarise_rounds
from aiida_goectp.report.campaigns import pick_entry
from tests.cli.runner import line_with


def report_of(*probabilities, **prediction):
    """Return the report of one round of an accepted label and one without ionic part."""
    picks = [
        PickRecord(id=name, hash=name, mean=9.0, value=value, outcome=outcome, stability=probability, **prediction)
        for (name, value, outcome), probability in zip(
            (('firm', 10.0, 'accepted'), ('soft', None, 'electronic-only')), probabilities, strict=True
        )
    ]
    history = History(figure_of_merit='total', rounds=(Round(number=1, model_hash='m' * 40, picks=tuple(picks)),))

    def entries(found):
        return [pick_entry(*item, 'X') for item in found]

    return {
        'figure_of_merit': 'total',
        'rounds': list(summarise_rounds(history)),
        'best': entries(best_verified(history)),
        'without_value': entries(not_accepted(history)),
        'stop': None,
        'warning': 'rows of the hold-out',
        'campaign': {'exit_status': None, 'exit_message': None, 'state': 'running', 'pk': 1},
        'cost': {'calculations': 2, 'labels': 2, 'trainings': 0, 'core_hours': 0.0},
        'outputs': {},
    }


def test_probability_beside_the_outcome(capsys):
    show_campaign(report_of(0.96, 0.42), 10)
    output = capsys.readouterr().out
    assert line_with(output, 'firm').split()[1:5] == ['firm', 'X', '1', '0.96']
    assert line_with(output, 'soft').split()[-2:] == ['1', '0.42']
    assert '2 2 0 0.69 10 10%' in line_with(output, 'retrained')  # the mean of both picks
    assert 'stability of the picks: 0.69; 1 accepted, 1 electronic-only' in output
    assert 'warning: rows of the hold-out' in output


def test_no_column_without_probabilities(capsys):
    show_campaign(report_of(None, None), 10)
    assert 'stab' not in capsys.readouterr().out


def test_the_prediction_of_a_figure_with_a_margin_is_without_it(capsys):
    """As is the label, and the error of the prediction."""
    show_campaign(report_of(0.96, 0.42, std=0.5, margin=1.0), 10)
    output = capsys.readouterr().out
    assert '9.50 ± 0.50' in line_with(output, 'firm')
    assert '-5%' in line_with(output, 'firm')

"""Settings of the members of a committee."""

from __future__ import annotations

from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.committee_settings import committee_settings
from aiida_goectp.core.learning.settings import TrainSettings

CARD = ModelCard(
    name='begun',
    preset='published',
    architecture={'options': {'width': 8}, 'functionals': ['PBE', 'PBEsol']},
    targets=['electronic', 'ionic'],
)


def test_each_member_has_a_seed_of_its_own():
    alone, together = committee_settings({'epochs': 3}, 7, 2)
    assert alone == [{'epochs': 3, 'members': 1, 'seed': 7}, {'epochs': 3, 'members': 1, 'seed': 8}]
    assert together == {'epochs': 3, 'members': 2, 'seed': 7}
    assert [TrainSettings.model_validate(values).seed for values in alone] == [7, 8]


def test_a_seed_that_is_given_takes_precedence():
    alone, together = committee_settings({'seed': 1, 'members': 9}, 7, 2)
    assert [values['seed'] for values in alone] == [1, 2]
    assert (together['seed'], together['members']) == (1, 2)


def test_the_model_to_fine_tune_gives_the_network_unless_the_settings_do():
    alone, together = committee_settings({}, 0, 2, CARD)
    for values in (*alone, together):
        assert (values['preset'], values['options']) == ('published', {'width': 8})
        assert values['functionals'] == ['PBE', 'PBEsol']
    alone, _ = committee_settings({'preset': 'descriptors'}, 0, 1, CARD)
    assert alone == [{'seed': 0, 'preset': 'descriptors', 'members': 1, 'functionals': ['PBE', 'PBEsol']}]


def test_the_functional_of_the_labels_is_predicted_first():
    """Tuned on labels of the second alone, a model would go on to predict the first, which learnt nothing."""
    for found, first in ((['PBEsol'], 'PBEsol'), (['PBE'], 'PBE'), (['PBE', 'PBEsol'], 'PBE'), (['r2SCAN'], 'PBE')):
        alone, together = committee_settings({}, 0, 1, CARD, found)
        assert alone[0]['functionals'][0] == together['functionals'][0] == first
        assert sorted(together['functionals']) == ['PBE', 'PBEsol']
    _, told = committee_settings({'functionals': ['PBE', 'PBEsol']}, 0, 1, CARD, ['PBEsol'])
    assert told['functionals'] == ['PBE', 'PBEsol']

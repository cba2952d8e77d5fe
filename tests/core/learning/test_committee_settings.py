"""Settings of the members of a committee."""

from __future__ import annotations

from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.committee_settings import committee_settings
from aiida_goectp.core.learning.settings import TrainSettings

CARD = ModelCard(
    name='initial',
    preset='published',
    architecture={'options': {'width': 8}, 'functionals': ['PBE', 'PBEsol']},
    targets=['electronic', 'ionic'],
)


def test_each_member_has_its_own_seed():
    each, common = committee_settings({'epochs': 3}, 7, 2)
    assert each == [{'epochs': 3, 'members': 1, 'seed': 7}, {'epochs': 3, 'members': 1, 'seed': 8}]
    assert common == {'epochs': 3, 'members': 2, 'seed': 7}
    assert [TrainSettings.model_validate(values).seed for values in each] == [7, 8]


def test_a_seed_that_is_given_takes_precedence():
    each, common = committee_settings({'seed': 1, 'members': 9}, 7, 2)
    assert [values['seed'] for values in each] == [1, 2]
    assert (common['seed'], common['members']) == (1, 2)


def test_the_initial_model_gives_what_the_settings_do_not():
    each, common = committee_settings({}, 0, 2, CARD)
    for values in (*each, common):
        assert (values['preset'], values['options']) == ('published', {'width': 8})
        assert values['functionals'] == ['PBE', 'PBEsol']
    each, _ = committee_settings({'preset': 'descriptors'}, 0, 1, CARD)
    assert each == [{'seed': 0, 'preset': 'descriptors', 'members': 1, 'functionals': ['PBE', 'PBEsol']}]


def test_the_functional_of_the_labels_is_predicted():
    for found, first in ((['PBEsol'], 'PBEsol'), (['PBE'], 'PBE'), (['PBE', 'PBEsol'], 'PBE'), (['r2SCAN'], 'PBE')):
        each, common = committee_settings({}, 0, 1, CARD, found)
        assert each[0]['functionals'][0] == common['functionals'][0] == first
        assert sorted(common['functionals']) == ['PBE', 'PBEsol']
    _, common = committee_settings({'functionals': ['PBE', 'PBEsol']}, 0, 1, CARD, ['PBEsol'])
    assert common['functionals'] == ['PBE', 'PBEsol']

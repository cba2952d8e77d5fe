"""Conversion of parameters."""

import click
import pytest
from click.shell_completion import ShellComplete

from aiida_goectp.cli import main
from aiida_goectp.cli.params import (
    CRYSTALS,
    DATASET,
    DatasetOrFileParam,
    ElementsParam,
    GoectpCodeParam,
    ModelParam,
)


def test_elements_are_separated_by_commas_or_spaces():
    for value in ('Ba,Ti, O', 'Ba Ti O', ['Ba', 'Ti', 'O']):
        assert ElementsParam().convert(value, None, None) == ['Ba', 'Ti', 'O']


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['scr'], {'screen'}),
        (['predict', '--model', 'goectp-s'], {'goectp-small'}),
        (['screen', '--merit', 'gap_t'], {'gap_total'}),
        (['verify', '--engine', 'quan'], {'quantumespresso'}),
    ],
)
def test_completion_in_the_shell(words, expected):
    found = ShellComplete(main, {}, 'aiida-goectp', '_AIIDA_GOECTP_COMPLETE').get_completions(words[:-1], words[-1])
    assert {item.value for item in found} == expected


def test_nodes_are_completed_by_label_and_pk(crystals):
    crystals.label = 'my textbook'
    shell = ShellComplete(main, {}, 'aiida-goectp', '_AIIDA_GOECTP_COMPLETE')
    assert [item.value for item in shell.get_completions(['screen'], 'my')] == ['my textbook']
    assert str(crystals.pk) in {item.value for item in shell.get_completions(['screen'], str(crystals.pk))}
    assert shell.get_completions(['evaluate'], 'my') == []


def test_a_file_that_does_not_exist_is_not_only_called_a_missing_node(aiida_profile):
    with pytest.raises(click.BadParameter, match="'no\\.npz' is neither a file"):
        DatasetOrFileParam().convert('no.npz', None, None)


def test_a_wrong_node_is_named_with_those_that_could_be_given(crystals, aiida_code_installed):
    plugin = {'default_calc_job_plugin': 'goectp.predict'}
    code = aiida_code_installed(label='predictor', filepath_executable='/bin/true', **plugin)
    with pytest.raises(click.BadParameter) as caught:
        DATASET.convert(str(crystals.pk), None, None)
    assert 'CrystalsData; none is stored' in caught.value.message
    with pytest.raises(click.BadParameter) as caught:
        CRYSTALS.convert('99999999', None, None)
    assert str(crystals.pk) in caught.value.message
    with pytest.raises(click.BadParameter, match='PK'):
        CRYSTALS.convert('9' * 30, None, None)
    with pytest.raises(click.BadParameter) as caught:
        ModelParam().convert('goectp-tiny', None, None)
    assert 'goectp-small' in caught.value.message
    with pytest.raises(click.BadParameter) as caught:
        GoectpCodeParam().convert('nosuch', None, None)
    assert code.full_label in caught.value.message

"""Overrides of protocols: a wrong key at any depth is an error with its path and the nearest key."""

import re

import pytest

from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from aiida_goectp.workflows.dfpt.quantumespresso.workchain import QuantumEspressoDfptWorkChain
from aiida_goectp.workflows.dfpt.vasp.workchain import VaspDfptWorkChain
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.screen import ScreenWorkChain
from aiida_goectp.workflows.train import TrainWorkChain

pytestmark = pytest.mark.usefixtures('aiida_profile')

CHAINS = {
    'predict': PredictWorkChain,
    'train': TrainWorkChain,
    'screen': ScreenWorkChain,
    'campaign': ActiveLearningWorkChain,
    'vasp': VaspDfptWorkChain,
    'qe': QuantumEspressoDfptWorkChain,
}


def nested(path, value):
    """Return a value under a dotted path."""
    for name in reversed(path.split('.')):
        value = {name: value}
    return value


@pytest.mark.parametrize('name', CHAINS)
def test_every_protocol_is_valid(name):
    chain = CHAINS[name]
    for protocol in chain.get_available_protocols():
        chain.get_protocol_inputs(protocol)
    with pytest.raises(ValueError, match=r"^protocol: unknown value 'balancd' \(did you mean 'balanced'\?\)"):
        chain.get_protocol_inputs('balancd')


@pytest.mark.parametrize(
    ('name', 'path', 'nearest'),
    [
        ('predict', 'max_iteration', 'max_iterations'),
        ('predict', 'goectp.devise', 'device'),
        ('predict', 'goectp.metadata.option', 'options'),
        ('predict', 'goectp.metadata.options.max_wallclock_second', 'max_wallclock_seconds'),
        ('predict', 'goectp.metadata.options.resources.num_machine', 'num_machines'),
        ('train', 'goectp.setings', 'settings'),
        ('train', 'goectp.settings.epoch', 'epochs'),
        ('train', 'goectp.monitors.training.entrypoint', 'entry_point'),
        ('screen', 'figure_of_mrit', 'figure_of_merit'),
        ('screen', 'filters.min_gapp', 'min_gap'),
        ('screen', 'predict.goectp.batch_atom', 'batch_atoms'),
        ('campaign', 'stop_rule', 'stop_rules'),
        ('campaign', 'stop_rules.max_round', 'max_rounds'),
        ('campaign', 'stop_rules.stable_top.round', 'rounds'),
        ('campaign', 'picking.acquisition.kapa', 'kappa'),
        ('campaign', 'picking.filters.max_hul', 'max_hull'),
        ('campaign', 'picking.diversity.copys', 'copies'),
        ('campaign', 'retraining.fold', 'folds'),
        ('campaign', 'train.goectp.settings.learning_rat', 'learning_rate'),
        ('campaign', 'predict.goectp.metadata.options.queue', 'queue_name'),
        ('vasp', 'functionl', 'functional'),
        ('vasp', 'incar.encutt', 'encut'),
        ('vasp', 'dfpt.parameters.incar.lepsilonn', 'lepsilon'),
        ('vasp', 'dfpt.calc.metadata.options.queuename', 'queue_name'),
        ('vasp', 'relaxation.relax_settings.force_cutof', 'force_cutoff'),
        ('vasp', 'relaxation.relax_setting', 'relax_settings'),
        ('qe', 'kpoint_distance', 'kpoints_distance'),
        ('qe', 'scf.pw.parameters.ELECTRON', 'ELECTRONS'),
        ('qe', 'scf.pw.parameters.ELECTRONS.conv_thrr', 'conv_thr'),
        ('qe', 'ph.ph.parameters.INPUTPH.tr2_phh', 'tr2_ph'),
        ('qe', 'ph.ph.parameters.INPUTPH.tr2', 'tr2_ph'),
        ('qe', 'ph.ph.metadata.options.with_mpi', 'withmpi'),
    ],
)
def test_unknown_keys(name, path, nearest):
    with pytest.raises(ValueError, match=rf"{re.escape(path)}: unknown .*did you mean '{nearest}'"):
        CHAINS[name].get_protocol_inputs(None, nested(path, 1))


@pytest.mark.parametrize(
    ('name', 'path', 'value'),
    [
        ('screen', 'number', 'twenty'),
        ('screen', 'number', True),
        ('screen', 'number', None),
        ('screen', 'predict_all', 'false'),
        ('screen', 'predict', 5),
        ('screen', 'figure_of_merit', 'totl'),
        ('predict', 'goectp.device', 1),
        ('predict', 'goectp.metadata.options.max_wallclock_seconds', '1 h'),
        ('campaign', 'stop_rules', None),
        ('campaign', 'picking.batch_size', 0),
        ('campaign', 'retraining', [1]),
        ('vasp', 'functional', 'PBEsoll'),
        ('vasp', 'kpoints_spacing', 'dense'),
        ('vasp', 'incar', 'encut'),
        ('vasp', 'potential_mapping', {'Xx': 'X'}),
        ('qe', 'relax', 'no'),
        ('qe', 'scf.pw.parameters.SYSTEM', 4),
    ],
)
def test_wrong_values(name, path, value):
    with pytest.raises(ValueError, match=rf'^{path}[.:]'):
        CHAINS[name].get_protocol_inputs(None, nested(path, value))


@pytest.mark.parametrize(
    ('name', 'path'),
    [('screen', 'crystals'), ('predict', 'goectp.code'), ('campaign', 'model'), ('vasp', 'code'), ('qe', 'structure')],
)
def test_arguments_are_no_overrides(name, path):
    with pytest.raises(ValueError, match=rf'^{path}: .*argument'):
        CHAINS[name].get_protocol_inputs(None, nested(path, 1))


def test_every_wrong_key_is_named():
    overrides = {'numbr': 1, 'predict': {'goectp': {'devise': 'cpu'}}, 'filters': {'min_gapp': 1}}
    with pytest.raises(ValueError, match=r'numbr: .*; predict\.goectp\.devise: .*; filters\.min_gapp: '):
        ScreenWorkChain.get_protocol_inputs(None, overrides)


@pytest.mark.parametrize(
    ('name', 'overrides'),
    [
        ('predict', {'goectp': {'metadata': {'options': {'environment_variables': {'ANY': 'x'}, 'account': None}}}}),
        ('train', {'goectp': {'monitors': {'mine': {'entry_point': 'x', 'kwargs': {'any': 1}}, 'training': None}}}),
        (
            'qe',
            {'scf': {'pw': {'parameters': {'SYSTEM': {'starting_magnetization(1)': 0.5, 'of_a_later_version': 1}}}}},
        ),
        ('qe', {'pseudo_family': 'mine', 'kpoints_distance': 1}),
        ('vasp', {'incar': {'KPAR': 4}, 'potential_mapping': {'Ti': 'Ti_sv'}}),
        ('screen', {'number': 3, 'filters': {'ranges': {'any column': [0, 1]}}}),
    ],
)
def test_free_keys(name, overrides):
    CHAINS[name].get_protocol_inputs(None, overrides)

"""Builder of the Quantum ESPRESSO engine without its plugin or without pseudopotentials."""

from __future__ import annotations

import sys

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import GroupFactory

from aiida_goectp.workflows.dfpt.engines import argument_nodes
from aiida_goectp.workflows.dfpt.quantumespresso.plugin import require_quantumespresso
from aiida_goectp.workflows.dfpt.quantumespresso.workchain import QuantumEspressoDfptWorkChain
from aiida_goectp.workflows.failures import MissingResourceError
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.workflows.dfpt.quantumespresso.quantum_espresso import rocksalt


def test_missing_plugin_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'aiida_quantumespresso.workflows.pw.base', None)
    monkeypatch.delitem(sys.modules, 'aiida_goectp.workflows.dfpt.quantumespresso.pw', raising=False)
    with pytest.raises(ImportError, match=r'aiida-goectp\[quantumespresso\]'):
        require_quantumespresso()


@pytest.fixture
def any_codes(aiida_profile, aiida_localhost, aiida_code_installed):
    pytest.importorskip('aiida_quantumespresso')
    return {
        f'{name}_code': aiida_code_installed(
            label=f'{name}-x', filepath_executable='/bin/true', default_calc_job_plugin=f'quantumespresso.{name}'
        )
        for name in ('pw', 'ph')
    }


@pytest.fixture
def build(any_codes):
    def build_without_family(structure, **overrides):
        return QuantumEspressoDfptWorkChain.get_builder_from_protocol(
            **any_codes, structure=structure, overrides=overrides, pseudo_family='not-installed'
        )

    return build_without_family


def test_missing_family_is_named(build):
    with pytest.raises(MissingResourceError, match="'not-installed'"):
        build(rocksalt('Li', 'F', 4.01))


@pytest.mark.parametrize('element', ['V', 'Cr', 'Mn', 'Fe', 'Co', 'Ni', 'Eu', 'Gd'])
def test_elements_with_magnetic_moments_are_refused(build, element):
    """They are those for which the engine for VASP sets moments."""
    structure = rocksalt(element, 'O', 4.3)
    with pytest.raises(ValueError, match=f'structure: {element} in .*nonmagnetic'):
        build(structure)
    for overrides in ({'nonmagnetic': True}, _system(nspin=2, tot_magnetization=0)):
        with pytest.raises(ValueError, match="'not-installed'"):
            build(structure, **overrides)


def _system(**values):
    return {'scf': {'pw': {'parameters': {'SYSTEM': values}}}}


@pytest.mark.parametrize(
    ('system', 'name'), [({'tot_charge': 1}, 'tot_charge'), ({'nspin': 2}, 'tot_magnetization')], ids=['charge', 'spin']
)
def test_charge_and_missing_moment_are_refused_before_submission(build, any_codes, system, name):
    with pytest.raises(ValueError, match=f'scf.pw.parameters.SYSTEM.{name}:'):
        build(rocksalt('Mg', 'O', 4.2), **_system(**system))
    magnesia = rocksalt('Mg', 'O', 4.2)
    validate = QuantumEspressoDfptWorkChain.spec().inputs.validator
    plain, changed = orm.Dict({'SYSTEM': {}}), orm.Dict({'SYSTEM': system})
    inputs = {'structure': magnesia, 'scf': {'pw': {'parameters': changed}}}
    assert name in validate(inputs, None)
    inputs = {'structure': magnesia, 'scf': {'pw': {'parameters': plain}}, 'relax_parameters': changed}
    assert f'relax_parameters.SYSTEM.{name}:' in validate(inputs, None)
    assert validate({**inputs, 'relax': orm.Bool(False)}, None) is None


def test_inputs_without_a_builder_are_checked_as_well(any_codes):
    validate = QuantumEspressoDfptWorkChain.spec().inputs.validator
    inputs = {'structure': rocksalt('Fe', 'O', 4.3), 'scf': {'pw': {'parameters': orm.Dict({'SYSTEM': {}})}}}
    assert 'Fe' in validate(inputs, None)
    assert validate({**inputs, 'nonmagnetic': orm.Bool(True)}, None) is None
    assert validate({**inputs, 'structure': rocksalt('Mg', 'O', 4.2)}, None) is None


@pytest.fixture
def verify(any_codes):
    """Return a function that verifies one crystal."""

    def run(structure, **arguments):
        return run_get_node(
            VerifyWorkChain,
            selection=orm.List([{'structure': 'one', 'id': structure.get_formula(), 'rank': 1}]),
            structures={'one': structure},
            engine='quantumespresso',
            dfpt={**any_codes, **arguments},
        )

    return run


def test_a_crystal_without_family_can_be_computed_later(verify):
    results, node = verify(rocksalt('Mg', 'O', 4.2), pseudo_family=orm.Str('not-installed'))
    assert node.exit_status == VerifyWorkChain.exit_codes.ERROR_ALL_FAILED.status
    (row,) = results['summary']['rows']
    assert (row['state'], row['pk']) == ('interrupted', None)
    assert 'not-installed' in row['reason']


def test_a_verification_lists_a_refused_crystal(verify):
    results, node = verify(rocksalt('Fe', 'O', 4.3))
    assert node.exit_status == VerifyWorkChain.exit_codes.ERROR_ALL_FAILED.status
    (row,) = results['summary']['rows']
    assert (row['state'], row['pk']) == ('failed', None)
    assert 'Fe in FeO' in row['reason']
    assert not [child for child in node.called if isinstance(child, orm.WorkChainNode)]


def test_a_family_that_is_installed_later_is_not_used(any_codes):
    """Labels of a campaign would be of different pseudopotentials."""
    first, later, never = 'settled/first', 'settled/later', 'settled/never'
    family = GroupFactory('pseudo.family')
    family(label=first).store()
    arguments = {**any_codes, 'overrides': {'pseudo_family': [later, first, never]}}
    nodes = argument_nodes('quantumespresso', arguments)
    family(label=later).store()
    assert nodes['pseudo_family'].get_list() == [first]
    assert argument_nodes('quantumespresso', nodes)['pseudo_family'].uuid == nodes['pseudo_family'].uuid
    assert argument_nodes('quantumespresso', arguments)['pseudo_family'].get_list() == [later, first]
    # what is given is kept, and a missing family is named when the inputs are checked
    assert argument_nodes('quantumespresso', {**arguments, 'pseudo_family': never})['pseudo_family'] == never
    assert 'pseudo_family' not in argument_nodes('quantumespresso', {'overrides': {'pseudo_family': [never]}})
    assert 'pseudo_family' not in argument_nodes('quantumespresso', {'overrides': {'pseudo_family': never}})
